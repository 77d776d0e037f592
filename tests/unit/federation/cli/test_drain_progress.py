"""Waiting for a drain: told step by step, ended by the clock or by Ctrl-C, and never undone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import typer

from controllers.drain_report import DrainReport, GatewayStatus, TargetStatus
from federation.cli import drain_progress
from federation.cli.drain_progress import drain_words, followed
from federation.cli.owner import StillUnderWayError
from support.clock import START
from support.drain_reports import WHOLE, drain_report

HALF = drain_report(drain=TargetStatus(50, 0, START + timedelta(minutes=5)))
WAITING = drain_report(drain=TargetStatus(0, 0, START), acknowledged=("us-east",), waiting_for=("eu-west",))
DONE = drain_report(drain=TargetStatus(0, 0, START))


@pytest.fixture(autouse=True)
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock is a second later; sleeping takes none."""
    ticks = iter(range(10_000))
    monkeypatch.setattr(drain_progress.time, "monotonic", lambda: float(next(ticks)))
    monkeypatch.setattr(drain_progress.time, "sleep", lambda _: None)
    monkeypatch.setattr(drain_progress, "utc_now", lambda: START)


def answers(monkeypatch: pytest.MonkeyPatch, reports: Iterator[DrainReport]) -> None:
    """A controller that gives these reports, one after another."""
    monkeypatch.setattr(drain_progress, "ask", lambda *_: next(reports))


def test_every_step_is_told_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """However often it is asked; the report at the end is given back."""
    answers(monkeypatch, iter([HALF, HALF, WAITING, WAITING, DONE]))
    assert followed(Path(), "us-west", 60, quiet=False) == DONE
    assert capsys.readouterr().out.splitlines() == [
        "us-west takes 50 % of its calls (0 % at 00:05:00Z); acknowledged by 2 of 2",
        "us-west takes no calls of other clusters; acknowledged by 1 of 2; waiting for eu-west",
        "us-west takes no calls of other clusters; acknowledged by 2 of 2",
    ]


def test_after_the_time_it_names_who_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time counts from the last step on."""
    answers(monkeypatch, iter([*[HALF] * 200, *[WAITING] * 200]))
    with pytest.raises(StillUnderWayError, match=r"not done in time: .* waiting for eu-west") as caught:
        followed(Path(), "us-west", 5, quiet=True)
    assert (caught.value.exit_code, "it goes on" in caught.value.hint) == (1, True)


def test_ctrl_c_ends_the_waiting_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 130, and how it is undone."""

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(drain_progress.time, "sleep", interrupted)
    answers(monkeypatch, iter([WAITING]))
    with pytest.raises(typer.Exit) as caught:
        followed(Path(), "us-west", 5, quiet=False)
    assert (caught.value.exit_code, "federation undrain" in capsys.readouterr().out) == (130, True)


@pytest.mark.parametrize(
    ("report", "target", "words"),
    [
        (drain_report(dead=("north",)), "us-west", "dead, and not waited for: north"),
        (drain_report(silent=("north",)), "us-west", "not heard: north"),
        (drain_report(published=False), "us-west", "the exchange does not have it yet"),
        (
            drain_report(gateways=(GatewayStatus("192.0.2.1:15443", TargetStatus(0, 0)),)),
            "192.0.2.1",
            "192.0.2.1 takes no calls of other clusters",
        ),
        (drain_report(drain=WHOLE), "us-west", "us-west takes all calls"),
    ],
)
def test_what_matters_is_named(report: DrainReport, target: str, words: str) -> None:
    assert words in drain_words(report, target)
