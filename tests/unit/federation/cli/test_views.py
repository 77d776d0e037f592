"""`federation status` and `federation services`: forms of output and exit codes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
import yaml
from typer.testing import CliRunner

from controllers.status import BackendStatus, ServiceStatus, StatusReport
from federation.cli import views
from federation.cli.main import app
from support.reports import status_report

REPORT = status_report()
SERVICES = (ServiceStatus("demo", "echo", "h", "Headless", "", ("80/TCP",), (BackendStatus("us-east", 1, 0),), ""),)


def invoke(
    monkeypatch: pytest.MonkeyPatch, answer: object, *arguments: str, color: bool = False, no_color: str = ""
) -> tuple[int, str]:
    """Exit code and standard output, with a controller that answers so; ``color``: as on a terminal."""
    monkeypatch.setattr(views, "ask", lambda directory, path, of: answer)
    result = CliRunner(env={"NO_COLOR": no_color}).invoke(app, arguments, color=color, catch_exceptions=False)
    return result.exit_code, result.stdout


@pytest.mark.parametrize(("ready", "code"), [(True, 0), (False, 1)])
def test_the_exit_code_says_whether_it_is_ready(ready: bool, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script needs no output to know; programs get the report in either case."""
    report = msgspec.structs.replace(REPORT, ready=ready)
    assert [invoke(monkeypatch, report, "status", "-o", form)[0] for form in ("table", "json")] == [code, code]


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
@pytest.mark.parametrize(("command", "answer"), [("status", REPORT), ("services", SERVICES)])
def test_programs_get_what_the_controller_said(
    command: str, answer: object, form: str, read: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JSON and YAML are the answer itself, whole."""
    assert callable(read)
    _, out = invoke(monkeypatch, answer, command, "-o", form)
    assert read(out) == json.loads(msgspec.json.encode(answer))


def test_services_are_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line for each service, below its headers."""
    code, out = invoke(monkeypatch, SERVICES, "services")
    assert (code, out.splitlines()) == (
        0,
        [
            "NAMESPACE   NAME   TYPE       PORTS    BACKENDS (READY)   CONFLICT",
            "demo        echo   Headless   80/TCP   us-east(1)         no",
        ],
    )


@pytest.mark.parametrize(("color", "no_color", "coloured"), [(True, "", True), (True, "1", False), (False, "", False)])
def test_colours_are_for_terminals_that_want_them(
    color: bool, no_color: str, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Piped output has none, and NO_COLOR is honoured."""
    _, out = invoke(monkeypatch, REPORT, "status", color=color, no_color=no_color)
    assert ("\x1b[" in out) is coloured


def test_the_directory_and_the_path_reach_the_controller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command asks its own question, of the cluster that was named."""
    asked: list[tuple[Path, str]] = []

    def ask(directory: Path, path: str, of: type) -> Sequence[object] | StatusReport:
        asked.append((directory, path))
        return REPORT if path.endswith("status") else ()

    monkeypatch.setattr(views, "ask", ask)
    for command in ("status", "services"):
        CliRunner().invoke(app, [command, "-d", "clusters/eu"], catch_exceptions=False)
    assert asked == [(Path("clusters/eu"), "/v1/status"), (Path("clusters/eu"), "/v1/services")]
