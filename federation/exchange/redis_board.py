"""RedisBoard: the board on Redis, over an ExchangeConnection of its own.

A write and its notice are one Lua script. Nothing here looks into a blob, or retries.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from federation.exchange.base import Keys
from federation.exchange.board import MAX_LETTER_BYTES, MAX_ROSTER_BYTES, BoardKeys, LetterKeys, within
from federation.exchange.connection import ExchangeAccess, ExchangeConnection, Heard, Script
from federation.exchange.payloads import SHARDS
from federation.model.names import ClusterId, is_dns_label

# KEYS: roster; ARGV: blob, channel
_PUBLISH = Script("""
redis.call('SET', KEYS[1], ARGV[1])
redis.call('PUBLISH', ARGV[2], '')
return 1
""")

# KEYS: request or answer; ARGV: blob, milliseconds, channel, text of the notice
_WRITE = Script("""
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
""")

# One key, the request; one argument, the blob that was read.
_CLEAR = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
""")


class RedisBoard:
    """The board of ``clusterset`` behind ``access``; ``timeout_seconds`` bounds each command."""

    def __init__(self, access: ExchangeAccess, clusterset: str, *, timeout_seconds: float = 3.0) -> None:
        self._connection = ExchangeConnection(access, timeout_seconds=timeout_seconds)
        self._clusterset = clusterset
        self._keys = BoardKeys(clusterset)

    async def publish_roster(self, blob: bytes) -> None:
        await self._connection.evaluate(_PUBLISH, [self._keys.roster], [blob, self._keys.roster])

    async def read_roster(self) -> bytes | None:
        return await self._read(self._keys.roster, MAX_ROSTER_BYTES, "roster")

    async def write_request(self, cluster: ClusterId, blob: bytes, ttl_seconds: float) -> None:
        key = self._letters(cluster).request
        await self._connection.evaluate(
            _WRITE, [key], [blob, _milliseconds(ttl_seconds), self._keys.requests, str(cluster)]
        )

    async def read_request(self, cluster: ClusterId) -> bytes | None:
        return await self._read(self._letters(cluster).request, MAX_LETTER_BYTES, "request")

    async def clear_request(self, cluster: ClusterId, blob: bytes) -> None:
        await self._connection.evaluate(_CLEAR, [self._letters(cluster).request], [blob])

    async def write_answer(self, cluster: ClusterId, blob: bytes, ttl_seconds: float) -> None:
        key = self._letters(cluster).answer
        await self._connection.evaluate(_WRITE, [key], [blob, _milliseconds(ttl_seconds), key, ""])

    async def read_answer(self, cluster: ClusterId) -> bytes | None:
        return await self._read(self._letters(cluster).answer, MAX_LETTER_BYTES, "answer")

    @asynccontextmanager
    async def watch_roster(self) -> AsyncIterator[AsyncIterator[None]]:
        async with self._connection.subscription(self._keys.roster) as heard:
            yield (None async for _ in heard)

    @asynccontextmanager
    async def watch_requests(self) -> AsyncIterator[AsyncIterator[ClusterId]]:
        async with self._connection.subscription(self._keys.requests) as heard:
            yield _clusters(heard)

    @asynccontextmanager
    async def watch_answer(self, cluster: ClusterId) -> AsyncIterator[AsyncIterator[None]]:
        async with self._connection.subscription(self._letters(cluster).answer, self._keys.roster) as heard:
            yield (None async for _ in heard)

    async def purge(self, cluster: ClusterId) -> None:
        keys, letters = Keys(self._clusterset, cluster), self._letters(cluster)
        shards = map(keys.shard, range(SHARDS))
        every = [keys.log, keys.manifest, keys.lease, *shards, letters.request, letters.answer]
        await self._connection.command(keys.log, "DEL", *every)

    async def server_time(self) -> datetime:
        seconds, microseconds = map(int, await self._connection.command(self._keys.roster, "TIME"))
        return datetime.fromtimestamp(seconds + microseconds / 1e6, UTC)

    async def server_version(self) -> str:
        return await self._connection.version(self._keys.roster)

    async def aclose(self) -> None:
        await self._connection.aclose()

    async def _read(self, key: str, limit: int, what: str) -> bytes | None:
        # One byte more than allowed tells as much as all of them, which may be hundreds of megabytes.
        blob: bytes = await self._connection.command(key, "GETRANGE", key, 0, limit)
        # To GETRANGE a missing key is an empty one; nobody writes an empty blob.
        return within(limit, blob, what) or None

    def _letters(self, cluster: ClusterId) -> LetterKeys:
        return LetterKeys(self._clusterset, cluster)


async def _clusters(heard: AsyncIterator[Heard]) -> AsyncIterator[ClusterId]:
    async for _, text in heard:
        name = text.decode(errors="replace")
        if is_dns_label(name):
            yield ClusterId(name)


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
