"""RedisExchange: the exchange on Redis (6.2 or later, or Valkey); the only importer of ``redis``.

Every conditional write is one Lua script, so that the check and the write are one moment. Redis counts as
untrusted storage: nothing here looks into a blob. It does not retry: a caller that knows what it wanted does.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from federation.exchange.base import Keys, Message, StoredSnapshot, Written
from federation.exchange.payloads import SHARDS
from federation.model.errors import ConfigError, ExchangeUnavailableError
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
_APPEND = (
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
_UPDATE = (
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
_RENEW = (
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
_REPLACE = """
redis.call('DEL', KEYS[1])
for i = 4, #KEYS do
  if ARGV[i + 1] == '' then redis.call('DEL', KEYS[i]) else redis.call('SET', KEYS[i], ARGV[i + 1]) end
end
redis.call('SET', KEYS[2], ARGV[1])
redis.call('SET', KEYS[3], ARGV[2], 'PX', ARGV[3])
redis.call('PUBLISH', ARGV[4], ARGV[2])
return 1
"""


class RedisExchange:
    """An exchange on one Redis database.

    ``url`` is a redis-py URL: ``redis://``, ``rediss://`` (TLS; ``ssl_ca_certs`` and the like as parameters)
    or ``unix://``. ``timeout_seconds`` bounds each command; a channel that is silent for as long is probed.
    Raises ConfigError for an unusable URL.
    """

    def __init__(self, url: str, clusterset: str, *, timeout_seconds: float = 3.0, log_length: int = 5000) -> None:
        self._clusterset = clusterset
        self._timeout = timeout_seconds
        self._log_length = log_length
        self._reading = asyncio.Semaphore(_READS)
        # redis-py retries ten times by default; our callers know better what is still worth sending. Its own
        # socket timeout ends subscriptions that are merely quiet, and goes through asyncio.wait_for, which in
        # Python 3.11 may swallow a cancellation (python/cpython#86296): _answered is our timeout.
        options: dict[str, Any] = {
            "retry": Retry(NoBackoff(), 0),
            "socket_connect_timeout": timeout_seconds,
            "socket_timeout": None,
            "protocol": 2,
        }
        try:
            self._redis = Redis.from_url(url, **options)
        except ValueError as error:
            raise ConfigError(f"exchange url is unusable: {error}") from error
        self._append = self._redis.register_script(_APPEND)
        self._update = self._redis.register_script(_UPDATE)
        self._renew = self._redis.register_script(_RENEW)
        self._replace = self._redis.register_script(_REPLACE)

    async def replace(self, cluster: ClusterId, snapshot: StoredSnapshot, lease: bytes, lease_seconds: float) -> None:
        keys = self._keys(cluster)
        numbers = range(SHARDS)
        async with self._answered():
            await self._replace(
                keys=[keys.log, keys.manifest, keys.lease, *map(keys.shard, numbers)],
                args=[
                    snapshot.manifest,
                    lease,
                    _milliseconds(lease_seconds),
                    keys.channel,
                    *(snapshot.shards.get(number, b"") for number in numbers),
                ],
            )

    async def append(self, cluster: ClusterId, written: Written, version: Version, batch: bytes) -> bool:
        keys = self._keys(cluster)
        async with self._answered():
            done = await self._append(
                keys=[keys.log, keys.manifest],
                args=[*_written(written), _entry_id(version), batch, keys.channel, self._log_length],
            )
        return bool(done)

    async def update(
        self, cluster: ClusterId, written: Written, snapshot: StoredSnapshot, removed: frozenset[int]
    ) -> bool:
        keys = self._keys(cluster)
        numbers = sorted(snapshot.shards.keys() | removed)
        blobs = [snapshot.shards.get(number, b"") for number in numbers]
        async with self._answered():
            done = await self._update(
                keys=[keys.log, keys.manifest, *map(keys.shard, numbers)],
                args=[*_written(written), snapshot.manifest, *blobs],
            )
        return bool(done)

    async def renew(self, cluster: ClusterId, written: Written, lease: bytes, lease_seconds: float) -> bool:
        keys = self._keys(cluster)
        async with self._answered():
            done = await self._renew(
                keys=[keys.log, keys.manifest, keys.lease, *map(keys.shard, sorted(written.shards))],
                args=[*_written(written), lease, _milliseconds(lease_seconds), keys.channel],
            )
        return bool(done)

    async def read_snapshot(self, cluster: ClusterId) -> StoredSnapshot | None:
        keys = self._keys(cluster)
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
        channels = {self._keys(cluster).channel.encode(): cluster for cluster in clusters}
        pubsub = self._redis.pubsub()
        try:
            async with self._answered():
                await pubsub.subscribe(*channels)
                for _ in channels:
                    await pubsub.get_message(timeout=None)
            yield self._messages(pubsub, channels)
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def aclose(self) -> None:
        await self._redis.aclose()

    async def _messages(self, pubsub: Any, channels: dict[bytes, ClusterId]) -> AsyncIterator[Message]:
        probed = False
        while True:
            async with self._answered(bounded=False):
                message = await pubsub.get_message(timeout=self._timeout)
                if message is None:
                    if probed:
                        raise ExchangeUnavailableError("exchange did not answer a ping on the channel")
                    await pubsub.ping()
                probed = message is None
            if message is not None and message["type"] == "message":
                yield Message(channels[message["channel"]], message["data"])

    async def _read(self, *command: str | int) -> Any:
        # Writes do not wait for reads: our own beats come first.
        async with self._reading, self._answered():
            return await self._redis.execute_command(*command)  # type: ignore[no-untyped-call]

    @asynccontextmanager
    async def _answered(self, *, bounded: bool = True) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout if bounded else None):
                yield
        except (RedisError, OSError, TimeoutError) as error:
            cause = str(error)[:200] or type(error).__name__
            raise ExchangeUnavailableError(f"exchange gave no answer: {cause}") from error

    def _keys(self, cluster: ClusterId) -> Keys:
        return Keys(self._clusterset, cluster)


def _written(written: Written) -> tuple[str, str]:
    # SHA-1 is what Redis offers to scripts; it only tells our manifest from another one.
    manifest = hashlib.sha1(written.manifest, usedforsecurity=False).hexdigest()
    return manifest, _entry_id(written.head) if written.head.seq else ""


def _entry_id(version: Version) -> str:
    return f"{version.epoch}-{version.seq}"


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
