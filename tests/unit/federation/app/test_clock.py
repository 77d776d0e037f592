"""The clocks of a running process."""

from __future__ import annotations

from datetime import timedelta

from federation.app.clock import monotonic, utc_now


def test_the_time_is_aware_and_in_utc() -> None:
    """Whoever takes the time gets it in UTC, so that times can be compared and printed with a Z."""
    assert utc_now().utcoffset() == timedelta(0)


def test_the_monotonic_clock_does_not_go_back() -> None:
    """Two readings are in order."""
    assert monotonic() <= monotonic()
