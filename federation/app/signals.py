"""Running a coroutine as a foreground process: SIGTERM and SIGINT cancel it, and that is a clean end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine


async def run_until_signal(main: Coroutine[object, object, None]) -> None:
    """Await ``main`` until it ends or a SIGTERM or SIGINT asks for the end; errors of ``main`` are raised."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(main, name="main")
        waiting = group.create_task(stopped.wait(), name="signal")
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        running.cancel()
        waiting.cancel()
