"""The processes of bench.exchange: all publishers in one, whole consumers, and light subscribers."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import random
import resource
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import structlog

from federation.exchange.base import Keys
from federation.exchange.connection import ExchangeAccess
from federation.exchange.disk import ReplicaDisk
from federation.exchange.redis import RedisExchange
from federation.exchange.session import ExchangeSession
from federation.exchange.signing import MemberKey
from federation.model.exchange_address import parse_exchange_address
from federation.model.names import ClusterId, RecordKey, ServiceKey
from federation.model.records import (
    BundleRecord,
    EndpointAddress,
    EndpointsRecord,
    ExportRecord,
    GatewayAddress,
    GatewayRecord,
    ImportType,
    Member,
    Record,
    ZoneCount,
)
from federation.model.state import Protocol, ServicePort

CLUSTERSET = "bench"
CREATED = datetime(2026, 1, 1, tzinfo=UTC)
ENDPOINTS_PER_SERVICE = 10
DEADLINE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Size:
    """What is measured, and where."""

    url: str
    members: int
    services: int
    headless: bool

    def member(self, number: int) -> Member:
        return Member(ClusterId(f"c{number:03}"), f"c{number:03}.bench", self.key(number).public)

    def key(self, number: int) -> MemberKey:
        return MemberKey(number.to_bytes(32, "big"))

    def session(self, number: int, peers: list[Member], disk: ReplicaDisk | None, on_change: Any) -> ExchangeSession:
        return ExchangeSession(
            RedisExchange(ExchangeAccess(parse_exchange_address(self.url)), CLUSTERSET),
            clusterset=CLUSTERSET,
            member=self.member(number),
            key=self.key(number),
            peers=peers,
            disk=disk,
            clock=lambda: datetime.now(UTC),
            monotonic=time.monotonic,
            rng=random.Random(number),
            on_change=on_change,
        )


def records(member: Member, services: int, *, headless: bool) -> dict[RecordKey, Record]:
    found: list[Record] = [
        GatewayRecord((GatewayAddress("127.0.0.1", 15443),), "here", "lan"),
        BundleRecord(member.trust_domain, 1, (b"x" * 600,)),
    ]
    for number in range(services):
        key = ServiceKey("bench", f"service-{number}")
        identity = f"spiffe://{member.trust_domain}/ns/bench/sa/server"
        ports = (ServicePort("http", Protocol.TCP, 80, "http"),)
        found.append(ExportRecord(key, CREATED, ImportType.CLUSTER_SET_IP, ports, identities=(identity,)))
        hosts = range(ENDPOINTS_PER_SERVICE if headless else 0)
        addresses = tuple(
            EndpointAddress((f"10.{number}.{member.cluster[1:].lstrip('0') or 0}.{host}",)) for host in hosts
        )
        found.append(EndpointsRecord(key, (ZoneCount("a", ENDPOINTS_PER_SERVICE),), addresses))
    return {record.record_key: record for record in found}


class Publishers:
    """All members in one process."""

    def __init__(self, size: Size) -> None:
        self._desired = [
            records(size.member(number), size.services, headless=size.headless) for number in range(size.members)
        ]
        self._sessions = [size.session(number, [], None, lambda *_: None) for number in range(size.members)]
        self._random = random.Random(1)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for session in self._sessions:
                tasks.create_task(session.run())

    async def publish(self) -> float:
        """Seconds until Redis holds everything of everybody."""
        began = time.monotonic()
        for session, desired in zip(self._sessions, self._desired, strict=True):
            session.publish(desired)
        await until(lambda: all(session.settled for session in self._sessions))
        took = time.monotonic() - began
        # A collection of the garbage of all members at once is no member's lot.
        gc.collect()
        gc.freeze()
        return took

    async def change(self, rate: float, seconds: float) -> dict[tuple[str, str], tuple[float, float]]:
        """Change endpoint counts, each service at most once; returns when each one was due, and when it was made."""
        keys = [(at, key) for at, own in enumerate(self._desired) for key in own if key.startswith("endpoints/")]
        self._random.shuffle(keys)
        changed: dict[tuple[str, str], tuple[float, float]] = {}
        began = time.monotonic()
        for number, (at, key) in enumerate(keys[: int(rate * seconds)]):
            due = began + number / rate
            if (early := due - time.monotonic()) > 0:
                await asyncio.sleep(early)
            record = self._desired[at][key]
            assert isinstance(record, EndpointsRecord)
            self._desired[at][key] = replace(record, zones=(ZoneCount("a", record.ready + 1),))
            made = time.monotonic()
            self._sessions[at].publish(self._desired[at])
            changed[f"c{at:03}", key] = (due, made)
        return changed

    async def republished(self, times: int) -> float:
        """When everybody had published everything ``times`` times."""
        await until(lambda: all(at.publications >= times and at.settled for at in self._sessions))
        return time.monotonic()


class Consumer:
    """One whole member that follows all others."""

    def __init__(self, size: Size, number: int) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="federation-bench-")
        peers = [size.member(at) for at in range(size.members) if at != number]
        self._expected = 2 + 2 * size.services
        self._heard: dict[tuple[str, str], float] = {}
        self._silences: list[float] = []
        # What this member has to say is said by the publishers; here it only listens.
        self._session = size.session(number, peers, ReplicaDisk(Path(self._directory.name)), self._on_change)
        self._start = asyncio.Event()

    async def run(self) -> None:
        await self._start.wait()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._session.run())
            tasks.create_task(self._watch_the_loop())

    async def load(self) -> tuple[float, float, float]:
        """Seconds until all records of all peers are there, the megabytes that this took, and the longest that the
        event loop was busy, seconds."""
        gc.collect()
        before, began = resident_megabytes(), time.monotonic()
        self._start.set()
        members = self._session.snapshot
        await until(lambda: all(len(at.records) == self._expected for at in members().members.values()))
        took = time.monotonic() - began
        await asyncio.sleep(1)
        gc.collect()
        return took, resident_megabytes() - before, max(self._silences)

    async def listen(self) -> None:
        self._heard.clear()
        self._silences.clear()

    async def heard(self) -> tuple[dict[tuple[str, str], float], float]:
        """When each key was applied first since ``listen``, and the longest that the event loop was busy, seconds."""
        return self._heard, max(self._silences, default=0.0)

    async def recovered(self, after_ms: int) -> tuple[float, int]:
        """When all peers were confirmed under epochs later than ``after_ms``; the fewest records seen meanwhile."""
        fewest = 1 << 30

        def confirmed() -> bool:
            nonlocal fewest
            members = self._session.snapshot().members.values()
            fewest = min(fewest, sum(len(at.records) for at in members))
            return all(at.fresh and at.version is not None and at.version.epoch > after_ms for at in members)

        await until(confirmed)
        return time.monotonic(), fewest

    def _on_change(self, cluster: ClusterId, keys: frozenset[RecordKey]) -> None:
        now = time.monotonic()
        for key in keys:
            self._heard.setdefault((cluster, key), now)

    async def _watch_the_loop(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.005)
            self._silences.append(time.monotonic() - began - 0.005)


class Subscribers:
    """Connections that take every message of every member, and look at none."""

    def __init__(self, size: Size, count: int) -> None:
        self._size = size
        self._count = count
        self.received = 0

    async def run(self) -> None:
        host, port = self._size.url.removeprefix("redis://").removesuffix("/0").split(":")
        channels = [Keys(CLUSTERSET, self._size.member(at).cluster).channel for at in range(self._size.members)]
        command = f"*{len(channels) + 1}\r\n$9\r\nSUBSCRIBE\r\n"
        command += "".join(f"${len(channel)}\r\n{channel}\r\n" for channel in channels)
        connections: list[socket.socket] = []
        while True:
            # Read in rounds: what a real subscriber spends on its own machine is not to be spent on this one.
            await asyncio.sleep(0.02)
            while len(connections) < self._count:
                try:
                    fresh = socket.create_connection((host, int(port)))
                    fresh.sendall(command.encode())
                except OSError:
                    break
                fresh.setblocking(False)
                connections.append(fresh)
            connections = [connection for connection in connections if self._drain(connection)]

    async def count(self) -> int:
        """Bytes received so far."""
        return self.received

    def _drain(self, connection: socket.socket) -> bool:
        try:
            data = connection.recv(1 << 20)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        self.received += len(data)
        if not data:
            connection.close()
        return bool(data)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():
            await asyncio.sleep(0.02)


def resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Worker:
    """A role in a process of its own; ``ask`` calls one of its methods there."""

    def __init__(self, role: type[Any], *arguments: object) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, role, arguments), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def send(self, method: str, *arguments: object) -> None:
        self._pipe.send((method, arguments))

    def answer(self) -> Any:
        return self._pipe.recv()

    def ask(self, method: str, *arguments: object) -> Any:
        self.send(method, *arguments)
        return self.answer()

    def stop(self) -> None:
        self._process.terminate()
        self._process.join()


def work(pipe: Connection, role: type[Any], arguments: tuple[object, ...]) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    async def main() -> None:
        actor = role(*arguments)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(actor.run())
            while True:
                method, given = await asyncio.to_thread(pipe.recv)
                call: Callable[..., Awaitable[Any]] = getattr(actor, method)
                pipe.send(await call(*given))

    try:
        asyncio.run(main())
    except EOFError:
        os._exit(0)
