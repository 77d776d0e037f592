"""Warnings that anybody may cause: so many a minute, and the rest counted."""

from __future__ import annotations

from datetime import timedelta

from structlog.testing import capture_logs

from federation.app.complaints import MAX_LINES, WINDOW, Complaints
from support.clock import ManualClock

SECOND = timedelta(seconds=1)


def test_only_so_many_are_written_and_the_rest_is_told_with_the_next() -> None:
    """A flood costs a few lines in a minute, and its size shows."""
    clock = ManualClock()
    complaints = Complaints(clock)
    with capture_logs() as lines:
        for number in range(1000):
            complaints.warn("request rejected", cluster=f"c{number}")
        clock.advance(WINDOW - SECOND)
        complaints.warn("request rejected", cluster="last")
        clock.advance(SECOND)
        complaints.warn("request refused", cluster="next")
        complaints.warn("request refused", cluster="and another")
    assert [line["cluster"] for line in lines[:MAX_LINES]] == [f"c{number}" for number in range(MAX_LINES)]
    assert [(line["cluster"], line.get("unwritten")) for line in lines[MAX_LINES:]] == [
        ("next", 1001 - MAX_LINES),
        ("and another", None),
    ]
