"""RedisExchange: the exchange on Redis (6.2 or later, or Valkey), over an ExchangeConnection.

Every conditional write is one Lua script, so that the check and the write are one moment. All keys of a member are in
one slot of a Redis Cluster; a script's PUBLISH reaches the subscribers of all servers. Redis counts as untrusted
storage: nothing here looks into a blob. It does not retry: a caller that knows what it wanted does.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from federation.exchange.base import Keys, Message, StoredSnapshot, Written
from federation.exchange.connection import Argument, ExchangeAccess, ExchangeConnection, Heard, Script
from federation.exchange.payloads import SHARDS
from federation.model.names import ClusterId
from federation.model.records import Version

_LOG_PAGE = 64
"""Batches of one read: 64 MB at most."""
_READS = 8
"""Reads at a time: whoever follows hundreds of members must not open a connection for each when it starts."""

# KEYS: log, manifest, ...; ARGV: SHA-1 of the manifest and id of the last log entry, as the writer left them.
_WRITTEN = """
local function last()
  return redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
end
local function is_written()
  local manifest = redis.call('GET', KEYS[2])
  if not manifest or redis.sha1hex(manifest) ~= ARGV[1] then return false end
  local entry = last()
  return (entry and entry[1] or '') == ARGV[2]
end
"""

# KEYS: log, manifest; ARGV: .., .., id, batch, channel, log length
_APPEND = Script(
    _WRITTEN
    + """
if not is_written() then
  local entry = last()
  local again = entry and entry[1] == ARGV[3] and entry[2][2] == ARGV[4]
  local manifest = redis.call('GET', KEYS[2])
  return again and manifest and redis.sha1hex(manifest) == ARGV[1] and 1 or 0
end
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[6], ARGV[3], 'b', ARGV[4])
redis.call('PUBLISH', ARGV[5], ARGV[4])
return 1
"""
)

# KEYS: log, manifest, shards..; ARGV: .., .., new manifest, a blob per shard (empty: remove)
_UPDATE = Script(
    _WRITTEN
    + """
if redis.call('GET', KEYS[2]) == ARGV[3] then return 1 end
if not is_written() then return 0 end
redis.call('SET', KEYS[2], ARGV[3])
for i = 3, #KEYS do
  if ARGV[i + 1] == '' then redis.call('DEL', KEYS[i]) else redis.call('SET', KEYS[i], ARGV[i + 1]) end
end
return 1
"""
)

# KEYS: log, manifest, lease, shards..; ARGV: .., .., lease, milliseconds, channel
_RENEW = Script(
    _WRITTEN
    + """
if not is_written() then return 0 end
for i = 4, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then return 0 end
end
redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[4])
redis.call('PUBLISH', ARGV[5], ARGV[3])
return 1
"""
)

# KEYS: log, manifest, lease, all shards; ARGV: manifest, lease, milliseconds, channel, a blob per shard
_REPLACE = Script("""
redis.call('DEL', KEYS[1])
for i = 4, #KEYS do
  if ARGV[i + 1] == '' then redis.call('DEL', KEYS[i]) else redis.call('SET', KEYS[i], ARGV[i + 1]) end
end
redis.call('SET', KEYS[2], ARGV[1])
redis.call('SET', KEYS[3], ARGV[2], 'PX', ARGV[3])
redis.call('PUBLISH', ARGV[4], ARGV[2])
return 1
""")


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
        numbers = range(SHARDS)
        await self._connection.evaluate(
            _REPLACE,
            [keys.log, keys.manifest, keys.lease, *map(keys.shard, numbers)],
            [
                snapshot.manifest,
                lease,
                _milliseconds(lease_seconds),
                keys.channel,
                *(snapshot.shards.get(number, b"") for number in numbers),
            ],
        )

    async def append(self, cluster: ClusterId, written: Written, version: Version, batch: bytes) -> bool:
        keys = self._keys(cluster)
        done = await self._connection.evaluate(
            _APPEND,
            [keys.log, keys.manifest],
            [*_written(written), _entry_id(version), batch, keys.channel, self._log_length],
        )
        return bool(done)

    async def update(
        self, cluster: ClusterId, written: Written, snapshot: StoredSnapshot, removed: frozenset[int]
    ) -> bool:
        keys = self._keys(cluster)
        numbers = sorted(snapshot.shards.keys() | removed)
        blobs = [snapshot.shards.get(number, b"") for number in numbers]
        done = await self._connection.evaluate(
            _UPDATE,
            [keys.log, keys.manifest, *map(keys.shard, numbers)],
            [*_written(written), snapshot.manifest, *blobs],
        )
        return bool(done)

    async def renew(self, cluster: ClusterId, written: Written, lease: bytes, lease_seconds: float) -> bool:
        keys = self._keys(cluster)
        done = await self._connection.evaluate(
            _RENEW,
            [keys.log, keys.manifest, keys.lease, *map(keys.shard, sorted(written.shards))],
            [*_written(written), lease, _milliseconds(lease_seconds), keys.channel],
        )
        return bool(done)

    async def read_snapshot(self, cluster: ClusterId) -> StoredSnapshot | None:
        keys = self._keys(cluster)
        shards: list[bytes | None]
        manifest, *shards = await self._read("MGET", keys.manifest, *map(keys.shard, range(SHARDS)))
        if manifest is None:
            return None
        stored = {number: blob for number, blob in enumerate(shards) if blob is not None}
        return StoredSnapshot(manifest, stored)

    async def read_log(self, cluster: ClusterId, after: Version) -> tuple[bytes, ...]:
        log = self._keys(cluster).log
        entries = await self._read("XRANGE", log, f"({_entry_id(after)}", "+", "COUNT", _LOG_PAGE)
        return tuple(fields.get(b"b", b"") for _, fields in entries)

    async def read_lease(self, cluster: ClusterId) -> bytes | None:
        lease: bytes | None = await self._read("GET", self._keys(cluster).lease)
        return lease

    @asynccontextmanager
    async def watch(self, clusters: frozenset[ClusterId]) -> AsyncIterator[AsyncIterator[Message]]:
        channels = {self._keys(cluster).channel: cluster for cluster in clusters}
        async with self._connection.subscription(*channels) as heard:
            yield _messages(heard, channels)

    async def aclose(self) -> None:
        await self._connection.aclose()

    async def _read(self, command: str, key: str, *arguments: Argument) -> Any:
        # Writes do not wait for reads: our own beats come first.
        async with self._reading:
            return await self._connection.command(key, command, key, *arguments)

    def _keys(self, cluster: ClusterId) -> Keys:
        return Keys(self._clusterset, cluster)


async def _messages(heard: AsyncIterator[Heard], channels: Mapping[str, ClusterId]) -> AsyncIterator[Message]:
    async for channel, blob in heard:
        yield Message(channels[channel], blob)


def _written(written: Written) -> tuple[str, str]:
    # SHA-1 is what Redis offers to scripts; it only tells our manifest from another one.
    manifest = hashlib.sha1(written.manifest, usedforsecurity=False).hexdigest()
    return manifest, _entry_id(written.head) if written.head.seq else ""


def _entry_id(version: Version) -> str:
    return f"{version.epoch}-{version.seq}"


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
