"""Waiting for the life of a CA: told step by step, ended by the clock or by Ctrl-C, and never undone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from controllers.trust_report import AuthorityReport, RotationReport, TrustReport
from federation.cli import trust_progress
from federation.cli.trust_progress import StillUnderWayError, signing_of, wait_until
from support.clock import START
from support.trust_reports import DAY, PEER, SIGNING, own, trust_report

PREPARE = trust_report(rotation=RotationReport("prepare"))
WAITING = trust_report(rotation=RotationReport("acknowledge", ("eu-west",)))
DONE = trust_report()


@pytest.fixture(autouse=True)
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock is a second later; sleeping takes none."""
    ticks = iter(range(10_000))
    monkeypatch.setattr(trust_progress.time, "monotonic", lambda: float(next(ticks)))
    monkeypatch.setattr(trust_progress.time, "sleep", lambda _: None)


def answers(monkeypatch: pytest.MonkeyPatch, reports: Iterator[TrustReport]) -> None:
    """A controller that gives these reports, one after another."""
    monkeypatch.setattr(trust_progress, "ask", lambda *_: next(reports))


def is_done(report: TrustReport) -> bool:
    return report.rotation.step == "none"


def test_every_step_is_told_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """However often it is asked; the report at the end is given back."""
    answers(monkeypatch, iter([PREPARE, PREPARE, WAITING, WAITING, DONE]))
    assert wait_until(Path(), is_done, 60) == DONE
    assert capsys.readouterr().out.splitlines() == [
        "the next CA is being made",
        "the bundle with the next CA is published; waiting for eu-west to verify by it",
    ]


def test_after_the_time_it_names_who_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what is waited for, and that it goes on."""
    answers(monkeypatch, iter([PREPARE, *[WAITING] * 100]))
    with pytest.raises(StillUnderWayError, match=r"not done after 5 s: .* waiting for eu-west") as caught:
        wait_until(Path(), is_done, 5)
    assert (caught.value.exit_code, "it goes on" in caught.value.hint) == (1, True)


def test_ctrl_c_ends_the_waiting_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 130, as of every program that was interrupted, and a word that nothing was undone."""

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trust_progress.time, "sleep", interrupted)
    answers(monkeypatch, iter([WAITING]))
    with pytest.raises(typer.Exit) as caught:
        wait_until(Path(), is_done, 60)
    assert (caught.value.exit_code, "it goes on" in capsys.readouterr().out) == (130, True)


def test_the_ca_that_signs_is_the_first_that_may() -> None:
    """Tainted or not; where the CA is elsewhere, none of ours does."""
    tainted = AuthorityReport("cccccccccccc", "tainted", START - DAY, START + DAY)
    accepted = AuthorityReport("dddddddddddd", "accepted", START - DAY, START + DAY)
    found = [
        signing_of(trust_report(domains=(own(authorities=authorities), PEER)))
        for authorities in ((SIGNING, tainted), (tainted,), (accepted,), ())
    ]
    assert found == [SIGNING.id, tainted.id, "", ""]
