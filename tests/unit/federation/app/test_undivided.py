"""Work in a thread that its caller does not outlive, nor the other way round."""

from __future__ import annotations

import asyncio
import threading

import pytest

from federation.app.undivided import undivided


async def test_the_loop_goes_on_and_the_outcome_is_told() -> None:
    """A result or an error, while others are served."""
    go = threading.Event()
    working = asyncio.ensure_future(undivided(go.wait, 20))
    await asyncio.sleep(0)
    go.set()
    assert await working
    with pytest.raises(ZeroDivisionError):
        await undivided(divmod, 1, 0)


@pytest.mark.parametrize("fails", [False, True])
async def test_whoever_is_cancelled_ends_after_the_work(fails: bool) -> None:
    """What was begun is done by then, whatever comes of it."""
    begun, go, done = threading.Event(), threading.Event(), []

    def work() -> None:
        begun.set()
        go.wait(20)
        done.append("all of it")
        if fails:
            raise OSError("disk is full")

    working = asyncio.ensure_future(undivided(work))
    await asyncio.to_thread(begun.wait, 20)
    working.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert (working.done(), done) == (False, [])
    go.set()
    await asyncio.wait([working])
    assert (working.cancelled(), done) == (True, ["all of it"])
