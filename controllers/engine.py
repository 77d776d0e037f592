"""Engine: the one loop. Events only mark; a pass looks at the newest of everything.

The first mark after a quiet time is answered at once, the next ones gather for the hold-off: a burst becomes one pass.
A pass that fails is logged, counted and tried again; what it left in place goes on serving.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

_log = structlog.get_logger(__name__)

HOLD_OFF_SECONDS = 0.02
_RETRY_SECONDS = 1.0


class Engine:
    """Runs ``step`` after marks, never twice within the hold-off."""

    def __init__(self, step: Callable[[], None], *, hold_off_seconds: float = HOLD_OFF_SECONDS) -> None:
        self._step = step
        self._hold_off = hold_off_seconds
        self._marked = asyncio.Event()
        self.passes = 0
        self.failures = 0

    def mark(self) -> None:
        """Something changed."""
        self._marked.set()

    async def run(self) -> None:
        """Step after marks until cancelled."""
        while True:
            await self._marked.wait()
            self._marked.clear()
            try:
                self._step()
            except Exception:  # noqa: BLE001 - the one supervisor: last good keeps serving, whatever the bug
                self.failures += 1
                _log.exception("pass failed")
                self._marked.set()
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            self.passes += 1
            await asyncio.sleep(self._hold_off)
