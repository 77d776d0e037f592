"""Whether a cluster is a member still: its disk, held against the exchange before it joins anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from federation.app import standing
from federation.app.member_keys import MemberKeys
from federation.app.refused import RefusedError
from federation.app.sites import load_cluster
from federation.membership.join_token import JoinToken
from federation.membership.roster import accept_roster, open_roster
from federation.membership.roster_file import RosterFile
from federation.model.errors import TrustError
from support.board_room import CLUSTERSET, EAST, WEST, Room, open_room


@pytest.fixture(params=[True, False], ids=["users", "no-users"])
def room(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Room:
    """With users in the exchange and without."""
    return open_room(monkeypatch, users=request.param)


async def members(room: Room, tmp_path: Path) -> bytes:
    """East and west; returns west's key."""
    await room.found(tmp_path / EAST)
    async with room.admitting(tmp_path / EAST):
        await room.join(tmp_path / WEST, await room.token(tmp_path / EAST))
    return (tmp_path / WEST / "member.key").read_bytes()


async def test_who_was_evicted_while_away_comes_back_with_a_new_key(room: Room, tmp_path: Path) -> None:
    """Its disk says that it is a member; the exchange's roster says otherwise."""
    old = await members(room, tmp_path)
    await room.evict(tmp_path / EAST)
    async with room.admitting(tmp_path / EAST):
        await room.join(tmp_path / WEST, await room.token(tmp_path / EAST))
    assert (tmp_path / WEST / "member.key").read_bytes() != old
    assert any("has been evicted since" in line for line in room.told)


async def test_who_knows_of_its_eviction_comes_back_with_a_new_key(room: Room, tmp_path: Path) -> None:
    """Its controller had put the roster without it on the disk."""
    old = await members(room, tmp_path)
    before = RosterFile(load_cluster(tmp_path / WEST).state_directory).load()
    await room.evict(tmp_path / EAST)
    blob = await room.board.read_roster()
    assert blob is not None
    assert before is not None
    standing.save_roster(load_cluster(tmp_path / WEST), accept_roster(blob, before))
    async with room.admitting(tmp_path / EAST):
        await room.join(tmp_path / WEST, await room.token(tmp_path / EAST))
    assert (tmp_path / WEST / "member.key").read_bytes() != old


async def test_who_was_evicted_and_has_only_the_old_token_stays_out(room: Room, tmp_path: Path) -> None:
    """The token was used; that he was a member is no reason to say that he is one."""
    await room.found(tmp_path / EAST)
    token = await room.token(tmp_path / EAST)
    async with room.admitting(tmp_path / EAST):
        await room.join(tmp_path / WEST, token)
        await room.evict(tmp_path / EAST)
        with pytest.raises(RefusedError) as caught:
            await room.join(tmp_path / WEST, token)
    assert caught.value.reason == ("TokenSpent" if room.users is not None else "TokenUsed")


async def test_an_old_roster_in_the_exchange_ends_no_membership(room: Room, tmp_path: Path) -> None:
    """Whoever has the exchange may show one from before the admission: it is not newer than ours."""
    await room.found(tmp_path / EAST)
    before = await room.board.read_roster()
    assert before is not None
    token = await room.token(tmp_path / EAST)
    async with room.admitting(tmp_path / EAST):
        await room.join(tmp_path / WEST, token)
    key = (tmp_path / WEST / "member.key").read_bytes()
    await room.board.publish_roster(before)
    await room.join(tmp_path / WEST, token)
    assert (tmp_path / WEST / "member.key").read_bytes() == key


async def test_the_next_key_that_a_crash_left_counts_too(room: Room, tmp_path: Path) -> None:
    """The roster names the key beside the present one: it is a member, and the controller puts it in its place."""
    await members(room, tmp_path)
    settings = load_cluster(tmp_path / WEST)
    token = await room.token(tmp_path / EAST, "north")
    path = settings.member_key_file
    path.replace(path.with_name(f"{path.name}.next"))
    assert MemberKeys(path).prepared is not None
    assert await standing.is_member(settings, _for_west(token), room.told.append) is True


async def test_a_damaged_roster_is_fetched_anew(room: Room, tmp_path: Path) -> None:
    """With the token of then: the key is still the one that was admitted."""
    await room.found(tmp_path / EAST)
    token = await room.token(tmp_path / EAST)
    async with room.admitting(tmp_path / EAST):
        await room.join(tmp_path / WEST, token)
    roster = RosterFile(load_cluster(tmp_path / WEST).state_directory)
    whole = roster.path.read_bytes()
    roster.path.write_bytes(b"torn")
    await room.join(tmp_path / WEST, token)
    assert roster.path.read_bytes() == whole


async def test_a_roster_that_others_could_write_is_not_passed_over(room: Room, tmp_path: Path) -> None:
    """It says whom to trust; the user decides."""
    await members(room, tmp_path)
    RosterFile(load_cluster(tmp_path / WEST).state_directory).path.chmod(0o666)
    token = await room.token(tmp_path / EAST, "north")
    with pytest.raises(TrustError, match="wider than 0600"):
        await standing.is_member(load_cluster(tmp_path / WEST), _for_west(token), room.told.append)


async def test_a_clusterset_that_was_founded_anew_is_joined_with_the_key_that_is_there(
    room: Room, tmp_path: Path
) -> None:
    """Its authority was lost: the roster that the disk knows is nobody's any more."""
    key = await members(room, tmp_path)
    room.board.forget()
    if room.users is not None:
        room.users.passwords.clear()
    await room.found(tmp_path / "anew")
    token = await room.token(tmp_path / "anew")
    async with room.admitting(tmp_path / "anew"):
        settings = await room.join(tmp_path / WEST, token)
    known = RosterFile(settings.state_directory).load()
    assert known is not None
    assert open_roster(known.blob, CLUSTERSET, token.authority_key).roster.member(WEST) is not None
    assert (tmp_path / WEST / "member.key").read_bytes() == key


def _for_west(token: JoinToken) -> JoinToken:
    """A token whose user is let in, for a cluster that is none any more."""
    return replace(token, cluster=WEST)
