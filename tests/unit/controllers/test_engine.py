"""The engine: marks become passes, bursts one pass, and a failing pass is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from controllers.engine import Engine
from support.exchange import until

LONG = 3600.0


@asynccontextmanager
async def running(engine: Engine) -> AsyncIterator[None]:
    """The engine runs until the end of the block."""
    task = asyncio.ensure_future(engine.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def turns(count: int = 20) -> None:
    """Let everything that is ready run."""
    for _ in range(count):
        await asyncio.sleep(0)


def failing(times: int, steps: list[int]) -> Callable[[], None]:
    """A step that raises so many times and then counts."""

    def step() -> None:
        steps.append(len(steps))
        if len(steps) <= times:
            raise RuntimeError("a bug")

    return step


async def test_no_pass_without_a_mark() -> None:
    """An engine that nobody marked does nothing."""
    engine = Engine(lambda: None)
    async with running(engine):
        await turns()
        assert engine.passes == 0


async def test_the_first_mark_is_answered_at_once() -> None:
    """After a quiet time, a pass does not wait for the hold-off."""
    engine = Engine(lambda: None, hold_off_seconds=LONG)
    async with running(engine):
        engine.mark()
        await turns()
        assert engine.passes == 1


async def test_marks_within_the_hold_off_wait() -> None:
    """A mark right after a pass is kept, and not answered before the hold-off is over."""
    engine = Engine(lambda: None, hold_off_seconds=LONG)
    async with running(engine):
        engine.mark()
        await turns()
        engine.mark()
        await turns()
        assert engine.passes == 1


async def test_a_burst_becomes_one_pass_more() -> None:
    """Marks that gather during the hold-off are answered together."""
    engine = Engine(lambda: None, hold_off_seconds=0.01)
    async with running(engine):
        engine.mark()
        await until(lambda: engine.passes == 1)
        for _ in range(10):
            engine.mark()
        await until(lambda: engine.passes == 2)
        await turns()
        assert engine.passes == 2


async def test_a_mark_made_by_a_pass_itself_is_kept() -> None:
    """What changes while a pass runs is looked at by another pass."""
    steps: list[int] = []

    def step() -> None:
        steps.append(1)
        if len(steps) == 1:
            engine.mark()

    engine = Engine(step, hold_off_seconds=0.0)
    async with running(engine):
        engine.mark()
        await until(lambda: engine.passes == 2)
        assert len(steps) == 2


async def test_a_pass_that_fails_is_logged_counted_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug ends no loop: the same pass is made again without a new mark."""
    monkeypatch.setattr("controllers.engine._RETRY_SECONDS", 0.0)
    engine = Engine(failing(2, []), hold_off_seconds=0.0)
    with capture_logs() as logs:
        async with running(engine):
            engine.mark()
            await until(lambda: engine.passes == 1)
    assert (engine.failures, [line["event"] for line in logs]) == (2, ["pass failed"] * 2)


async def test_failing_passes_do_not_spin() -> None:
    """Between a failure and the next try the loop rests, whatever is marked meanwhile."""
    steps: list[int] = []
    engine = Engine(failing(9, steps), hold_off_seconds=0.0)
    with capture_logs():
        async with running(engine):
            engine.mark()
            await until(lambda: engine.failures == 1)
            engine.mark()
            await turns()
            assert steps == [0]
