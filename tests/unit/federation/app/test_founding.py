"""Founding a clusterset: whole, or not at all, or finished by doing it again."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from federation.app import founding
from federation.app.admissions import opened_authority
from federation.membership.authority_store import AuthorityStore
from federation.membership.roster import open_roster, sign_roster
from federation.membership.roster_file import RosterFile
from federation.model.errors import ConfigError, ExchangeUnavailableError, TrustError
from support.board_room import CLUSTERSET, EAST, Room, files_of, open_room


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    return open_room(monkeypatch, users=True)


async def test_the_founder_is_the_first_member_and_has_the_authority(room: Room, tmp_path: Path) -> None:
    """In the ledger, on the board and on its disk; its user is made, and every secret is private."""
    settings = await room.found(tmp_path / "east")
    ledger = AuthorityStore(settings.authority_directory).read()
    blob = await room.board.read_roster()
    known = RosterFile(settings.state_directory).load()
    assert blob is not None
    assert known is not None
    assert open_roster(blob, CLUSTERSET, ledger.authority_key).roster == known.roster == ledger.roster
    assert ([member.cluster for member in known.roster.members], known.roster.seat) == ([EAST], EAST)
    assert room.users is not None
    assert list(room.users.passwords) == [EAST]
    wide = [path for path in (tmp_path / "east").rglob("*") if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 7]
    assert [path.name for path in wide] == ["cluster.yaml"]


async def test_done_again_it_changes_nothing(room: Room, tmp_path: Path) -> None:
    """Not the key, not the ledger, not the password."""
    await room.found(tmp_path / "east")
    before = files_of(tmp_path)
    await room.found(tmp_path / "east")
    assert files_of(tmp_path) == before


async def test_what_failed_before_the_ledger_leaves_nothing(room: Room, tmp_path: Path) -> None:
    """The exchange did not answer: nothing was founded, and the next try begins anew."""
    room.fail["server_version"] = 1
    with pytest.raises(ExchangeUnavailableError):
        await room.found(tmp_path / "east")
    assert list(tmp_path.rglob("*")) == []
    await room.found(tmp_path / "east")


async def test_what_failed_after_the_ledger_is_finished_by_doing_it_again(room: Room, tmp_path: Path) -> None:
    """The key that the ledger names stays, though the exchange went away before the roster was there."""
    room.fail["publish_roster"] = 1
    with pytest.raises(ExchangeUnavailableError):
        await room.found(tmp_path / "east")
    kept = files_of(tmp_path)
    assert {"east/member.key", "east/cluster.yaml", "east/authority/ledger.json"} <= kept.keys()
    await room.found(tmp_path / "east")
    assert await room.board.read_roster() is not None
    assert files_of(tmp_path) == kept


@pytest.mark.parametrize("damaged", [True, False])
async def test_a_crash_before_the_roster_is_on_disk_is_finished(room: Room, tmp_path: Path, damaged: bool) -> None:
    """The ledger alone is enough to go on; so is it where the roster was damaged later."""
    settings = await room.found(tmp_path / "east")
    path = RosterFile(settings.state_directory).path
    path.write_bytes(b"torn") if damaged else path.unlink()
    room.board.forget()
    await room.found(tmp_path / "east")
    assert RosterFile(settings.state_directory).load() is not None
    assert await room.board.read_roster() is not None


async def test_a_newer_roster_on_disk_stays(room: Room, tmp_path: Path) -> None:
    """An authority from a backup does not take its own cluster back behind what it has seen."""
    settings = await room.found(tmp_path / "east")
    with AuthorityStore(settings.authority_directory).transaction() as held:
        newer = replace(held.ledger.roster, serial=9)
        known = open_roster(sign_roster(newer, held.key), CLUSTERSET, held.ledger.authority_key)
    RosterFile(settings.state_directory).save(known)
    await room.found(tmp_path / "east")
    assert RosterFile(settings.state_directory).load() == known


async def test_the_name_of_a_clusterset_that_is_there_is_refused(room: Room, tmp_path: Path) -> None:
    """Another founder finds its roster in the exchange, and keeps nothing of what it has made."""
    await room.found(tmp_path / "east")
    with pytest.raises(TrustError, match="holds a clusterset demo already") as caught:
        await room.found(tmp_path / "other", "other")
    assert (caught.value.reason, (tmp_path / "other").exists()) == ("ClustersetTaken", False)


async def test_a_member_founds_none(room: Room, tmp_path: Path) -> None:
    """It has joined one already, and stays as it is."""
    await room.found(tmp_path / "east")
    token = await room.token(tmp_path / "east")
    async with room.admitting(tmp_path / "east"):
        await room.join(tmp_path / "west", token)
    before = files_of(tmp_path)
    with pytest.raises(TrustError, match="is a member of a clusterset already") as caught:
        await room.found(tmp_path / "west", "west")
    assert (caught.value.reason, files_of(tmp_path)) == ("AlreadyMember", before)


async def test_a_directory_that_has_another_authority_is_refused(room: Room, tmp_path: Path) -> None:
    """Whatever its cluster.yaml says since."""
    await room.found(tmp_path / "east")
    text = (tmp_path / "east" / "cluster.yaml").read_text()
    (tmp_path / "east" / "cluster.yaml").write_text(text.replace("east", "other"))
    with pytest.raises(TrustError, match="is a member of a clusterset already"):
        await room.found(tmp_path / "east", "other")
    with pytest.raises(ConfigError, match="cluster: is other, must be east"):
        await room.found(tmp_path / "east")


async def test_a_disk_that_refuses_the_roster_is_told(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the next step; the ledger stays."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(founding.RosterFile, "save", full)
        with pytest.raises(ConfigError, match="No space left on device") as caught:
            await room.found(tmp_path / "east")
    assert caught.value.hint == "then do the same again"
    settings = await room.found(tmp_path / "east")
    async with opened_authority(settings) as (authority, _):
        assert authority.ledger().roster.serial == 1
