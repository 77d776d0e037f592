"""Intervals of the exchange, and the back-off between tries. Pure: randomness is an argument."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """All in seconds; the defaults are what the failover goals were measured with."""

    hold_off: float = 0.02
    """Pause after a publication, in which changes gather; the first change after a quiet time goes at
    once."""
    beat: float = 1.0
    """Between renewals of the lease, and so the longest that a lost message stays unnoticed."""
    lease: float = 3.0
    """Without a beat for as long, a member is no longer fresh."""
    compaction: float = 5.0
    """Between updates of the snapshot while there are changes."""
    confirm: float = 30.0
    """Between notes on disk that what is saved is still what the member says, and between looks whether the exchange
    still holds our own snapshot as we wrote it."""
    retry: float = 0.05
    retry_max: float = 1.0


class Backoff:
    """Growing, jittered pauses between tries of something that fails."""

    def __init__(self, timing: Timing, rng: random.Random) -> None:
        self._timing = timing
        self._rng = rng
        self._pause = timing.retry

    def reset(self) -> None:
        self._pause = self._timing.retry

    def next(self) -> float:
        """Seconds to wait before the next try: between half and all of a pause that doubles up to its
        limit."""
        pause = self._pause
        self._pause = min(pause * 2, self._timing.retry_max)
        return pause * (0.5 + self._rng.random() / 2)
