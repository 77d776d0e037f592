"""`federation rotate ca` asks the controller for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from federation.cli import rotate
from federation.cli.main import app


def test_the_controller_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """One POST to the controller of the directory, and a word on where to watch."""
    asked = []

    def ask(directory: Path, path: str, answer: type, *, method: str) -> dict[str, object]:
        asked.append((directory, path, method))
        return {}

    monkeypatch.setattr(rotate, "ask", ask)
    result = CliRunner().invoke(app, ["rotate", "ca", "--dir", "clusters/us-east"])
    assert (result.exit_code, asked) == (0, [(Path("clusters/us-east"), "/v1/rotations/ca", "POST")])
    assert "federation trust show" in result.stdout
