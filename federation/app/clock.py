"""The clocks of a running process; everything below takes them as arguments."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def utc_now() -> datetime:
    """The time, aware, in UTC."""
    return datetime.now(UTC)  # noqa: TID251 - the one place that reads the clock


monotonic = time.monotonic
"""Seconds that never jump."""
