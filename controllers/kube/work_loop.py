"""WorkLoop: workers that bring marked services in order, one after the other, and what they do about trouble.

Edge: it drives clients and waits. What fails stays marked and is tried again later; trouble of the API server makes
everybody wait, longer each time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final, Generic, TypeVar

import structlog

from controllers.kube.backlog import Backlog
from controllers.kube.client import KubeError
from controllers.sources.resource_watch import Patience
from federation.model.names import ServiceKey
from federation.model.problems import Problem

_log = structlog.get_logger(__name__)

_WORKERS: Final = 4

Client = TypeVar("Client")


class WorkLoop(Generic[Client]):
    """Works off a ``backlog`` with clients that ``opened`` gives, while ``may_write`` says so.

    ``bring`` brings one service in order and tells whether it is; it raises KubeError for trouble that is not this
    service's own. ``subject`` is what can't be written in trouble, as problems call it.
    """

    def __init__(
        self,
        opened: Callable[[], AbstractAsyncContextManager[Client]],
        backlog: Backlog,
        bring: Callable[[Client, ServiceKey], Awaitable[bool]],
        *,
        may_write: Callable[[], bool],
        subject: str,
        patience: Patience,
    ) -> None:
        self._opened = opened
        self._backlog = backlog
        self._bring = bring
        self._may_write = may_write
        self._subject = subject
        self._patience = patience
        self._failures = 0
        self._not_before = 0.0
        self._news = asyncio.Event()
        self.trouble: tuple[Problem, ...] = ()
        """Why nothing can be written at the moment."""

    def wake(self) -> None:
        """Something was marked, or may be written now."""
        self._news.set()

    def hurry(self) -> None:
        """What was in the way until now counts no longer."""
        self._failures, self._not_before, self.trouble = 0, 0.0, ()
        self._news.set()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(_WORKERS):
                tasks.create_task(self._work(), name=f"writer {number} of {self._subject}")

    async def _work(self) -> None:
        """One service after the other, with a new client after trouble: its credentials are read anew."""
        while True:
            try:
                async with self._opened() as client:
                    while True:
                        await self._bring_in_order(client, await self._next())
                        self._failures, self.trouble = 0, ()
            except KubeError as error:
                self._hold(error)
                await asyncio.sleep(self._held_seconds)

    async def _bring_in_order(self, client: Client, key: ServiceKey) -> None:
        in_order = False
        try:
            in_order = await self._bring(client, key)
        finally:
            if in_order:
                self._backlog.done(key)
            else:
                self._backlog.failed(key, asyncio.get_running_loop().time())
            self._news.set()

    def _hold(self, error: KubeError) -> None:
        """Let everybody wait, longer each time, and at least as long as the API server asks."""
        trouble = (Problem(self._subject, "Unwritable", f"{error}; what is marked is written later"),)
        if trouble != self.trouble:
            _log.warning("objects can't be written", objects=self._subject, reason=str(error), hint=error.hint)
        self.trouble = trouble
        if not self._held_seconds:
            longer = self._patience.first_retry_seconds * 2 ** min(self._failures, 20)
            self._failures += 1
            # Not at the same instant as others who wait for it.
            wait = min(longer, self._patience.last_retry_seconds) * random.uniform(0.5, 1.0)  # noqa: S311
            self._not_before = asyncio.get_running_loop().time() + max(wait, error.retry_after_seconds)

    @property
    def _held_seconds(self) -> float:
        return max(self._not_before - asyncio.get_running_loop().time(), 0.0)

    async def _next(self) -> ServiceKey:
        """The next service to look at, once there is one and it may be written."""
        loop = asyncio.get_running_loop()
        while True:
            wait: float | None = None
            if self._may_write():
                wait = self._held_seconds or None
                if not wait:
                    if (key := self._backlog.take(loop.time())) is not None:
                        return key
                    wait = self._backlog.wait_seconds(loop.time())
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._news.wait()
