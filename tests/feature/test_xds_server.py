"""The xDS server as a whole: real gRPC on a Unix socket and on TLS, a real delta client."""

from __future__ import annotations

import asyncio
import datetime
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from federation.model.errors import ConfigError, TrustError
from gateway.xds import protos as pb
from gateway.xds.cache import SnapshotCache
from gateway.xds.listening import ServingCertificate
from gateway.xds.server import Node, NodeIdentity, XdsServer
from support.delta_client import CLUSTERS, DeltaClient
from support.self_signed import self_signed
from support.xds import endpoints, envoy_cluster, secret

TOKENS = {"token-1": "node-1", "token-2": "node-2"}


def now() -> datetime.datetime:
    return datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


async def authenticate(token: str | None, node_id: str, metadata: Mapping[str, Any]) -> NodeIdentity | None:
    if token == "later":
        raise TrustError("token review is down")
    owner = TOKENS.get(token or "")
    return None if owner is None else NodeIdentity(f"spiffe://a.mesh/{owner}")


async def on_node(identity: NodeIdentity, node: Node) -> str | None:
    return node.id if identity.subject.endswith(f"/{node.id}") else None


def two_nodes() -> SnapshotCache:
    """Two nodes of one group, each with a secret of its own; the group itself is not known yet."""
    cache = SnapshotCache()
    for node in ("node-1", "node-2"):
        cache.add_node(node, "sidecar")
        assert cache.update_node(node, [secret(f"svid-{node}")]) == ()
    return cache


@asynccontextmanager
async def serving(cache: SnapshotCache, path: Path) -> AsyncIterator[XdsServer]:
    server = XdsServer(cache, authenticate=authenticate, on_node=on_node, now=now)
    server.listen_unix(path)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "xds" / "xds.sock"


async def test_a_change_of_one_endpoint_sends_that_one_resource(path: Path) -> None:
    """Of a hundred clusters, one changed assignment travels, alone, and nothing else is sent again."""
    cache = two_nodes()
    names = [f"svc-{number}" for number in range(100)]
    cache.update_group("sidecar", [make(name) for name in names for make in (envoy_cluster, endpoints)])

    async with serving(cache, path) as server, DeltaClient(f"unix:{path}", token="token-1") as client:
        await client.subscribe(pb.CLUSTER)
        await client.wait_for(lambda client: len(client.has.get(pb.CLUSTER, {})) == 100)
        await client.subscribe(pb.ENDPOINT, *names)
        await client.wait_for(lambda client: len(client.has.get(pb.ENDPOINT, {})) == 100)
        before = server.counters.resources_sent.total()

        cache.update_group("sidecar", [endpoints(name, 81 if name == "svc-7" else 80) for name in names])
        response = await client.accept()

        assert [resource.name for resource in response.resources] == ["svc-7"]
        assert before + 1 == server.counters.resources_sent.total()
        assert before == 200


async def test_nothing_is_said_before_the_world_was_read(path: Path) -> None:
    """A stream opened before the first update of its group is answered after it, with the whole."""
    cache = two_nodes()

    async with serving(cache, path) as server, DeltaClient(f"unix:{path}", token="token-1") as client:
        await client.subscribe(pb.CLUSTER)
        await client.subscribe(pb.SECRET, "svid-node-1")
        while not server.streams():
            await asyncio.sleep(0)
        assert server.counters.responses_sent.total() == 0

        cache.update_group("sidecar", [envoy_cluster("a"), endpoints("a")])
        await client.wait_for(lambda client: len(client.has) == 2)

        assert client.sent(pb.CLUSTER) == ["a"]
        assert client.sent(pb.SECRET) == ["svid-node-1"]


@pytest.mark.parametrize(
    ("token", "node", "code"),
    [
        (None, "node-1", grpc.StatusCode.UNAUTHENTICATED),
        ("wrong", "node-1", grpc.StatusCode.UNAUTHENTICATED),
        ("token-2", "node-1", grpc.StatusCode.PERMISSION_DENIED),
        ("token-1", "", grpc.StatusCode.INVALID_ARGUMENT),
        ("later", "node-1", grpc.StatusCode.UNAVAILABLE),
    ],
)
async def test_a_node_must_prove_who_it_is(path: Path, token: str | None, node: str, code: grpc.StatusCode) -> None:
    """No token, a wrong one, another node's, or no node id: the stream ends with a reason and no resource."""
    cache = two_nodes()
    cache.update_group("sidecar", [envoy_cluster("a"), endpoints("a")])

    async with (
        serving(cache, path) as server,
        DeltaClient(f"unix:{path}", token=token, node=node) as client,
    ):
        await client.subscribe(pb.CLUSTER)

        assert code == (await client.status())[0]
        refused = code in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
        assert int(refused) == server.counters.auth_refused
        assert server.counters.resources_sent.total() == 0


