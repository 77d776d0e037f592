"""One stream's bytes in and out, over a wire made of two queues."""

from __future__ import annotations

import asyncio
import datetime

import grpc
import structlog

from gateway.xds import protos as pb
from gateway.xds.cache import SnapshotCache
from gateway.xds.session import CLIENT_DONE, END_OF_STREAM, SHUTTING_DOWN, Ending, Session, delta_request, parse_request
from gateway.xds.status import XdsCounters
from support.xds import endpoints, envoy_cluster, secret


class QueueWire:
    """The client's side of a stream."""

    def __init__(self) -> None:
        self.to_server: asyncio.Queue[object] = asyncio.Queue()
        self.to_client: asyncio.Queue[bytes] = asyncio.Queue()

    async def read(self) -> object:
        return await self.to_server.get()

    async def write(self, message: bytes) -> None:
        await self.to_client.put(message)

    async def receive(self) -> pb.Message:
        return pb.DeltaDiscoveryResponse.FromString(await self.to_client.get())

    def send(self, **request: object) -> None:
        self.to_server.put_nowait(pb.DeltaDiscoveryRequest(**request).SerializeToString())


class Rig:
    """A session of one node whose view has one cluster with endpoints and a secret."""

    def __init__(self, only_type: str | None = None, *, reconnecting: bool = False) -> None:
        self.cache = SnapshotCache()
        self.cache.add_node("node", "group")
        self.cache.update_group("group", [envoy_cluster("a"), endpoints("a")])
        self.cache.update_node("node", [secret("svid")])
        self.wire = QueueWire()
        self.counters = XdsCounters()
        self.told: list[tuple[str, tuple[str, ...]]] = []
        self.session = Session(
            self.wire,
            self.cache.view("node"),
            self.counters,
            node="node",
            subject="spiffe://a.mesh/node",
            since=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
            only_type=only_type,
            reconnecting=reconnecting,
            tell_siblings=lambda node, names: self.told.append((node, names)),
        )
        self.cache.subscribe("node", self.session.on_changed)

    async def refuse(self, type_url: str, words: str) -> None:
        """Receive a response and refuse it."""
        response = await self.wire.receive()
        self.wire.send(type_url=type_url, response_nonce=response.nonce, error_detail=pb.Status(message=words))

    async def run(self, **first: object) -> Ending:
        return await self.session.run(pb.DeltaDiscoveryRequest(**first))


def names(response: pb.Message) -> list[str]:
    return [resource.name for resource in response.resources]


async def test_a_stream_ends_when_the_client_is_done() -> None:
    """Served, acknowledged, closed."""
    rig = Rig()
    async with asyncio.TaskGroup() as tasks:
        ending = tasks.create_task(rig.run(type_url=pb.CLUSTER))
        response = await rig.wire.receive()
        rig.wire.send(type_url=pb.CLUSTER, response_nonce=response.nonce)
        rig.wire.to_server.put_nowait(END_OF_STREAM)

    assert names(response) == ["a"]
    assert ending.result() == CLIENT_DONE
    assert [status.acked for status in rig.session.status().types] == [1]


async def test_a_stream_ends_when_the_server_stops() -> None:
    """While it waits for the client."""
    rig = Rig()
    async with asyncio.TaskGroup() as tasks:
        ending = tasks.create_task(rig.run(type_url=pb.CLUSTER))
        await rig.wire.receive()
        rig.session.end(SHUTTING_DOWN)

    assert ending.result() == SHUTTING_DOWN


async def test_bytes_that_are_no_request_end_the_stream() -> None:
    """With the client told why."""
    rig = Rig()
    rig.wire.to_server.put_nowait(b"\xff")

    ending = await rig.run(type_url=pb.CLUSTER)

    assert ending.code is grpc.StatusCode.INVALID_ARGUMENT
    assert parse_request(b"\xff") is None


