"""Redis as it is run in earnest: a master with replicas and Sentinels, and a Cluster, on loopback, with or without TLS.

Each is up when its context is entered: replicas follow, Sentinels know each other, every slot has its owner.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from federation.exchange.connection import ExchangeAccess
from federation.exchange.secure_server import ExchangeServer
from federation.exchange.server import EmbeddedRedis
from federation.model.addresses import HostPort
from federation.model.errors import ExchangeUnavailableError
from federation.model.exchange_address import parse_exchange_address
from support.processes import Child

MASTER = "mine"


@dataclass(frozen=True)
class Tls:
    """Certificate, key and CA of all servers of a deployment."""

    directory: Path

    @property
    def ca_file(self) -> Path:
        return self.directory / "ca.pem"

    @property
    def options(self) -> dict[str, str]:
        return {
            "tls-cert-file": str(self.directory / "server.pem"),
            "tls-key-file": str(self.directory / "server.key"),
            "tls-ca-cert-file": str(self.ca_file),
            "tls-auth-clients": "no",
        }

    @property
    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca_file)


def make_tls(directory: Path, program: Path) -> Tls:
    """A CA and a certificate for 127.0.0.1, as our own server makes them."""
    ExchangeServer(directory, HostPort("127.0.0.1", 0), ["127.0.0.1"], program=program, now=datetime.now(UTC))
    return Tls(directory)


class Deployment:
    """Servers that belong together; ``access`` is how a member is told of them."""

    def __init__(self, servers: Sequence[EmbeddedRedis], access: ExchangeAccess, tls: Tls | None) -> None:
        self.servers = tuple(servers)
        self.access = access
        self._tls = tls

    @asynccontextmanager
    async def client(self, server: EmbeddedRedis) -> AsyncIterator[Redis]:
        """A plain client of one server."""
        secure = {} if self._tls is None else {"ssl": True, "ssl_ca_certs": str(self._tls.ca_file)}
        client = Redis(host=server.host, port=server.port, protocol=2, retry=None, **secure)  # type: ignore[arg-type]
        try:
            yield client
        finally:
            await client.aclose()

    async def ask(self, server: EmbeddedRedis, *command: str | int | bytes) -> Any:
        async with self.client(server) as client:
            return await client.execute_command(*command)

    async def said(self, server: EmbeddedRedis, words: bytes, *command: str | int) -> None:
        """Wait until a server's answer holds ``words``."""

        async def holds() -> bool:
            return words in await self._bytes(server, *command)

        await settled(holds)

    async def _bytes(self, server: EmbeddedRedis, *command: str | int) -> bytes:
        async with self.client(server) as client:
            client.response_callbacks.clear()
            answer = await client.execute_command(*command)
            return answer if isinstance(answer, bytes) else repr(answer).encode()


