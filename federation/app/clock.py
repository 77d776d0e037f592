"""The clocks of a running process; everything below takes them as arguments."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def utc_now() -> datetime:
    """The time, aware, in UTC."""
    return datetime.now(UTC)  # noqa: TID251 - the one place that reads the clock


monotonic = time.monotonic
"""Seconds that never jump."""


def awake_or_not() -> float:
    """Seconds that never jump, and go on while the machine sleeps where the system can tell (Linux)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