async def test_another_identitys_secret_is_denied(path: Path) -> None:
    """A node that asks for another node's secret is told that there is none, and that is counted."""
    cache = two_nodes()
    cache.update_group("sidecar")

    async with serving(cache, path) as server, DeltaClient(f"unix:{path}", token="token-1") as client:
        await client.subscribe(pb.SECRET, "svid-node-1", "svid-node-2")
        response = await client.accept()

        assert [resource.name for resource in response.resources] == ["svid-node-1"]
        assert list(response.removed_resources) == ["svid-node-2"]
        assert server.counters.denied_secrets == 1

        cache.update_node("node-2", [secret("svid-node-2", b"renewed")])
        cache.update_node("node-1", [secret("svid-node-1", b"renewed")])
        response = await client.accept()

        assert [resource.name for resource in response.resources] == ["svid-node-1"]
        assert list(response.removed_resources) == []


async def test_a_restarted_server_sends_nothing_again(path: Path) -> None:
    """A client that reconnects with the versions it has gets only what changed meanwhile."""
    cache = two_nodes()
    cache.update_group("sidecar", [envoy_cluster("a"), endpoints("a"), envoy_cluster("b"), endpoints("b")])

    async with serving(cache, path), DeltaClient(f"unix:{path}", token="token-1") as client:
        await client.subscribe(pb.CLUSTER)
        await client.wait_for(lambda client: len(client.has.get(pb.CLUSTER, {})) == 2)
        versions = client.has[pb.CLUSTER]

    cache.update_group("sidecar", [envoy_cluster("c"), endpoints("c")])
    async with serving(cache, path), DeltaClient(f"unix:{path}", token="token-1") as client:
        await client.subscribe(pb.CLUSTER, initial_versions=versions)
        await client.accept()

        assert client.sent(pb.CLUSTER) == ["c"]


async def test_stopping_ends_streams_so_that_clients_come_back(path: Path) -> None:
    """A stopping server tells its clients that it is unavailable, and takes its socket away."""
    cache = two_nodes()
    cache.update_group("sidecar")
    async with serving(cache, path) as server, DeltaClient(f"unix:{path}", token="token-1") as client:
        await client.subscribe(pb.CLUSTER)
        await client.accept()

        await server.stop()

        assert await client.status() == (grpc.StatusCode.UNAVAILABLE, "xds server is shutting down")
        assert server.counters.streams_connected == 0
        assert not path.exists()


async def test_the_streams_of_a_node_whose_token_was_withdrawn_end(path: Path) -> None:
    """The node is told why, it is counted, and the other node's stream goes on."""
    cache = two_nodes()
    cache.update_group("sidecar")
    async with (
        serving(cache, path) as server,
        DeltaClient(f"unix:{path}", token="token-1") as gone,
        DeltaClient(f"unix:{path}", token="token-2", node="node-2") as kept,
    ):
        for client in (gone, kept):
            await client.subscribe(pb.CLUSTER)
            await client.accept()

        server.refuse_from_now_on({"node-1"})

        assert await gone.status() == (grpc.StatusCode.UNAUTHENTICATED, "token was withdrawn")
        assert (server.counters.auth_refused, server.counters.streams_connected) == (0, 1)


async def test_status_shows_the_refusal_in_the_clients_words(path: Path) -> None:
    """One bad resource of two stands alone in the status, with its words, and goes when a new one is accepted."""
    cache = two_nodes()
    cache.update_group("sidecar", [envoy_cluster("bad"), endpoints("bad"), envoy_cluster("good"), endpoints("good")])

    async with serving(cache, path) as server, DeltaClient(f"unix:{path}", token="token-1") as client:
        await client.subscribe(pb.CLUSTER)
        await client.nack(await client.receive(), "one of two")
        while True:
            response = await client.receive()
            if [resource.name for resource in response.resources] == ["bad"]:
                await client.nack(response, "connect timeout is odd")
            else:
                await client.ack(response)
                break
        await client.subscribe(pb.SECRET, "svid-node-1")
        await client.accept()

        (stream,) = server.streams()
        nacks = {nack.name: nack.message for status in stream.types for nack in status.nacks}
        assert nacks == {"bad": "connect timeout is odd"}
        assert ("node-1", "spiffe://a.mesh/node-1", now()) == (stream.node, stream.subject, stream.since)
        assert server.counters.nacks[pb.CLUSTER] == 2

        cache.update_group("sidecar", [envoy_cluster("bad", timeout_ms=2000)])
        await client.accept()
        await client.subscribe(pb.SECRET, "svid-node-1")
        await client.accept()

        (stream,) = server.streams()
        assert [nack for status in stream.types for nack in status.nacks] == []


