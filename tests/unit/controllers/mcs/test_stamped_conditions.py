"""Conditions with their times."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.mcs.stamped_conditions import MAX_MESSAGE, stamp_conditions
from federation.model.conditions import Condition, ConditionStatus
from support.builders import after

READY = Condition("Ready", ConditionStatus.TRUE, "Ready", "it is")
OLD = {"type": "Ready", "status": "True", "reason": "Other", "lastTransitionTime": "2020-01-01T00:00:00Z"}


def stamped(existing: object, condition: Condition = READY, generation: int | None = None) -> dict[str, Any]:
    (found,) = stamp_conditions([condition], existing, generation=generation, now=after(1))
    return dict(found)


@pytest.mark.parametrize(
    ("existing", "since"),
    [
        ([OLD], "2020-01-01T00:00:00Z"),
        ([{"type": "Valid"}, OLD], "2020-01-01T00:00:00Z"),
        ([{**OLD, "status": "False"}], "2026-01-01T00:00:01Z"),
        ([{**OLD, "lastTransitionTime": None}], "2026-01-01T00:00:01Z"),
        ([], "2026-01-01T00:00:01Z"),
        (None, "2026-01-01T00:00:01Z"),
        (["no condition"], "2026-01-01T00:00:01Z"),
    ],
)
def test_the_time_is_that_of_the_last_change_of_status(existing: object, since: str) -> None:
    """It is kept for another reason or message, and taken anew for another status or where none is known."""
    assert stamped(existing)["lastTransitionTime"] == since


def test_a_generation_is_told_where_there_is_one() -> None:
    """Which version of the object was judged."""
    assert stamped([], generation=4)["observedGeneration"] == 4
    assert "observedGeneration" not in stamped([])


def test_a_message_fits_the_schema() -> None:
    """However many clusters disagree."""
    long = Condition("Ready", ConditionStatus.TRUE, "Ready", "x" * 40_000)

    assert len(stamped([], long)["message"]) == MAX_MESSAGE
