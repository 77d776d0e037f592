"""Conditions of exports beyond the cases of tests/golden/mcs: what the source could not read."""

from __future__ import annotations

from controllers.mcs.export_status import Delivery, Publication, export_conditions
from federation.model.conditions import ConditionStatus
from federation.model.problems import Problem
from support.builders import ECHO

EXPORTED = Publication(Delivery.EXPORTED)


def test_an_export_that_can_not_be_read_is_not_valid() -> None:
    """It is there and says nothing that can be used: its conditions say what is wrong."""
    noted = [Problem("ServiceExport demo/echo", "WrongType", "must be a mapping", "spec.exportedLabels")]

    valid, ready, conflict = export_conditions(ECHO, None, EXPORTED, noted)

    assert (valid.status, valid.reason) == (ConditionStatus.FALSE, "InvalidServiceExport")
    assert valid.message == (
        "demo/echo can't be read: ServiceExport demo/echo spec.exportedLabels: must be a mapping;"
        " correct the ServiceExport"
    )
    assert (ready.status, ready.reason) == (ConditionStatus.FALSE, "Pending")
    assert (conflict.status, conflict.reason) == (ConditionStatus.FALSE, "NoConflicts")


def test_of_many_problems_a_few_are_told() -> None:
    """Each once, sorted, and how many more there are."""
    noted = [Problem("", "WrongType", f"fault {number}") for number in (3, 1, 5, 2, 1, 4)]

    valid, *_ = export_conditions(ECHO, None, EXPORTED, noted)

    assert valid.message == "demo/echo can't be read: fault 1; fault 2; fault 3; and 2 more; correct the ServiceExport"
