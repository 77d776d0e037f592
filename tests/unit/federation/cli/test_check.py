"""`federation check`: what it examines, forms of output, exit codes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from controllers.checks import Check, Level
from federation.app import preflight
from federation.app.clock import utc_now
from federation.cli import check
from federation.cli.main import app
from federation.cli.owner import ControllerUnavailableError
from support.reports import status_report

WELL = [Check("clock", Level.OK, "is right"), Check("gateway", Level.NOTE, "does not run", "run it")]
ILL = [*WELL, Check("envoy", Level.FAILED, "is missing", "get it")]


class Made:
    """Stands in for both examinations, and notes what it was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *found: Check) -> None:
        self.found = found
        self.asked: tuple[object, ...] = ()
        monkeypatch.setattr(preflight, "Preflight", self.of)
        monkeypatch.setattr(preflight, "JoinPreflight", self.of)

    def of(self, *asked: object) -> Made:
        self.asked = asked
        return self

    async def checks(self) -> AsyncIterator[Check]:
        for one in self.found:
            yield one


def run(*arguments: str, color: bool = False, text: str = "") -> Result:
    return CliRunner().invoke(app, ["check", *arguments], color=color, input=text, catch_exceptions=False)


def test_only_a_failure_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """In whatever form it is told; notes are none."""
    codes = []
    for found in (WELL, ILL):
        Made(monkeypatch, *found)
        codes += [run("-o", form).exit_code for form in ("table", "wide", "json", "yaml")]
    assert codes == [0] * 4 + [1] * 4


def test_findings_are_lines_for_people_and_data_for_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Level, name, finding and fix; colours on a terminal only."""
    Made(monkeypatch, *ILL)
    shown = run().stdout.splitlines()
    assert shown[0] == f"ok      {'clock':19}  is right"
    assert shown[2] == f"failed  {'envoy':19}  is missing -> get it"
    assert ("\x1b" in run(color=True).stdout, "\x1b" in run().stdout) == (True, False)
    told = [json.loads(run("-o", "json").stdout), yaml.safe_load(run("-o", "yaml").stdout)]
    expected = [("clock", "ok"), ("gateway", "note"), ("envoy", "failed")]
    assert [[(one["name"], one["level"]) for one in form] for form in told] == [expected, expected]


@pytest.mark.parametrize(
    ("cause", "hangs"), [(None, False), (ConnectionRefusedError(), False), (TimeoutError("timed out"), True)]
)
def test_a_controller_is_asked_if_one_answers(
    monkeypatch: pytest.MonkeyPatch, cause: OSError | None, hangs: bool
) -> None:
    """For a second at the most; one that takes the question and is silent hangs."""
    report = status_report()

    def ask(directory: Path, path: str, answer: type, *, timeout_seconds: float) -> object:
        assert (directory, path, timeout_seconds) == (Path("here"), "/v1/status", 1.0)
        if cause is None:
            return report
        raise ControllerUnavailableError("none answers") from cause

    monkeypatch.setattr(check, "ask", ask)
    made = Made(monkeypatch, *WELL)
    assert run("--dir", "here").exit_code == 0
    assert made.asked == (Path("here"), report if cause is None else None, utc_now, hangs)


def test_a_token_is_what_a_join_is_checked_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As an option, in a file, or on standard input."""
    (tmp_path / "token").write_text("fgt1.file\n")
    made = Made(monkeypatch, *WELL)
    given = []
    for arguments in (("--token", "fgt1.word"), ("--token-file", str(tmp_path / "token")), ("--token-file", "-")):
        assert run(*arguments, text="fgt1.input\n").exit_code == 0
        given.append(made.asked[1])
    assert given == ["fgt1.word", "fgt1.file\n", "fgt1.input\n"]