async def test_changes_merge_while_the_client_is_slow() -> None:
    """Two changes before the session had time are one response."""
    rig = Rig()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(rig.run(type_url=pb.ENDPOINT))
        first = await rig.wire.receive()
        rig.cache.update_group("group", [endpoints("a", 81), endpoints("b")])
        rig.cache.update_group("group", [endpoints("a", 82)])
        rig.wire.send(type_url=pb.ENDPOINT, response_nonce=first.nonce)
        second = await rig.wire.receive()
        rig.session.end(SHUTTING_DOWN)

    assert names(second) == ["a", "b"]
    assert second.resources[0].version == endpoints("a", 82).version
    assert (rig.counters.responses_sent[pb.ENDPOINT], rig.counters.resources_sent[pb.ENDPOINT]) == (2, 3)


async def test_a_reconnecting_client_is_heard_out_first() -> None:
    """All requests of its burst are in before the first answer."""
    rig = Rig(reconnecting=True)
    rig.wire.send(type_url=pb.SECRET, resource_names_subscribe=["svid"])
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(rig.run(type_url=pb.SECRET, resource_names_subscribe=["other"]))
        response = await rig.wire.receive()
        rig.session.end(SHUTTING_DOWN)

    assert (names(response), list(response.removed_resources)) == (["svid"], ["other"])


async def test_siblings_are_told_of_updated_clusters() -> None:
    """A stream of clusters passes the endpoints on once its update was accepted; a told stream sends them."""
    rig, sibling = Rig(pb.CLUSTER), Rig()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(rig.run(resource_names_subscribe=["a"]))
        tasks.create_task(sibling.run(type_url=pb.ENDPOINT, resource_names_subscribe=["a"]))
        first = await sibling.wire.receive()
        sibling.wire.send(type_url=pb.ENDPOINT, response_nonce=first.nonce)
        rig.wire.send(response_nonce=(await rig.wire.receive()).nonce)
        rig.cache.update_group("group", [envoy_cluster("a", timeout_ms=2000)])
        rig.wire.send(response_nonce=(await rig.wire.receive()).nonce)
        while not rig.told:
            await asyncio.sleep(0)
        sibling.session.on_clusters_updated(rig.told[0][1])
        again = await sibling.wire.receive()
        rig.session.end(SHUTTING_DOWN)
        sibling.session.end(SHUTTING_DOWN)

    assert (rig.told, names(again)) == ([("node", ("a",))], ["a"])


async def test_an_own_secret_that_goes_is_not_denied() -> None:
    """Denied are secrets that the node never had."""
    rig = Rig()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(rig.run(type_url=pb.SECRET, resource_names_subscribe=["svid"]))
        rig.wire.send(type_url=pb.SECRET, response_nonce=(await rig.wire.receive()).nonce)
        rig.cache.update_node("node", removals=[secret("svid").key])
        gone = await rig.wire.receive()
        rig.session.end(SHUTTING_DOWN)

    assert (list(gone.removed_resources), rig.counters.denied_secrets) == (["svid"], 0)


async def test_a_refusal_is_logged_once_with_the_clients_words() -> None:
    """Not again when another resource is refused."""
    rig = Rig()
    with structlog.testing.capture_logs() as logs:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(rig.run(type_url=pb.CLUSTER))
            await rig.refuse(pb.CLUSTER, "bad timeout")
            rig.wire.send(type_url=pb.ENDPOINT)
            await rig.refuse(pb.ENDPOINT, "bad port")
            rig.wire.to_server.put_nowait(END_OF_STREAM)

    assert [(entry["type"], entry["reason"]) for entry in logs] == [
        (pb.CLUSTER, "bad timeout"),
        (pb.ENDPOINT, "bad port"),
    ]
    assert (rig.counters.nacks[pb.CLUSTER], rig.counters.nacks[pb.ENDPOINT]) == (1, 1)


def test_error_detail_alone_makes_a_nack() -> None:
    """Even an empty one; a nonce without it is an ACK."""
    accepted = delta_request(pb.DeltaDiscoveryRequest(type_url="t", response_nonce="1"))
    refused = delta_request(pb.DeltaDiscoveryRequest(type_url="t", response_nonce="1", error_detail=pb.Status()))

    assert (accepted.error, refused.error) == (None, "")
