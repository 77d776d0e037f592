"""MemoryExchange: an exchange inside one process, for tests and for trying things without a server.

It keeps every promise of the protocol (the same contract tests run on it and on Redis) and nothing beyond
the life of the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from federation.exchange.base import Message, StoredSnapshot, Written
from federation.model.names import ClusterId
from federation.model.records import Version


@dataclass(slots=True)
class _Stored:
    manifest: bytes | None = None
    shards: dict[int, bytes] = field(default_factory=dict)
    log: dict[Version, bytes] = field(default_factory=dict)
    lease: bytes | None = None
    lease_until: float = 0.0

    def head_is(self, head: Version) -> bool:
        last = next(reversed(self.log), None)
        return last is None if head.seq == 0 else last == head


class MemoryExchange:
    """The store and its channels; every session of the process shares the one object."""

    def __init__(self, monotonic: Callable[[], float], *, log_length: int = 5000) -> None:
        self._monotonic = monotonic
        self._log_length = log_length
        self._members: dict[ClusterId, _Stored] = {}
        self._watchers: list[tuple[frozenset[ClusterId], asyncio.Queue[Message]]] = []

    def forget(self) -> None:
        """Lose all data, as FLUSHALL does; watchers stay."""
        self._members.clear()

    def purge(self, cluster: ClusterId) -> None:
        """Lose what is stored of one member; watchers stay."""
        self._members.pop(cluster, None)

    async def replace(self, cluster: ClusterId, snapshot: StoredSnapshot, lease: bytes, lease_seconds: float) -> None:
        until = self._monotonic() + lease_seconds
        self._members[cluster] = _Stored(snapshot.manifest, dict(snapshot.shards), lease=lease, lease_until=until)
        self._send(cluster, lease)

    async def append(self, cluster: ClusterId, written: Written, version: Version, batch: bytes) -> bool:
        stored = self._of(cluster)
        if stored.manifest != written.manifest:
            return False
        if stored.log.get(version) == batch and stored.head_is(version):
            return True
        if not stored.head_is(written.head):
            return False
        stored.log[version] = batch
        while len(stored.log) > self._log_length:
            del stored.log[next(iter(stored.log))]
        self._send(cluster, batch)
        return True

    async def update(
        self, cluster: ClusterId, written: Written, snapshot: StoredSnapshot, removed: frozenset[int]
    ) -> bool:
        stored = self._of(cluster)
        if stored.manifest == snapshot.manifest:
            return True
        if stored.manifest != written.manifest or not stored.head_is(written.head):
            return False
        stored.manifest = snapshot.manifest
        stored.shards |= snapshot.shards
        for number in removed:
            stored.shards.pop(number, None)
        return True

    async def renew(self, cluster: ClusterId, written: Written, lease: bytes, lease_seconds: float) -> bool:
        stored = self._of(cluster)
        whole = written.shards <= stored.shards.keys()
        if stored.manifest != written.manifest or not stored.head_is(written.head) or not whole:
            return False
        stored.lease = lease
        stored.lease_until = self._monotonic() + lease_seconds
        self._send(cluster, lease)
        return True

    async def read_snapshot(self, cluster: ClusterId) -> StoredSnapshot | None:
        stored = self._of(cluster)
        return None if stored.manifest is None else StoredSnapshot(stored.manifest, dict(stored.shards))

    async def read_log(self, cluster: ClusterId, after: Version) -> tuple[bytes, ...]:
        return tuple(batch for version, batch in self._of(cluster).log.items() if version > after)

    async def read_lease(self, cluster: ClusterId) -> bytes | None:
        stored = self._of(cluster)
        return stored.lease if self._monotonic() < stored.lease_until else None

    @asynccontextmanager
    async def watch(self, clusters: frozenset[ClusterId]) -> AsyncIterator[AsyncIterator[Message]]:
        queue: asyncio.Queue[Message] = asyncio.Queue()
        watcher = (clusters, queue)
        self._watchers.append(watcher)
        try:
            yield self._messages(queue)
        finally:
            self._watchers = [other for other in self._watchers if other is not watcher]

    async def aclose(self) -> None:
        self._watchers.clear()

    async def _messages(self, queue: asyncio.Queue[Message]) -> AsyncIterator[Message]:
        while True:
            yield await queue.get()

    def _of(self, cluster: ClusterId) -> _Stored:
        return self._members.get(cluster, _Stored())

    def _send(self, cluster: ClusterId, blob: bytes) -> None:
        for clusters, queue in self._watchers:
            if cluster in clusters:
                queue.put_nowait(Message(cluster, blob))
