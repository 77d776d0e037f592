"""The table of the conformance suite's specs, and the line that a test run ends with. A pytest plugin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from support.conformance import Body
from support.kube.plane import REAL, STAND_IN

REQUIRED, OPTIONAL = 14, 13
"""How many specs of each kind the suite has."""
PROPERTY = "mcs-conformance"
_ON = {STAND_IN: "stand-in", REAL: "real API server"}


@dataclass(frozen=True, slots=True)
class Spec:
    """One spec of the suite: ``R`` and ``O`` with a number, as docs/conformance.md counts them."""

    id: str
    body: Body


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How the specs ended on one plane."""

    plane: str
    errors: Mapping[str, BaseException | None]

    def of(self, spec: Spec, record: Callable[[str, object], None]) -> None:
        """Pass or fail as the spec did."""
        record(PROPERTY, f"{self.plane} {spec.id}")
        error = self.errors[spec.id]
        if error is not None:
            raise error


Test = Callable[..., None]


def spec(id_: str, *, skipped: str = "") -> Callable[[Body], Test]:
    """A spec as a test: the body runs beside all others before the first of the tests, which then tells its outcome.

    One that is ``skipped``, for a reason, is not run at all.
    """

    def decorated(body: Body) -> Test:
        told = Spec(id_, body)

        def ran(outcomes: Outcomes, record_property: Callable[[str, object], None]) -> None:
            outcomes.of(told, record_property)

        def left_out() -> None:
            pytest.skip(skipped)

        test = left_out if skipped else ran
        # Not functools.wraps: pytest would take the arguments of what is wrapped.
        test.__name__, test.__qualname__, test.__doc__ = body.__name__, body.__qualname__, body.__doc__  # type: ignore[attr-defined]
        if not skipped:
            ran.spec = told  # type: ignore[attr-defined]
        return test

    return decorated


def chosen(items: Iterable[Any], plane: str) -> dict[str, Body]:
    """The bodies of the specs that are among these tests of pytest's, for one plane."""
    found: dict[str, Body] = {}
    for item in items:
        one = getattr(getattr(item, "function", None), "spec", None)
        if one is not None and item.callspec.params.get("outcomes") == plane:
            found[one.id] = one.body
    return found


def told_conformance(passed: Sequence[str], others: Sequence[str]) -> list[str]:
    """One line for each plane that specs ran on, from ``PLANE ID`` of those that passed and of those that did not."""
    lines = []
    for plane, name in _ON.items():
        if any(one.startswith(f"{plane} ") for one in (*passed, *others)):
            ids = [one.removeprefix(f"{plane} ") for one in passed if one.startswith(f"{plane} ")]
            required, optional = (sum(one.startswith(kind) for one in ids) for kind in "RO")
            lines.append(f"conformance: {required}/{REQUIRED} required, {optional}/{OPTIONAL} optional; on: {name}")
    return lines


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how much of the suite holds, on which API servers."""
    ended = {
        outcome: [
            str(value)
            for report in terminalreporter.stats.get(outcome, ())
            for name, value in report.user_properties
            if name == PROPERTY
        ]
        for outcome in ("passed", "failed", "skipped")
    }
    for line in told_conformance(ended["passed"], ended["failed"] + ended["skipped"]):
        terminalreporter.write_line(line)
