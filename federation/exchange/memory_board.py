"""MemoryBoard: a board inside one process, for tests; the notice board of a MemoryExchange.

It keeps every promise of the protocol (the same contract tests run on it and on Redis) and nothing beyond
the life of the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from federation.exchange.board import within
from federation.exchange.memory import MemoryExchange
from federation.model.names import ClusterId
from federation.model.sizes import MAX_LETTER_BYTES, MAX_ROSTER_BYTES

_ROSTER = "roster"
_REQUESTS = "requests"


class MemoryBoard:
    """The board of everyone in this process; ``purge`` reaches into ``exchange`` where one is given."""

    def __init__(
        self,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        exchange: MemoryExchange | None = None,
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._exchange = exchange
        self._roster: bytes | None = None
        self._letters: dict[tuple[ClusterId, str], tuple[bytes, float]] = {}
        self._watchers: list[tuple[frozenset[str], asyncio.Queue[str]]] = []

    def forget(self) -> None:
        """Lose all data, as FLUSHALL does; watchers stay."""
        self._roster = None
        self._letters.clear()

    async def publish_roster(self, blob: bytes) -> None:
        self._roster = blob
        self._notify(_ROSTER, "")

    async def read_roster(self) -> bytes | None:
        return within(MAX_ROSTER_BYTES, self._roster, "roster")

    async def write_request(self, cluster: ClusterId, blob: bytes, ttl_seconds: float) -> None:
        self._letters[cluster, "request"] = (blob, self._monotonic() + ttl_seconds)
        self._notify(_REQUESTS, cluster)

    async def read_request(self, cluster: ClusterId) -> bytes | None:
        return self._letter(cluster, "request")

    async def clear_request(self, cluster: ClusterId, blob: bytes) -> None:
        if self._letters.get((cluster, "request"), (None,))[0] == blob:
            del self._letters[cluster, "request"]

    async def write_answer(self, cluster: ClusterId, blob: bytes, ttl_seconds: float) -> None:
        self._letters[cluster, "answer"] = (blob, self._monotonic() + ttl_seconds)
        self._notify(f"answer/{cluster}", "")

    async def read_answer(self, cluster: ClusterId) -> bytes | None:
        return self._letter(cluster, "answer")

    @asynccontextmanager
    async def watch_roster(self) -> AsyncIterator[AsyncIterator[None]]:
        async with self._watch(_ROSTER) as notices:
            yield (None async for _ in notices)

    @asynccontextmanager
    async def watch_requests(self) -> AsyncIterator[AsyncIterator[ClusterId]]:
        async with self._watch(_REQUESTS) as notices:
            yield (ClusterId(cluster) async for cluster in notices)

    @asynccontextmanager
    async def watch_answer(self, cluster: ClusterId) -> AsyncIterator[AsyncIterator[None]]:
        async with self._watch(_ROSTER, f"answer/{cluster}") as notices:
            yield (None async for _ in notices)

    async def purge(self, cluster: ClusterId) -> None:
        for kind in ("request", "answer"):
            self._letters.pop((cluster, kind), None)
        if self._exchange is not None:
            self._exchange.purge(cluster)

    async def server_time(self) -> datetime:
        return self._clock()

    async def server_version(self) -> str:
        return "memory 0"

    async def aclose(self) -> None:
        self._watchers.clear()

    def _letter(self, cluster: ClusterId, kind: str) -> bytes | None:
        blob, until = self._letters.get((cluster, kind), (None, 0.0))
        return within(MAX_LETTER_BYTES, blob, kind) if self._monotonic() < until else None

    def _notify(self, channel: str, text: str) -> None:
        for channels, queue in self._watchers:
            if channel in channels:
                queue.put_nowait(text)

    @asynccontextmanager
    async def _watch(self, *channels: str) -> AsyncIterator[AsyncIterator[str]]:
        watcher = (frozenset(channels), asyncio.Queue[str]())
        self._watchers.append(watcher)
        try:
            yield _each(watcher[1])
        finally:
            self._watchers = [other for other in self._watchers if other is not watcher]


async def _each(queue: asyncio.Queue[str]) -> AsyncIterator[str]:
    while True:
        yield await queue.get()
