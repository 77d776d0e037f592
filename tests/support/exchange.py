"""Members, records and exchanges for tests: deterministic keys, short builders, an exchange that can fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from federation.exchange.base import Message, StoredSnapshot, Written
from federation.exchange.memory import MemoryExchange
from federation.exchange.signing import MemberKey
from federation.model.errors import ExchangeUnavailableError
from federation.model.names import ClusterId, RecordKey, ServiceKey
from federation.model.records import (
    BundleRecord,
    EndpointsRecord,
    ExportRecord,
    GatewayAddress,
    GatewayRecord,
    ImportType,
    Member,
    Record,
    Version,
    ZoneCount,
)
from federation.model.state import Protocol, ServicePort

CLUSTERSET = "test"
CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def key_of(cluster: str) -> MemberKey:
    """The signing key of ``cluster``, the same in every test."""
    return MemberKey(cluster.encode().ljust(32, b".")[:32])


def member_of(cluster: str) -> Member:
    return Member(ClusterId(cluster), f"{cluster}.example", key_of(cluster).public)


def export(name: str, cluster: str = "east", port: int = 8080) -> ExportRecord:
    return ExportRecord(
        key=ServiceKey("demo", name),
        created=CREATED,
        type=ImportType.CLUSTER_SET_IP,
        ports=(ServicePort("http", Protocol.TCP, port, "http"),),
        identities=(f"spiffe://{cluster}.example/ns/demo/sa/{name}",),
    )


def endpoints(name: str, ready: int) -> EndpointsRecord:
    return EndpointsRecord(ServiceKey("demo", name), (ZoneCount("a", ready),))


def gateway(host: str = "127.0.0.1", port: int = 15443) -> GatewayRecord:
    return GatewayRecord((GatewayAddress(host, port),), "us", "lan")


def bundle(sequence: int, cluster: str = "east", authority: bytes = b"der") -> BundleRecord:
    return BundleRecord(f"{cluster}.example", sequence, (authority,))


def by_key(*records: Record) -> dict[RecordKey, Record]:
    return {record.record_key: record for record in records}


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Return as soon as ``condition`` holds; fail after a generous deadline."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


class FlakyExchange:
    """A MemoryExchange that can be switched off, as a server that is killed and keeps its data."""

    def __init__(self, inner: MemoryExchange) -> None:
        self.inner = inner
        self.refused = 0
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._up.set()

    def switch(self, *, on: bool) -> None:
        (self._up if on else self._down).set()
        (self._down if on else self._up).clear()

    def _check(self) -> None:
        if not self._up.is_set():
            self.refused += 1
            raise ExchangeUnavailableError("switched off")

    async def replace(self, cluster: ClusterId, snapshot: StoredSnapshot, lease: bytes, lease_seconds: float) -> None:
        self._check()
        await self.inner.replace(cluster, snapshot, lease, lease_seconds)

    async def append(self, cluster: ClusterId, written: Written, version: Version, batch: bytes) -> bool:
        self._check()
        return await self.inner.append(cluster, written, version, batch)

    async def update(
        self, cluster: ClusterId, written: Written, snapshot: StoredSnapshot, removed: frozenset[int]
    ) -> bool:
        self._check()
        return await self.inner.update(cluster, written, snapshot, removed)

    async def renew(self, cluster: ClusterId, written: Written, lease: bytes, lease_seconds: float) -> bool:
        self._check()
        return await self.inner.renew(cluster, written, lease, lease_seconds)

    async def read_snapshot(self, cluster: ClusterId) -> StoredSnapshot | None:
        self._check()
        return await self.inner.read_snapshot(cluster)

    async def read_log(self, cluster: ClusterId, after: Version) -> tuple[bytes, ...]:
        self._check()
        return await self.inner.read_log(cluster, after)

    async def read_lease(self, cluster: ClusterId) -> bytes | None:
        self._check()
        return await self.inner.read_lease(cluster)

    @asynccontextmanager
    async def watch(self, clusters: frozenset[ClusterId]) -> AsyncIterator[AsyncIterator[Message]]:
        self._check()
        async with self.inner.watch(clusters) as messages:
            yield self._until_down(messages)

    async def aclose(self) -> None:
        await self.inner.aclose()

    async def _until_down(self, messages: AsyncIterator[Message]) -> AsyncIterator[Message]:
        while True:
            following = asyncio.ensure_future(anext(messages))
            down = asyncio.ensure_future(self._down.wait())
            try:
                await asyncio.wait([following, down], return_when=asyncio.FIRST_COMPLETED)
                self._check()
                yield following.result()
            finally:
                following.cancel()
                down.cancel()
