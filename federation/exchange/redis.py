"""RedisExchange: the exchange on Redis (6.2 or later, or Valkey), over an ExchangeConnection.

Every conditional write looks at what is stored under a watch and writes in a transaction, so that the check and the
write are one moment. All keys of a member are in one slot of a Redis Cluster; a transaction's PUBLISH reaches the
subscribers of all servers. Redis counts as untrusted storage: nothing here looks into a blob. It does not retry: a
caller that knows what it wanted does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from federation.exchange.base import Keys, Message, StoredSnapshot, Written
from federation.exchange.connection import ExchangeAccess, ExchangeConnection, Heard, blob_of
from federation.exchange.payloads import SHARDS
from federation.exchange.signing import MAX_BYTES, BlobKind
from federation.exchange.transactions import Argument, Command, Decision
from federation.model.names import ClusterId
from federation.model.records import Version

T = TypeVar("T")

_LOG_PAGE = 32
"""Batches of one read: with 32 MB at most, less than an answer may have."""
_READS = 8
"""Reads at a time: whoever follows hundreds of members must not open a connection for each when it starts."""


class RedisExchange:
    """An exchange behind ``access``; ``timeout_seconds`` bounds each command, and a channel that is silent for as long
    is probed."""

    def __init__(
        self, access: ExchangeAccess, clusterset: str, *, timeout_seconds: float = 3.0, log_length: int = 5000
    ) -> None:
        self._connection = ExchangeConnection(access, timeout_seconds=timeout_seconds)
        self._clusterset = clusterset
        self._log_length = log_length
        self._reading = asyncio.Semaphore(_READS)

    async def replace(self, cluster: ClusterId, snapshot: StoredSnapshot, lease: bytes, lease_seconds: float) -> None:
        keys = self._keys(cluster)
        await self._connection.write(
            keys.manifest,
            ("DEL", keys.log),
            *_shards(keys, snapshot.shards, frozenset(range(SHARDS)) - snapshot.shards.keys()),
            ("SET", keys.manifest, snapshot.manifest),
            *_lease(keys, lease, lease_seconds),
        )

    async def append(self, cluster: ClusterId, written: Written, version: Version, batch: bytes) -> bool:
        keys = self._keys(cluster)
        entry = _entry_id(version)

        def decide(answers: list[Any]) -> Decision:
            manifest, last = answers
            if _is_written(written, manifest, last):
                return (
                    ("XADD", keys.log, "MAXLEN", "~", self._log_length, entry, "b", batch),
                    ("PUBLISH", keys.channel, batch),
                )
            return bool(manifest == written.manifest and last == [[entry.encode(), [b"b", batch]]])

        return await self._connection.write_if([keys.manifest, keys.log], _whats_written(keys), decide)

    async def update(
        self, cluster: ClusterId, written: Written, snapshot: StoredSnapshot, removed: frozenset[int]
    ) -> bool:
        keys = self._keys(cluster)

        def decide(answers: list[Any]) -> Decision:
            manifest, last = answers
            if manifest == snapshot.manifest:
                return True
            if not _is_written(written, manifest, last):
                return False
            return ("SET", keys.manifest, snapshot.manifest), *_shards(keys, snapshot.shards, removed)

        return await self._connection.write_if([keys.manifest, keys.log], _whats_written(keys), decide)

    async def renew(self, cluster: ClusterId, written: Written, lease: bytes, lease_seconds: float) -> bool:
        keys = self._keys(cluster)
        shards = tuple(map(keys.shard, sorted(written.shards)))

        def decide(answers: list[Any]) -> Decision:
            manifest, last, *counted = answers
            if not _is_written(written, manifest, last) or sum(counted) < len(shards):
                return False
            return _lease(keys, lease, lease_seconds)

        reads = (*_whats_written(keys), *([("EXISTS", *shards)] if shards else []))
        return await self._connection.write_if([keys.manifest, keys.log, *shards], reads, decide)

    async def read_snapshot(self, cluster: ClusterId) -> StoredSnapshot | None:
        keys = self._keys(cluster)
        return await self._read(_snapshot, "MGET", keys.manifest, *map(keys.shard, range(SHARDS)))

    async def read_log(self, cluster: ClusterId, after: Version) -> tuple[bytes, ...]:
        log = self._keys(cluster).log
        return await self._read(_batches, "XRANGE", log, f"({_entry_id(after)}", "+", "COUNT", _LOG_PAGE)

    async def read_lease(self, cluster: ClusterId) -> bytes | None:
        # One byte more than allowed tells as much as all of them.
        return await self._read(blob_of, "GETRANGE", self._keys(cluster).lease, 0, MAX_BYTES[BlobKind.LEASE]) or None

    @asynccontextmanager
    async def watch(self, clusters: frozenset[ClusterId]) -> AsyncIterator[AsyncIterator[Message]]:
        channels = {self._keys(cluster).channel: cluster for cluster in clusters}
        async with self._connection.subscription(*channels) as heard:
            yield _messages(heard, channels)

    async def aclose(self) -> None:
        await self._connection.aclose()

    async def _read(self, read: Callable[[Any], T], command: str, key: str, *arguments: Argument) -> T:
        # Writes do not wait for reads: our own beats come first.
        async with self._reading:
            return await self._connection.ask(key, read, command, key, *arguments)

    def _keys(self, cluster: ClusterId) -> Keys:
        return Keys(self._clusterset, cluster)


async def _messages(heard: AsyncIterator[Heard], channels: Mapping[str, ClusterId]) -> AsyncIterator[Message]:
    async for channel, blob in heard:
        if channel in channels:
            yield Message(channels[channel], blob)


def _whats_written(keys: Keys) -> tuple[Command, ...]:
    return ("GET", keys.manifest), ("XREVRANGE", keys.log, "+", "-", "COUNT", 1)


def _is_written(written: Written, manifest: Any, last: Any) -> bool:
    """Whether manifest and last entry of the log, as they were read, are those of ``written``."""
    head = _entry_id(written.head).encode() if written.head.seq else None
    return bool(manifest == written.manifest and (last[0][0] if last else None) == head)


def _shards(keys: Keys, shards: Mapping[int, bytes], removed: frozenset[int]) -> tuple[Command, ...]:
    stored: list[Command] = [("SET", keys.shard(number), blob) for number, blob in sorted(shards.items())]
    return *stored, *([("DEL", *map(keys.shard, sorted(removed)))] if removed else [])


def _lease(keys: Keys, lease: bytes, seconds: float) -> tuple[Command, ...]:
    return ("SET", keys.lease, lease, "PX", _milliseconds(seconds)), ("PUBLISH", keys.channel, lease)


def _snapshot(answer: Any) -> StoredSnapshot | None:
    manifest, *shards = map(blob_of, answer)
    if manifest is None:
        return None
    return StoredSnapshot(manifest, {number: blob for number, blob in enumerate(shards) if blob is not None})


def _batches(answer: Any) -> tuple[bytes, ...]:
    return tuple(blob_of(fields.get(b"b")) or b"" for _, fields in answer)


def _entry_id(version: Version) -> str:
    return f"{version.epoch}-{version.seq}"


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
