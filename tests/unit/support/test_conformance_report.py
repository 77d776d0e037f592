"""What a run says of the conformance suite, and which specs it runs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from support.conformance import NotConformantError, Trial
from support.conformance_report import Outcomes, chosen, spec, told_conformance
from support.kube.plane import REAL, STAND_IN


def test_each_plane_has_its_line_with_what_passed_of_the_whole_suite() -> None:
    """Whatever failed is missing from the count; without specs nothing is said."""
    passed = [f"{STAND_IN} R1", f"{STAND_IN} R2", f"{STAND_IN} O4", f"{REAL} R1"]
    failed = [f"{STAND_IN} O5", f"{REAL} R2"]

    assert told_conformance([], []) == []
    assert told_conformance(passed, failed) == [
        "conformance: 2/14 required, 1/13 optional; on: stand-in",
        "conformance: 1/14 required, 0/13 optional; on: real API server",
    ]
    assert told_conformance([], failed[:1]) == ["conformance: 0/14 required, 0/13 optional; on: stand-in"]


def test_a_spec_is_a_test_that_tells_how_its_body_ended() -> None:
    """It has the body's name and words; one that is left out runs nowhere and is skipped with the reason."""
    recorded: list[tuple[str, object]] = []
    outcomes = Outcomes(STAND_IN, {"R1": None, "R2": NotConformantError("not within 20 s")})

    spec("R1")(body)(outcomes, lambda *told: recorded.append(told))
    with pytest.raises(NotConformantError, match="not within 20 s"):
        spec("R2")(body)(outcomes, lambda *told: recorded.append(told))
    with pytest.raises(pytest.skip.Exception, match="no pods"):
        spec("O9", skipped="no pods")(body)()

    assert (spec("R1")(body).__name__, spec("R1")(body).__doc__) == ("body", body.__doc__)
    assert recorded == [("mcs-conformance", f"{STAND_IN} R1"), ("mcs-conformance", f"{STAND_IN} R2")]


def test_only_what_was_chosen_is_run_and_only_where() -> None:
    """A test that is no spec, one that is skipped and one of the other plane are none."""
    items = [
        SimpleNamespace(function=spec(id_)(body), callspec=SimpleNamespace(params={"outcomes": plane}))
        for id_, plane in (("R1", STAND_IN), ("R2", REAL))
    ]
    others = [SimpleNamespace(function=body), SimpleNamespace(function=spec("O9", skipped="no pods")(body))]

    assert chosen([*items, *others, SimpleNamespace()], STAND_IN) == {"R1": body}


async def body(trial: Trial) -> None:
    """R1: nothing."""
