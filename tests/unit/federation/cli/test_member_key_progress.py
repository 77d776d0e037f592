"""Waiting for another member key: until it signs, is refused, or nobody has answered."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from msgspec.structs import replace

from controllers.status import MembershipStatus
from federation.cli import member_key_progress
from federation.cli.member_key_progress import replaced_key
from federation.model.errors import FederationError
from support.reports import status_report

BEFORE = MembershipStatus(4, 2, "east", "aa", "old")


@pytest.fixture(autouse=True)
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock is a second later; sleeping takes none."""
    ticks = iter(range(10_000))
    monkeypatch.setattr(member_key_progress.time, "monotonic", lambda: float(next(ticks)))
    monkeypatch.setattr(member_key_progress.time, "sleep", lambda _: None)


def answers(monkeypatch: pytest.MonkeyPatch, memberships: Iterable[MembershipStatus | None]) -> list[str]:
    """A controller that says so, one after another; returns what it is asked for."""
    asked: list[str] = []
    left = iter(memberships)

    def ask(_: Path, path: str, __: object, *, method: str = "GET") -> object:
        asked.append(f"{method} {path}")
        return {} if method == "POST" else status_report(membership=next(left))

    monkeypatch.setattr(member_key_progress, "ask", ask)
    return asked


def test_the_new_key_is_returned_when_it_signs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is asked for once; who is waited for is told once, on standard error."""
    asked = answers(monkeypatch, [BEFORE, *[replace(BEFORE, rekeying=True)] * 5, replace(BEFORE, member_key="new")])
    assert replaced_key(Path(), 60) == "new"
    assert [line for line in asked if "POST" in line] == ["POST /v1/rotations/member-key"]
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "waiting for the controller of east, which has the authority\n")


def test_a_refusal_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old key stays in use."""
    answers(monkeypatch, [BEFORE, replace(BEFORE, rekey_refused="the clock is off")])
    with pytest.raises(FederationError, match="the member key is not replaced: the clock is off"):
        replaced_key(Path(), 60)


def test_after_the_time_it_says_who_did_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """And that it goes on."""
    answers(monkeypatch, [replace(BEFORE, rekeying=True)] * 100)
    with pytest.raises(FederationError, match=r"the controller of east, .* did not answer within 5 s") as caught:
        replaced_key(Path(), 5)
    assert "the rotation goes on" in caught.value.hint


def test_a_controller_that_knows_of_no_membership_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is of an older version."""
    answers(monkeypatch, [None])
    with pytest.raises(FederationError, match="does not tell of its membership"):
        replaced_key(Path(), 5)
