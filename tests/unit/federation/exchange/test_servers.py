"""Where to turn: what Sentinels and servers of a Cluster say, when it is believed and when it is asked again."""

from __future__ import annotations

from typing import Any

import pytest
from redis.crc import key_slot

from federation.exchange.servers import servers_of
from federation.model.exchange_address import Node, parse_exchange_address

A, B, C = Node("a", 1), Node("b", 2), Node("c", 3)


class Client:
    """A server that answers as its network says, or is down."""

    def __init__(self, node: Node, network: Network) -> None:
        self.node = node
        self.network = network
        self.closed = False

    async def execute_command(self, *command: str) -> Any:
        self.network.asked.append(self.node)
        answer = self.network.answers.get(self.node, ConnectionRefusedError())
        if isinstance(answer, Exception):
            raise answer
        return answer[command[1]]

    async def aclose(self) -> None:
        self.closed = True


class Network:
    def __init__(self, answers: dict[Node, Any]) -> None:
        self.answers = answers
        self.asked: list[Node] = []

    def open(self, node: Node) -> Any:
        return Client(node, self)


def slots(*owners: tuple[int, int, tuple[bytes, int]]) -> dict[str, Any]:
    return {"SLOTS": [[first, last, [*server, b"id"]] for first, last, server in owners]}


def master(host: bytes, port: int) -> dict[str, Any]:
    return {"GET-MASTER-ADDR-BY-NAME": [host, b"%d" % port]}


async def test_the_master_is_asked_for_once_until_it_is_doubted() -> None:
    """One Sentinel's answer serves all commands; after a doubt the next one is asked, and the old client is closed."""
    network = Network({A: master(b"m1", 7)})
    servers = servers_of(parse_exchange_address("redis+sentinel://a:1,b:2/m"), network.open, network.open)
    first: Any = await servers.serving("x")
    assert await servers.serving("y") is first
    assert first.node == Node("m1", 7)
    assert network.asked == [A]
    network.answers = {B: master(b"m2", 8)}
    servers.doubt()
    second: Any = await servers.listening()
    assert second.node == Node("m2", 8)
    assert network.asked == [A, A, B]
    assert first.closed
    servers.doubt()
    assert await servers.serving("x") is second
    assert network.asked == [A, A, B, B]


async def test_no_sentinel_that_answers_is_a_failure() -> None:
    """What the last Sentinel failed with comes out; one that does not know the master is passed over."""
    network = Network({A: {"GET-MASTER-ADDR-BY-NAME": None}})
    servers = servers_of(parse_exchange_address("redis+sentinel://a:1,b:2/m"), network.open, network.open)
    with pytest.raises(ConnectionRefusedError):
        await servers.serving("x")


async def test_every_server_behind_sentinels_is_master_and_replicas() -> None:
    """Replicas that are down are left out: they must not keep the others from a change of users."""
    replicas = [
        [b"ip", b"r1", b"port", b"5", b"flags", b"slave"],
        [b"ip", b"r2", b"port", b"6", b"flags", b"s_down,slave"],
    ]
    network = Network({A: master(b"m1", 7) | {"REPLICAS": replicas}})
    servers = servers_of(parse_exchange_address("redis+sentinel://a:1/m"), network.open, network.open)
    every: Any = await servers.every()
    assert [client.node for client in every] == [Node("m1", 7), Node("r1", 5)]


async def test_a_key_is_at_the_owner_of_its_slot() -> None:
    """A cluster's keys go to the server whose slots hold its tag; a server without a host is where it was asked."""
    slot = key_slot(b"east")
    network = Network({A: slots((0, slot - 1, (b"", 1)), (slot, 16383, (b"b", 2)))})
    servers = servers_of(parse_exchange_address("redis+cluster://a:1"), network.open, network.open)
    here: Any = await servers.serving("fg:x:{east}:log")
    assert here.node == B
    every: Any = await servers.every()
    assert [client.node for client in every] == [A, B]


async def test_subscriptions_take_turns_among_the_servers() -> None:
    """Two in a row stand on different servers, so that a dead one is left behind."""
    network = Network({A: slots((0, 9000, (b"a", 1)), (9001, 16383, (b"b", 2)))})
    servers = servers_of(parse_exchange_address("redis+cluster://a:1"), network.open, network.open)
    chosen: list[Any] = [await servers.listening(), await servers.listening()]
    assert {client.node for client in chosen} == {A, B}


async def test_a_cluster_is_found_through_servers_it_had_not_named() -> None:
    """When the first server is gone, those that it told of are asked; a slot of nobody is a failure."""
    network = Network({A: slots((0, 16383, (b"c", 3)))})
    servers = servers_of(parse_exchange_address("redis+cluster://a:1"), network.open, network.open)
    await servers.serving("x")
    network.answers = {C: slots((0, 0, (b"c", 3)))}
    servers.doubt()
    with pytest.raises(Exception, match="no server of the cluster has slot"):
        await servers.serving("x")
    assert network.asked == [A, A, C]
