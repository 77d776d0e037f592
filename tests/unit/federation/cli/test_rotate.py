"""`federation rotate` asks the controller for another CA or member key, and the authority for another key."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from controllers.trust_report import TrustReport
from federation.cli import member_key_progress, rotate, trust_progress
from federation.cli.main import app
from federation.membership.roster import open_roster
from support.admitted import Admitted, found_clusterset
from support.board_room import open_room
from support.membership_values import key
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


def test_the_member_key_that_signs_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it does; the directory and the time to wait are passed on."""
    waited = []

    def replaced(directory: Path, timeout: float) -> str:
        waited.append((directory, timeout))
        return "0123456789abcdef"

    monkeypatch.setattr(member_key_progress, "replaced_key", replaced)
    result = CliRunner().invoke(app, ["rotate", "member-key", "--dir", "clusters/us-east", "--timeout", "5"])
    assert (result.exit_code, result.stdout) == (0, "member key 0123456789abcdef signs\n")
    assert waited == [(Path("clusters/us-east"), 5.0)]


def test_the_authority_gets_another_key_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its beginning is printed; the key before is destroyed, and the roster leads from it to the new one."""
    room = open_room(monkeypatch, users=False)
    (tmp_path / "cluster.yaml").write_text(
        "{clusterset: acme, cluster: east, region: r, trustDomain: east.acme, exchange: {url: 'redis://127.0.0.1:1'}}"
    )
    store = found_clusterset("acme", [Admitted(tmp_path, "east", "east.acme", key("east"))])
    before = store.read().authority_key
    result = CliRunner().invoke(app, ["rotate", "authority", "--dir", str(tmp_path)])
    after = store.read().authority_key
    assert (result.exit_code, result.stdout) == (0, f"authority has the key {after.hex()[:16]}\n")
    blob = asyncio.run(room.board.read_roster())
    assert blob is not None
    assert open_roster(blob, "acme", before).authority_key == after != before
    assert len(list((tmp_path / "authority").glob("*.key"))) == 1
