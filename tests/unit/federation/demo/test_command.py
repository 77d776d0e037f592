"""run_demo: what is missing is said before anything is started."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from federation.demo.command import DemoOptions, run_demo


def test_a_report_without_a_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A report that could not be written is refused at once, not after the run."""
    assert run_demo(DemoOptions(report=tmp_path / "missing" / "report.json")) == 2
    assert "there is no directory" in capsys.readouterr().out


@pytest.mark.parametrize("variable", ["FEDERATION_ENVOY", "FEDERATION_REDIS_SERVER"])
def test_missing_programs(
    variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without Envoy or Redis the demo says which is missing and how to get it, exits with 2, and leaves nothing."""
    program = tmp_path / "envoy"
    program.touch(mode=0o755)
    monkeypatch.setenv("FEDERATION_ENVOY", str(program))
    monkeypatch.setenv(variable, "/nowhere/program")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    assert run_demo(DemoOptions()) == 2
    said = capsys.readouterr().out
    assert "/nowhere/program" in said
    assert "hint: point it at" in said
