"""Numbers for a collector."""

from __future__ import annotations

from gateway.xds.status import XdsCounters


def test_counters_start_at_nothing_and_are_apart() -> None:
    """Two servers in one process do not share a number."""
    one, other = XdsCounters(), XdsCounters()
    one.nacks["type"] += 1

    assert (one.nacks["type"], other.nacks["type"], other.denied_secrets) == (1, 0, 0)