async def test_clusters_on_demand_have_a_stream_of_their_own(path: Path) -> None:
    """An absent cluster is answered at once and sent when it appears; its endpoints go behind an update of it,
    on the node's other stream."""
    cache = two_nodes()
    cache.update_group("sidecar", [envoy_cluster("a"), endpoints("a")])

    async with (
        serving(cache, path),
        DeltaClient(f"unix:{path}", token="token-1") as ads_stream,
        DeltaClient(f"unix:{path}", token="token-1", method=CLUSTERS) as on_demand,
        DeltaClient(f"unix:{path}", token="token-2", node="node-2") as stranger,
    ):
        await stranger.subscribe(pb.ENDPOINT, "a")
        await stranger.accept()
        await on_demand.subscribe(pb.CLUSTER, "a", "b")
        response = await on_demand.accept()
        assert ([found.name for found in response.resources], list(response.removed_resources)) == (["a"], ["b"])
        await ads_stream.subscribe(pb.ENDPOINT, "a")
        await ads_stream.accept()

        cache.update_group("sidecar", [envoy_cluster("b"), endpoints("b")])
        assert [found.name for found in (await on_demand.accept()).resources] == ["b"]

        cache.update_group("sidecar", [envoy_cluster("a", timeout_ms=2000)])
        assert [found.name for found in (await on_demand.accept()).resources] == ["a"]
        assert [found.name for found in (await ads_stream.accept()).resources] == ["a"]

        cache.update_group("sidecar", [endpoints("a", 81)])
        await stranger.accept()
        assert stranger.has[pb.ENDPOINT] == {"a": endpoints("a", 81).version}


@pytest.mark.parametrize(("method", "type_url"), [(CLUSTERS, pb.SECRET), (None, "")])
async def test_a_type_that_is_not_served_ends_the_stream(path: Path, method: str | None, type_url: str) -> None:
    """A stream of clusters serves no secrets, and the aggregated stream needs a type in every request."""
    cache = two_nodes()
    cache.update_group("sidecar")
    more = {"method": method} if method else {}
    async with serving(cache, path), DeltaClient(f"unix:{path}", token="token-1", **more) as client:
        await client.subscribe(type_url, "svid-node-1")

        assert (await client.status())[0] == grpc.StatusCode.INVALID_ARGUMENT


async def test_the_socket_is_its_owners_alone(path: Path) -> None:
    """The socket is 0600 in a directory 0700, and a stale one is replaced, but none that is served."""
    cache = two_nodes()
    async with serving(cache, path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

        with pytest.raises(ConfigError, match="served by another process"):
            async with serving(cache, path):
                pass


async def test_tcp_is_tls_and_its_certificate_rotates() -> None:
    """A client that trusts the present certificate is served; after a rotation, one that trusts the next is."""
    cache = two_nodes()
    cache.update_group("sidecar", [envoy_cluster("a"), endpoints("a")])
    first, second = self_signed("xds.test"), self_signed("xds.test")
    shown = first
    server = XdsServer(cache, authenticate=authenticate, on_node=on_node, now=now)
    port = server.listen_tls("127.0.0.1", 0, lambda: shown)
    await server.start()

    async def names_served(trusted: ServingCertificate) -> list[str]:
        credentials = grpc.ssl_channel_credentials(trusted.chain_pem)
        async with DeltaClient(
            f"127.0.0.1:{port}", token="token-1", credentials=credentials, server_name="xds.test"
        ) as client:
            await client.subscribe(pb.CLUSTER)
            await client.accept()
            return client.sent(pb.CLUSTER)

    try:
        assert await names_served(first) == ["a"]
        shown = second
        assert await names_served(second) == ["a"]
        with pytest.raises(grpc.aio.AioRpcError):
            await names_served(first)
        with pytest.raises(ConfigError):
            XdsServer(cache, authenticate=authenticate, on_node=on_node, now=now).listen_tls(
                "127.0.0.1", port, lambda: shown
            )
    finally:
        await server.stop()
