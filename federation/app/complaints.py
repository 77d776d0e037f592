"""Complaints: warnings that anybody may cause as often as they like, of which only so many a minute are written.

Beside the log, for whoever reads what others have put into the exchange. What is not written is counted, and told with
the next one that is.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

_log = structlog.get_logger(__name__)

MAX_LINES = 20
WINDOW = timedelta(minutes=1)


class Complaints:
    """At most ``MAX_LINES`` lines in each ``WINDOW``."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._begin = clock()
        self._written = 0
        self._unwritten = 0

    def warn(self, event: str, **fields: object) -> None:
        """Write a warning, or count it."""
        now = self._clock()
        if not self._begin <= now < self._begin + WINDOW:
            self._begin, self._written = now, 0
        if self._written >= MAX_LINES:
            self._unwritten += 1
            return
        self._written += 1
        if self._unwritten:
            fields["unwritten"] = self._unwritten
            self._unwritten = 0
        _log.warning(event, **fields)
