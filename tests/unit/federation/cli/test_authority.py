"""`federation authority adopt`: what the operator is told."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from federation.app.clock import utc_now
from federation.cli.main import app
from federation.membership.authority_store import AuthorityStore
from federation.membership.roster import sign_roster
from federation.model.errors import ConfigError, ExchangeUnavailableError, TrustError
from federation.model.names import ClusterId
from support.admitted import Admitted, found_clusterset
from support.board_room import open_room
from support.membership_values import NORTH, key, public, roster_member, token_entry


def adopt(directory: Path, *options: str, answer: str = "") -> Result:
    words = ["authority", "adopt", "--dir", str(directory), *options]
    return CliRunner().invoke(app, words, input=answer, catch_exceptions=False)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A cluster whose exchange is not there."""
    (tmp_path / "cluster.yaml").write_text(
        "{clusterset: acme, cluster: us-east, region: us, trustDomain: us-east.acme,"
        f" exchange: {{url: 'unix://{tmp_path}/redis.sock'}}}}"
    )
    return tmp_path


def test_it_is_for_the_cluster_that_has_the_authority(site: Path) -> None:
    """Elsewhere the operator is told where to run it."""
    with pytest.raises(TrustError, match="no authority is kept in"):
        adopt(site)


def test_without_the_exchange_there_is_nothing_to_go_on_with(site: Path) -> None:
    """That the exchange does not answer is said as such, and the ledger stays as it was."""
    store = found_clusterset("acme", [Admitted(site, "us-east", "us-east.acme", key("us-east"))])
    before = store.read()
    with pytest.raises(ExchangeUnavailableError):
        adopt(site)
    assert store.read() == before


@pytest.fixture
def restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cluster whose authority is from a backup: since then north has come, west has gone, east has another key."""
    room = open_room(monkeypatch, users=False)
    (tmp_path / "cluster.yaml").write_text(
        "{clusterset: acme, cluster: east, region: r, trustDomain: east.acme, exchange: {url: 'redis://127.0.0.1:1'}}"
    )
    west = Admitted(tmp_path / "west", "west", "west.acme", key("west"))
    west.directory.mkdir()
    store = found_clusterset("acme", [Admitted(tmp_path, "east", "east.acme", key("east")), west])
    with store.transaction() as held:
        held.commit(held.ledger.with_token(token_entry(ClusterId("south"), created_at=utc_now())))
        (east, _) = held.ledger.roster.members
        newer = [replace(east, public_key=public("fresh")), replace(roster_member(NORTH), trust_domain="north.acme")]
        blob = sign_roster(held.ledger.roster.with_members(newer), held.key)
    asyncio.run(room.board.publish_roster(blob))
    return tmp_path


def state(directory: Path) -> list[str]:
    return [member.cluster for member in AuthorityStore(directory / "authority").read().roster.members]


def test_who_comes_and_goes_is_shown_before_anything_is_done(restored: Path) -> None:
    """Without a terminal and without --yes it is shown, refused, and nothing changes."""
    with pytest.raises(ConfigError, match="nobody can be asked") as caught:
        adopt(restored)
    assert (caught.value.exit_code, state(restored)) == (2, ["east", "west"])


@pytest.mark.parametrize(("options", "answer"), [(["--yes"], ""), ([], "y\n")])
def test_it_goes_on_when_told_so(
    options: list[str], answer: str, restored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By --yes, or by a person at a terminal."""
    monkeypatch.setattr("federation.cli.authority._is_asked", lambda: bool(answer))
    lines = adopt(restored, *options, answer=answer).stdout.splitlines()
    words = [re.sub(r", key .*|token \w+ ", "", line) for line in lines if "Go on" not in line]
    assert words == [
        "the exchange holds roster 2: 2 members",
        "comes    north, north.acme",
        "goes     west, west.acme",
        "changed  east, east.acme",
        "revoked  for south",
        "the authority goes on with roster 3: 2 members",
    ]
    assert state(restored) == ["east", "north"]


def test_a_no_changes_nothing(restored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever says no has the ledger as it was."""
    monkeypatch.setattr("federation.cli.authority._is_asked", lambda: True)
    assert (adopt(restored, answer="n\n").exit_code, state(restored)) == (1, ["east", "west"])
