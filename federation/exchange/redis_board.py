"""RedisBoard: the board on Redis, over an ExchangeConnection of its own.

A write and its notice are one transaction. Nothing here looks into a blob, or retries.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from federation.exchange.base import Keys
from federation.exchange.board import BoardKeys, LetterKeys, stored_keys, within
from federation.exchange.connection import ExchangeAccess, ExchangeConnection, Heard, blob_of
from federation.exchange.transactions import Decision
from federation.model.names import ClusterId, is_dns_label
from federation.model.sizes import MAX_LETTER_BYTES, MAX_ROSTER_BYTES


class RedisBoard:
    """The board of ``clusterset`` behind ``access``; ``timeout_seconds`` bounds each command."""

    def __init__(self, access: ExchangeAccess, clusterset: str, *, timeout_seconds: float = 3.0) -> None:
        self._connection = ExchangeConnection(access, timeout_seconds=timeout_seconds)
        self._clusterset = clusterset
        self._keys = BoardKeys(clusterset)

    async def publish_roster(self, blob: bytes) -> None:
        roster = self._keys.roster
        await self._connection.write(roster, ("SET", roster, blob), ("PUBLISH", roster, ""))

    async def read_roster(self) -> bytes | None:
        return await self._read(self._keys.roster, MAX_ROSTER_BYTES, "roster")

    async def write_request(self, cluster: ClusterId, blob: bytes, ttl_seconds: float) -> None:
        key = self._letters(cluster).request
        await self._connection.write(
            key, ("SET", key, blob, "PX", _milliseconds(ttl_seconds)), ("PUBLISH", self._keys.requests, cluster)
        )

    async def read_request(self, cluster: ClusterId) -> bytes | None:
        return await self._read(self._letters(cluster).request, MAX_LETTER_BYTES, "request")

    async def clear_request(self, cluster: ClusterId, blob: bytes) -> None:
        key = self._letters(cluster).request

        def decide(answers: list[Any]) -> Decision:
            return [("DEL", key)] if answers == [blob] else True

        await self._connection.write_if([key], [("GETRANGE", key, 0, MAX_LETTER_BYTES)], decide)

    async def write_answer(self, cluster: ClusterId, blob: bytes, ttl_seconds: float) -> None:
        key = self._letters(cluster).answer
        await self._connection.write(key, ("SET", key, blob, "PX", _milliseconds(ttl_seconds)), ("PUBLISH", key, ""))

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
        log = Keys(self._clusterset, cluster).log
        await self._connection.command(log, "DEL", *stored_keys(self._clusterset, cluster))

    async def server_time(self) -> datetime:
        return await self._connection.time(self._keys.roster)

    async def server_version(self) -> str:
        return await self._connection.version(self._keys.roster)

    async def aclose(self) -> None:
        await self._connection.aclose()

    async def _read(self, key: str, limit: int, what: str) -> bytes | None:
        # One byte more than allowed tells as much as all of them, which may be hundreds of megabytes.
        blob = await self._connection.ask(key, blob_of, "GETRANGE", key, 0, limit)
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
