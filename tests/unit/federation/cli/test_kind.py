"""`federation kind` where there is nothing to run; what it does where there is, is in tests/feature/test_kind.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from federation.cli.main import app
from support.fake_kind import CONFIGS, FakeKind


@pytest.mark.parametrize("command", ["up", "status", "down"])
def test_outside_of_a_checkout_it_says_where_to_run_it(command: str, tmp_path: Path) -> None:
    """Nothing is guessed."""
    result = CliRunner().invoke(app, ["kind", command, "--configs", str(tmp_path)])
    assert "no topology.yaml" in str(result.exception)


@pytest.mark.parametrize("command", ["status", "down"])
def test_a_missing_kind_is_told(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by the commands that have no look at the host."""
    host = FakeKind(tmp_path)
    host.install(monkeypatch)
    host.remove("kind")
    result = CliRunner().invoke(app, ["kind", command, "--configs", str(CONFIGS)])
    assert "kind is not on PATH" in str(result.exception)


def test_nothing_private_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory of a run goes with it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    host = FakeKind(tmp_path / "fakes")
    host.install(monkeypatch)
    CliRunner().invoke(app, ["kind", "status", "--configs", str(CONFIGS)])
    assert list(tmp_path.glob("federation-kind-*")) == []
    assert host.asked("kind get clusters") != []
