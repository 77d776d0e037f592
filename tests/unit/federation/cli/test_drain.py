"""`federation drain` and `federation undrain`: what is ordered, and what is printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from controllers.drain_report import DrainReport
from federation.cli import drain, drain_progress
from federation.cli.main import app
from federation.model.errors import ConfigError
from support.drain_reports import drain_report


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a controller was asked, which has done everything at once."""
    found: list[str] = []

    def ask(directory: Path, path: str, answer: type, *, method: str = "GET") -> DrainReport | dict[str, object]:
        found.append(f"{method} {path} of {directory}")
        return drain_report() if answer is DrainReport else {}

    monkeypatch.setattr(drain, "ask", ask)
    monkeypatch.setattr(drain_progress, "ask", ask)
    return found


@pytest.mark.parametrize(
    ("words", "order"),
    [
        (["drain", "us-west"], "POST /v1/drains?target=us-west&over=0s&force=false"),
        (
            ["drain", "[::1]:1", "--over", "5m", "--force"],
            "POST /v1/drains?target=%5B%3A%3A1%5D%3A1&over=5m&force=true",
        ),
        (["undrain", "us-west", "--over", "2m"], "DELETE /v1/drains?target=us-west&over=2m"),
    ],
)
def test_the_order_is_given_and_waited_for(asked: list[str], words: list[str], order: str) -> None:
    """Then it asks until all is done, and tells how far it is."""
    result = CliRunner().invoke(app, [*words, "--dir", "clusters/us-west"])
    assert result.exit_code == 0, result.output
    assert asked == [f"{order} of clusters/us-west", "GET /v1/drains of clusters/us-west"]
    assert "acknowledged by 2 of 2" in result.stdout


def test_without_waiting_it_asks_once(asked: list[str]) -> None:
    result = CliRunner().invoke(app, ["drain", "us-west", "--no-wait"])
    assert (result.exit_code, result.stdout, len(asked)) == (0, "", 1)


def test_data_alone_is_on_standard_output(asked: list[str]) -> None:
    """Progress is for people, and goes to standard error."""
    result = CliRunner().invoke(app, ["drain", "us-west", "-o", "json"])
    assert (json.loads(result.stdout)["cluster"], "acknowledged" in result.stderr) == ("us-west", True)
    assert len(asked) == 2


def test_a_time_that_is_none_is_told_at_once(asked: list[str]) -> None:
    """Nothing is ordered."""
    result = CliRunner().invoke(app, ["drain", "us-west", "--over", "soon"])
    assert (isinstance(result.exception, ConfigError), asked) == (True, [])
