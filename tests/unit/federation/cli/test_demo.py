"""`federation demo` hands over its options and exits with what the demo says."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from federation.cli.main import app
from federation.demo import command
from federation.demo.command import DemoOptions


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([], DemoOptions(keep=False, report=None, no_chaos=False)),
        (["--keep", "--no-chaos"], DemoOptions(keep=True, report=None, no_chaos=True)),
        (["--report", "demo.json"], DemoOptions(keep=False, report=Path("demo.json"), no_chaos=False)),
    ],
)
def test_options_reach_the_demo(arguments: list[str], options: DemoOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each option means itself, and the demo's verdict is the exit code."""
    seen = []

    def run_demo(given: DemoOptions) -> int:
        seen.append(given)
        return 7

    monkeypatch.setattr(command, "run_demo", run_demo)
    assert (CliRunner().invoke(app, ["demo", *arguments]).exit_code, seen) == (7, [options])
