"""Which Redis server to turn to: the only one, the master that Sentinels name, or the owner of a slot of a Cluster.

Below ``connection``, which sends the commands. What was learnt of the servers' places is kept until it is doubted; who
asks next learns it anew. Nothing here retries or waits.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError

from federation.model.exchange_address import Deployment, ExchangeAddress, Node

_ASK_SECONDS = 1.0
"""Time for one Sentinel or server to say where the others are: less than a command has in all."""

T = TypeVar("T")

Opened = Callable[[Node], Redis]
"""Makes the client of a server: opens nothing yet."""


class Servers(Protocol):
    """Raises whatever redis-py does, and what odd answers lead to: ``connection`` has one name for it all."""

    async def serving(self, key: str) -> Redis:
        """The server that takes writes of ``key``."""

    async def listening(self) -> Redis:
        """A server whose channels carry what is sent on any; possibly another one each time."""

    async def every(self) -> tuple[Redis, ...]:
        """All servers that answer clients: each has its own users."""

    def doubt(self) -> None:
        """Something failed: what was learnt of places may be wrong."""

    async def aclose(self) -> None:
        """Give up all connections."""


def servers_of(address: ExchangeAddress, open_server: Opened, open_sentinel: Opened) -> Servers:
    """The servers behind an address that is no Unix socket."""
    match address.deployment:
        case Deployment.SENTINEL:
            return WatchedServers(address, open_server, open_sentinel)
        case Deployment.CLUSTER:
            return ClusterServers(address, open_server)
    return OneServer(open_server(address.nodes[0]))


class OneServer:
    def __init__(self, server: Redis) -> None:
        self._server = server

    async def serving(self, key: str) -> Redis:  # noqa: ARG002 - all keys are here
        return self._server

    async def listening(self) -> Redis:
        return self._server

    async def every(self) -> tuple[Redis, ...]:
        return (self._server,)

    def doubt(self) -> None:
        """There is nowhere else to go."""

    async def aclose(self) -> None:
        await self._server.aclose()


class _Clients:
    """The client of each server, kept while it is one of the exchange's."""

    def __init__(self, open_server: Opened) -> None:
        self._open = open_server
        self._clients: dict[Node, Redis] = {}

    def of(self, node: Node) -> Redis:
        if node not in self._clients:
            self._clients[node] = self._open(node)
        return self._clients[node]

    async def keep(self, nodes: Iterable[Node]) -> None:
        """Close the clients of all other servers; their subscriptions end, and go elsewhere."""
        for node in self._clients.keys() - set(nodes):
            await self._clients.pop(node).aclose()

    async def aclose(self) -> None:
        await self.keep(())


