"""Running a coroutine as a foreground process: SIGTERM and SIGINT cancel it, and that is a clean end.

SIGTERM may be answered by a farewell first, while all goes on; SIGINT (Ctrl-C), or a second SIGTERM, cuts that short.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator

from federation.model.errors import FederationError


async def run_until_signal(
    main: Coroutine[object, object, None], farewell: Callable[[], Coroutine[object, object, None]] | None = None
) -> None:
    """Await ``main`` until it ends or a SIGTERM or SIGINT asks for the end; on SIGTERM the ``farewell`` comes first.

    Errors of ``main`` are raised as themselves, out of whatever task groups they came through; only several that are
    not all FederationErrors stay an exception group.
    """
    loop = asyncio.get_running_loop()
    stopped, hurried = asyncio.Event(), asyncio.Event()

    def terminate() -> None:
        (hurried if stopped.is_set() else stopped).set()

    def interrupt() -> None:
        stopped.set()
        hurried.set()

    loop.add_signal_handler(signal.SIGTERM, terminate)
    loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(main, name="main")
            waiting = group.create_task(stopped.wait(), name="signal")
            await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if farewell is not None and not running.done() and not hurried.is_set():
                leaving = group.create_task(farewell(), name="farewell")
                hurrying = group.create_task(hurried.wait(), name="hurry")
                await asyncio.wait({running, leaving, hurrying}, return_when=asyncio.FIRST_COMPLETED)
                leaving.cancel()
                hurrying.cancel()
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
