"""SharedClient: one client for all who ask an API server at the same time.

An edge without decisions. A client is opened by the first who asks and closed by the last: a burst shares connections,
and no credentials are kept for later.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

Client = TypeVar("Client")


@dataclass(slots=True)
class _Open(Generic[Client]):
    client: Client
    stack: AsyncExitStack
    users: int = 0


class SharedClient(Generic[Client]):
    """Borrowed clients of those that ``opened`` makes."""

    def __init__(self, opened: Callable[[], AbstractAsyncContextManager[Client]]) -> None:
        self._opened = opened
        self._opening = asyncio.Lock()
        self._current: _Open[Client] | None = None

    @asynccontextmanager
    async def borrowed(self) -> AsyncIterator[Client]:
        """The client that others use now, or a new one. It is lent to nobody else once somebody had an error with it;
        raises what ``opened`` raises."""
        async with self._opening:
            shared = self._current = self._current or await self._open()
            shared.users += 1
        try:
            yield shared.client
        except BaseException:
            self._retire(shared)
            raise
        finally:
            shared.users -= 1
            if not shared.users:
                self._retire(shared)
                await shared.stack.aclose()

    async def _open(self) -> _Open[Client]:
        stack = AsyncExitStack()
        return _Open(await stack.enter_async_context(self._opened()), stack)

    def _retire(self, shared: _Open[Client]) -> None:
        if self._current is shared:
            self._current = None