class _Asked:
    """Servers that know where others are, asked one after the other; who answered last is asked first."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._nodes = list(nodes)

    def add(self, nodes: Iterable[Node]) -> None:
        self._nodes += [node for node in nodes if node not in self._nodes]

    async def first(self, of: Opened, read: Callable[[Node, Any], T | None], *command: str) -> T:
        """The first answer that ``read`` can make something of, given who is asked; raises what the last one failed
        with."""
        failed: Exception = RedisError("nobody knows")
        for node in tuple(self._nodes):
            # Already before the answer: whoever hangs must not be the first again when our own time is over.
            self._nodes.remove(node)
            self._nodes.append(node)
            try:
                async with asyncio.timeout(_ASK_SECONDS):
                    answer = read(node, await of(node).execute_command(*command))  # type: ignore[no-untyped-call]
            except Exception as error:  # noqa: BLE001 - an answer that is none: the next one may know better
                failed = error
                continue
            if answer is not None:
                self._nodes.remove(node)
                self._nodes.insert(0, node)
                return answer
        raise failed


class WatchedServers:
    """A master and its replicas, watched by Sentinels. Sentinels are asked without user and password."""

    def __init__(self, address: ExchangeAddress, open_server: Opened, open_sentinel: Opened) -> None:
        self._name = address.master
        self._asked = _Asked(address.nodes)
        self._sentinels = _Clients(open_sentinel)
        self._clients = _Clients(open_server)
        self._master: Node | None = None
        self._learning = asyncio.Lock()

    async def serving(self, key: str) -> Redis:  # noqa: ARG002 - all keys are at the master
        return self._clients.of(await self._place())

    async def listening(self) -> Redis:
        # A replica would do, but it may be cut off from its master without a sign.
        return self._clients.of(await self._place())

    async def every(self) -> tuple[Redis, ...]:
        places = await self._asked.first(self._sentinels.of, _replicas, "SENTINEL", "REPLICAS", self._name)
        return tuple(self._clients.of(node) for node in (await self._place(), *places))

    def doubt(self) -> None:
        self._master = None

    async def aclose(self) -> None:
        await self._sentinels.aclose()
        await self._clients.aclose()

    async def _place(self) -> Node:
        async with self._learning:
            if self._master is None:
                command = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)
                master = await self._asked.first(self._sentinels.of, _master, *command)
                await self._clients.keep((master,))
                self._master = master
            return self._master


class ClusterServers:
    """The servers of a Redis Cluster: each master owns some slots, each key is in one."""

    def __init__(self, address: ExchangeAddress, open_server: Opened) -> None:
        self._asked = _Asked(address.nodes)
        self._clients = _Clients(open_server)
        self._masters: dict[range, Node] = {}
        self._nodes: tuple[Node, ...] = ()
        self._turn = random.randrange(1 << 16)  # noqa: S311 - spreads subscriptions, protects nothing
        self._learning = asyncio.Lock()

    async def serving(self, key: str) -> Redis:
        await self._learn()
        slot = key_slot(key.encode())
        for slots, node in self._masters.items():
            if slot in slots:
                return self._clients.of(node)
        raise RedisError(f"no server of the cluster has slot {slot}")

    async def listening(self) -> Redis:
        await self._learn()
        self._turn += 1
        return self._clients.of(self._nodes[self._turn % len(self._nodes)])

    async def every(self) -> tuple[Redis, ...]:
        await self._learn()
        return tuple(self._clients.of(node) for node in self._nodes)

    def doubt(self) -> None:
        self._masters = {}

    async def aclose(self) -> None:
        await self._clients.aclose()

    async def _learn(self) -> None:
        async with self._learning:
            if self._masters:
                return
            masters = await self._asked.first(self._clients.of, _slots, "CLUSTER", "SLOTS")
            nodes = {place for places in masters.values() for place in places}
            await self._clients.keep(nodes)
            self._asked.add(nodes)
            self._masters = {slots: places[0] for slots, places in masters.items()}
            self._nodes = tuple(sorted(nodes))


def _slots(asked: Node, answer: Any) -> dict[range, list[Node]]:
    """Who has which slots as CLUSTER SLOTS says it, the master first."""
    slots = {
        range(first, last + 1): [_announced(server, asked) for server in servers] for first, last, *servers in answer
    }
    if not slots or not all(slots.values()):
        raise RedisError("no server of the cluster has any slot")
    return slots


def _announced(server: list[Any], asked: Node) -> Node:
    """A server as CLUSTER SLOTS names it; without a host it is where we asked (it has not met the others yet)."""
    host = server[0]
    return Node(host.decode() if host and host != b"?" else asked.host, int(server[1]))


def _master(_: Node, answer: Any) -> Node | None:
    """As SENTINEL GET-MASTER-ADDR-BY-NAME says it; None where that Sentinel does not know the name."""
    if answer is None:
        return None
    host, port = answer
    return Node(host.decode(), int(port))


def _replicas(_: Node, answer: Any) -> list[Node]:
    """As SENTINEL REPLICAS says it, without those that are down: they must not keep the others from being told."""
    known = [_fields(replica) for replica in answer]
    return [Node(of["ip"], int(of["port"])) for of in known if "down" not in of["flags"]]


def _fields(replica: Any) -> dict[str, str]:
    """A replica as SENTINEL REPLICAS describes it: names and values by turns."""
    texts = [part.decode() for part in replica]
    return dict(zip(texts[::2], texts[1::2], strict=True))
