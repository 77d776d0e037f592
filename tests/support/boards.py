"""A board that can be switched off and deaf, and users of an exchange in memory, for tests of membership."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from federation.exchange.memory_board import MemoryBoard
from federation.model.errors import ExchangeDeniedError, ExchangeUnavailableError
from federation.model.names import ClusterId


class FlakyBoard(MemoryBoard):
    """While not ``up`` nothing answers; while ``denied`` nobody is let in; while ``deaf`` no notice arrives."""

    up = True
    denied = False
    deaf = False
    reads = 0
    refused = 0

    def check(self) -> None:
        if not self.up:
            self.refused += 1
            raise ExchangeUnavailableError("switched off")
        if self.denied:
            raise ExchangeDeniedError("refused our user or password")

    async def publish_roster(self, blob: bytes) -> None:
        self.check()
        await super().publish_roster(blob)

    async def read_roster(self) -> bytes | None:
        self.check()
        self.reads += 1
        return await super().read_roster()

    async def write_request(self, cluster: ClusterId, blob: bytes, ttl_seconds: float) -> None:
        self.check()
        await super().write_request(cluster, blob, ttl_seconds)

    async def read_request(self, cluster: ClusterId) -> bytes | None:
        self.check()
        self.reads += 1
        return await super().read_request(cluster)

    async def read_answer(self, cluster: ClusterId) -> bytes | None:
        self.check()
        return await super().read_answer(cluster)

    async def purge(self, cluster: ClusterId) -> None:
        self.check()
        await super().purge(cluster)

    @asynccontextmanager
    async def watch_roster(self) -> AsyncIterator[AsyncIterator[None]]:
        self.check()
        async with super().watch_roster() as notices:
            yield notices

    @asynccontextmanager
    async def watch_requests(self) -> AsyncIterator[AsyncIterator[ClusterId]]:
        self.check()
        async with super().watch_requests() as clusters:
            yield clusters

    def _notify(self, channel: str, text: str) -> None:
        if not self.deaf:
            super()._notify(channel, text)


class MemoryUsers:
    """The users of the exchange of ``board``, which goes down with it."""

    def __init__(self, board: FlakyBoard) -> None:
        self.known: dict[ClusterId, frozenset[str]] = {}
        self._board = board

    async def set_user(self, cluster: ClusterId, password_sha256: Sequence[str]) -> None:
        self._board.check()
        self.known[cluster] = frozenset(password_sha256)

    async def delete_user(self, cluster: ClusterId) -> None:
        self._board.check()
        self.known.pop(cluster, None)

    async def users(self) -> Mapping[ClusterId, frozenset[str]]:
        self._board.check()
        return dict(self.known)

    async def aclose(self) -> None:
        """Nothing to give up."""
