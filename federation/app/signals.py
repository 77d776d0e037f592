"""Running a coroutine as a foreground process: SIGTERM and SIGINT cancel it, and that is a clean end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterator

from federation.model.errors import FederationError


async def run_until_signal(main: Coroutine[object, object, None]) -> None:
    """Await ``main`` until it ends or a SIGTERM or SIGINT asks for the end.

    Errors of ``main`` are raised as themselves, out of whatever task groups they came through; only several that are
    not all FederationErrors stay an exception group.
    """
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(main, name="main")
            waiting = group.create_task(stopped.wait(), name="signal")
            await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
            running.cancel()
            waiting.cancel()
        return
    except BaseExceptionGroup as errors:
        error = told_alone(errors)
        if error is None:
            raise
    # Outside of the handler, so that the error keeps its own cause and no group as its context.
    raise error


def told_alone(group: BaseExceptionGroup) -> BaseException | None:
    """The error that stands for the whole group: its only one, or the first of FederationErrors; else None."""
    errors = list(_leaves(group))
    if len(errors) == 1 or all(isinstance(error, FederationError) for error in errors):
        return errors[0]
    return None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
