"""ManualClock: time that moves only when a test says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock:
    """A clock to be injected wherever the program takes one: call it, or ``now``, for the time."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now

    def now(self) -> datetime:
        """The time, aware, in UTC."""
        return self._now

    __call__ = now

    def advance(self, by: timedelta) -> datetime:
        """Move forward and return the new time."""
        if by < timedelta(0):
            raise ValueError("time does not go back")
        self._now += by
        return self._now

    def move_to(self, moment: datetime) -> datetime:
        """Move forward to a moment and return it."""
        return self.advance(moment - self._now)
