"""`federation rotate ca` asks the controller for it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from controllers.trust_report import TrustReport
from federation.cli import rotate, trust_progress
from federation.cli.main import app
from support.trust_reports import PEER, SIGNING, own, trust_report


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


def test_with_now_it_waits_until_another_ca_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks for haste, and prints the CA that signs and the new sequence."""
    fresh = msgspec.structs.replace(SIGNING, id="ffffffffffff")
    done = trust_report(domains=(own(authorities=(fresh,), sequence=8), PEER))
    reports = iter([trust_report(), trust_report(), done])
    asked = []

    def ask(_: Path, path: str, answer: type, *, method: str = "GET") -> TrustReport | dict[str, object]:
        asked.append(f"{method} {path}")
        return next(reports) if answer is TrustReport else {}

    monkeypatch.setattr(rotate, "ask", ask)
    monkeypatch.setattr(trust_progress, "ask", ask)
    result = CliRunner().invoke(app, ["rotate", "ca", "--now", "--dir", "clusters/us-east"])
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "CA ffffffffffff signs, bundle 8")
    assert asked == ["GET /v1/trust", "POST /v1/rotations/ca?now=true", "GET /v1/trust", "GET /v1/trust"]
