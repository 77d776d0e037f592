"""Workers that bring services in order: what fails is tried again, and trouble makes everybody wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from controllers.kube.backlog import Backlog
from controllers.kube.client import KubeError
from controllers.kube.work_loop import WorkLoop
from federation.model.names import ServiceKey
from support.builders import ECHO
from support.exchange import until
from support.kubernetes_site import QUICK

WEB = ServiceKey("demo", "web")


class Work:
    """A loop whose clients are numbers, which does as it is told."""

    def __init__(self, *outcomes: bool | KubeError) -> None:
        self.outcomes = list(outcomes)
        self.brought: list[tuple[int, ServiceKey]] = []
        self.allowed = True
        self.opened = 0
        self.backlog = Backlog(QUICK.first_retry_seconds, QUICK.last_retry_seconds)
        self.loop: WorkLoop[int] = WorkLoop(
            self._open,
            self.backlog,
            self._bring,
            may_write=lambda: self.allowed,
            subject="objects",
            patience=QUICK,
        )

    @asynccontextmanager
    async def running(self, *keys: ServiceKey) -> AsyncIterator[None]:
        self.backlog.mark(keys)
        task = asyncio.get_running_loop().create_task(self.loop.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def until(self, condition: Callable[[], bool]) -> None:
        await until(condition)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[int]:
        self.opened += 1
        yield self.opened

    async def _bring(self, client: int, key: ServiceKey) -> bool:
        self.brought.append((client, key))
        outcome = self.outcomes.pop(0) if self.outcomes else True
        if isinstance(outcome, KubeError):
            raise outcome
        return outcome


async def test_every_service_that_is_marked_is_brought_in_order() -> None:
    """Once each; a mark wakes whoever waits."""
    work = Work()
    async with work.running(ECHO):
        await work.until(lambda: work.backlog.empty)
        work.backlog.mark([WEB])
        work.loop.wake()
        await work.until(lambda: len(work.brought) == 2 and work.backlog.empty)
    assert [key for _, key in work.brought] == [ECHO, WEB]


async def test_what_is_not_in_order_is_tried_again() -> None:
    """Until it is."""
    work = Work(False, False)
    async with work.running(ECHO):
        await work.until(lambda: work.backlog.empty)
    assert [key for _, key in work.brought] == [ECHO] * 3
    assert work.loop.trouble == ()


async def test_nothing_is_done_while_it_may_not_be() -> None:
    """Marks are kept for later."""
    work = Work()
    work.allowed = False
    async with work.running(ECHO):
        await work.until(lambda: work.opened == 4)
        before = list(work.brought)
        work.allowed = True
        work.loop.wake()
        await work.until(lambda: work.backlog.empty)
    assert (before, [key for _, key in work.brought]) == ([], [ECHO])


async def test_trouble_is_told_and_ends_with_another_client() -> None:
    """Credentials are read anew; what was told is over once something succeeds."""
    work = Work(KubeError("no answer"), False)
    told: list[str] = []
    async with work.running(ECHO):
        await work.until(lambda: bool(work.loop.trouble) or work.backlog.empty)
        told += [one.reason for one in work.loop.trouble]
        await work.until(lambda: work.backlog.empty)
    assert told == ["Unwritable"]
    assert work.loop.trouble == ()
    assert work.opened > 4


async def test_who_hurries_waits_no_longer() -> None:
    """However long the API server asked to be left alone."""
    work = Work(KubeError("too many", status=429, retry_after_seconds=3600))
    async with work.running(ECHO):
        await work.until(lambda: bool(work.loop.trouble))
        work.loop.hurry()
        told = work.loop.trouble
        work.backlog.mark([ECHO])
        await work.until(lambda: work.backlog.empty)
    assert told == ()
    assert len(work.brought) == 2
