"""An event loop whose time is virtual: it leaps to the next timer instead of waiting for it.

What runs on it must not touch sockets, threads or processes; what is handed to an executor runs at once, in the
loop, and its result arrives a moment of virtual time later. The same program on it takes the same steps each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_EXECUTOR_SECONDS = 0.001


class VirtualLoop(asyncio.BaseEventLoop):
    """``time()`` begins at 1000 seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 1000.0
        self._selector = self

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> list[Any]:
        """What the loop asks its selector: to wait. Nothing ever comes from outside."""
        if timeout is None:
            raise RuntimeError("everything waits, and no timer is set: nothing can ever happen again")
        self._now += timeout
        return []

    def run_in_executor(self, executor: object, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        future: asyncio.Future[T] = self.create_future()
        try:
            result = func(*args)
        except Exception as error:
            self.call_later(_EXECUTOR_SECONDS, _fail, future, error)
        else:
            self.call_later(_EXECUTOR_SECONDS, _resolve, future, result)
        return future

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """The result of ``main``, run on a virtual loop of its own."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _resolve(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
