"""Rejections: exact counts, few lines."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from federation.exchange.base import Rejected
from federation.exchange.rejections import Rejections
from federation.model.names import ClusterId, RecordKey
from federation.model.wire import Reason

EAST, WEST = ClusterId("east"), ClusterId("west")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def rejected(cluster: ClusterId = EAST, reason: Reason = Reason.MALFORMED, key: str = "k") -> Rejected:
    return Rejected(cluster, reason, f"{key} is odd", RecordKey(key))


@pytest.fixture
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    with capture_logs() as captured:
        yield captured


def test_a_flood_is_counted_and_is_no_flood_of_lines(logs: list[MutableMapping[str, Any]]) -> None:
    """One line for a member and reason, whatever the records; after a minute one more, with how many there were."""
    clock = Clock()
    rejections = Rejections(clock)
    for number in range(500):
        clock.now += 0.1
        rejections.count([rejected(key=f"k{number}")])
    assert [line["error"] for line in logs] == ["k0 is odd"]
    clock.now += 60
    rejections.count([rejected(key="late"), rejected(key="later")])
    assert [(line["error"], line.get("unsaid")) for line in logs] == [("k0 is odd", None), ("late is odd", 499)]
    assert rejections.counts == {(EAST, "Malformed"): 502}
    assert (len(rejections.recent), rejections.recent[-1].record_key) == (100, "later")


def test_members_and_reasons_do_not_hide_each_other(logs: list[MutableMapping[str, Any]]) -> None:
    """Each member and each reason has a line of its own."""
    rejections = Rejections(Clock())
    rejections.count([rejected(), rejected(WEST), rejected(reason=Reason.REPLAYED), rejected()])
    told = [(line["peer"], str(line["reason"])) for line in logs]
    assert told == [("east", "Malformed"), ("west", "Malformed"), ("east", "Replayed")]


def test_former_members_are_forgotten(logs: list[MutableMapping[str, Any]]) -> None:
    """With their counts and lines: who comes back starts anew."""
    rejections = Rejections(Clock())
    rejections.count([rejected(), rejected(WEST)])
    rejections.forget({EAST})
    assert rejections.counts == {(WEST, "Malformed"): 1}
    assert [one.cluster for one in rejections.recent] == [WEST]
    rejections.count([rejected()])
    assert [line["peer"] for line in logs] == ["east", "west", "east"]