async def settled(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition of the deployment holds; an error counts as "not yet"."""
    async with asyncio.timeout(45):
        while True:
            try:
                if await condition():
                    return
            except (RedisError, OSError, ExchangeUnavailableError):
                pass
            await asyncio.sleep(0.02)


@asynccontextmanager
async def sentinels(directory: Path, program: Path, tls: Tls | None = None) -> AsyncIterator[Deployment]:
    """A master (the first server), two replicas, and three Sentinels, of which two agree on a failover."""
    options = {"repl-diskless-sync-delay": "0"} | (tls.options | {"tls-replication": "yes"} if tls else {})
    async with AsyncExitStack() as stack:
        servers = [_started(stack, directory / f"server-{i}", program, options, tls) for i in range(3)]
        ports = _free_ports(3)
        scheme = "rediss" if tls else "redis"
        address = f"{scheme}+sentinel://{','.join(f'127.0.0.1:{port}' for port in ports)}/{MASTER}"
        access = ExchangeAccess(parse_exchange_address(address), tls.ca_file if tls else None)
        deployment = Deployment(servers, access, tls)
        for replica in servers[1:]:
            await deployment.ask(replica, "REPLICAOF", "127.0.0.1", servers[0].port)
        for replica in servers[1:]:
            await deployment.said(replica, b"master_link_status:up", "INFO", "replication")
        for port in ports:
            child = Child(
                f"sentinel-{port}", _sentinel(directory, program, port, servers[0].port, tls), directory / "log"
            )
            child.start()
            stack.callback(child.kill)
        watchers = [EmbeddedRedis(port, directory=directory, program=program) for port in ports]
        for watcher in watchers:
            state = ("SENTINEL", "CKQUORUM", MASTER)
            await deployment.said(watcher, b"3 usable Sentinels", *state)
            await settled(lambda watcher=watcher: _knows_replicas(deployment, watcher))  # type: ignore[misc]
        yield deployment


async def _knows_replicas(deployment: Deployment, sentinel: EmbeddedRedis) -> bool:
    return len(await deployment.ask(sentinel, "SENTINEL", "REPLICAS", MASTER)) == 2


def _sentinel(directory: Path, program: Path, port: int, master: int, tls: Tls | None) -> list[str]:
    home = directory / f"sentinel-{port}"
    home.mkdir()
    lines = [
        f"port {0 if tls else port}",
        "bind 127.0.0.1",
        f"dir {home}",
        f"sentinel monitor {MASTER} 127.0.0.1 {master} 2",
        f"sentinel down-after-milliseconds {MASTER} 1000",
        f"sentinel failover-timeout {MASTER} 5000",
        f"sentinel parallel-syncs {MASTER} 2",
    ]
    if tls:
        settings = tls.options | {"tls-port": str(port), "tls-replication": "yes"}
        lines += [f"{name} {value}" for name, value in settings.items()]
    (home / "sentinel.conf").write_text("\n".join(lines) + "\n")
    return [str(program), str(home / "sentinel.conf"), "--sentinel"]


@asynccontextmanager
async def cluster(directory: Path, program: Path, tls: Tls | None = None) -> AsyncIterator[Deployment]:
    """Three masters with a third of the slots each."""
    async with AsyncExitStack() as stack:
        buses = _free_ports(3)
        servers = []
        for number, bus in enumerate(buses):
            options = {
                "cluster-enabled": "yes",
                "cluster-port": str(bus),
                "cluster-node-timeout": "2000",
                "cluster-require-full-coverage": "no",
            } | (tls.options | {"tls-cluster": "yes"} if tls else {})
            servers.append(_started(stack, directory / f"server-{number}", program, options, tls))
        scheme = "rediss" if tls else "redis"
        some = ",".join(f"127.0.0.1:{server.port}" for server in servers[:2])
        access = ExchangeAccess(parse_exchange_address(f"{scheme}+cluster://{some}"), tls.ca_file if tls else None)
        deployment = Deployment(servers, access, tls)
        for first, last, server in ((0, 5460, servers[0]), (5461, 10922, servers[1]), (10923, 16383, servers[2])):
            await deployment.ask(server, "CLUSTER", "ADDSLOTSRANGE", first, last)
        for server, bus in zip(servers[1:], buses[1:], strict=True):
            await deployment.ask(servers[0], "CLUSTER", "MEET", "127.0.0.1", server.port, bus)
        for server in servers:
            await deployment.said(server, b"cluster_slots_assigned:16384", "CLUSTER", "INFO")
            await deployment.said(server, b"cluster_state:ok", "CLUSTER", "INFO")
        yield deployment


def _started(
    stack: AsyncExitStack, directory: Path, program: Path, options: dict[str, str], tls: Tls | None
) -> EmbeddedRedis:
    server = EmbeddedRedis(0, directory=directory, program=program, options=options, tls=tls.context if tls else None)
    server.start()
    stack.callback(server.kill)
    return server


def _free_ports(count: int) -> list[int]:
    """Ports that nothing listens on, each another one: all are held while they are chosen."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
