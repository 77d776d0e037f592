"""Leaving in peace: out of the roster, then without what the membership had made; cut off anywhere, finished later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from federation.app import leaving, petition
from federation.app.admissions import opened_authority
from federation.app.refused import RefusedError
from federation.app.sites import load_cluster
from federation.membership.authority_store import AuthorityStore
from federation.model.errors import ExchangeDeniedError, ExchangeUnavailableError, TrustError
from support.board_room import EAST, WEST, Room, files_of, open_room


@pytest.fixture(params=[True, False], ids=["users", "no-users"])
def room(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Room:
    """With users in the exchange and without."""
    monkeypatch.setattr(petition, "_ASK_AGAIN_SECONDS", 0.1)
    monkeypatch.setattr(petition, "_RETRY_SECONDS", 0.01)
    return open_room(monkeypatch, users=request.param)


async def members(room: Room, tmp_path: Path) -> None:
    await room.found(tmp_path / EAST)
    async with room.admitting(tmp_path / EAST):
        await room.join(tmp_path / WEST, await room.token(tmp_path / EAST))


async def names(room: Room, tmp_path: Path) -> list[str]:
    async with opened_authority(load_cluster(tmp_path / EAST)) as (authority, _):
        return [member.cluster for member in authority.ledger().roster.members]


async def test_who_leaves_keeps_its_settings_alone(room: Room, tmp_path: Path) -> None:
    """Key, password and roster are destroyed, and the ledger names it no more."""
    await members(room, tmp_path)
    async with room.admitting(tmp_path / EAST):
        await room.leave(tmp_path / WEST)
    assert (await names(room, tmp_path), sorted(files_of(tmp_path / WEST))) == ([EAST], ["cluster.yaml"])
    with pytest.raises(TrustError, match="west is no member") as caught:
        await room.leave(tmp_path / WEST)
    assert caught.value.reason == "NotAMember"


async def test_who_is_not_answered_is_out_later_and_cleans_up_then(room: Room, tmp_path: Path) -> None:
    """The request stays; once it was granted the user of the exchange is gone, and that is how it is known."""
    await members(room, tmp_path)
    before = files_of(tmp_path / WEST)
    with pytest.raises(ExchangeUnavailableError, match="nobody answered the request of west") as caught:
        await room.leave(tmp_path / WEST, seconds=0.05)
    assert "do the same again" in caught.value.hint
    assert files_of(tmp_path / WEST) == {**before, "state/leaving": b""}
    async with opened_authority(load_cluster(tmp_path / EAST)) as (authority, _):
        await authority.answer(WEST)
        with pytest.raises(RefusedError):
            # Its user is gone with its farewell, or at once with this.
            await authority.evict(WEST)
    await room.leave(tmp_path / WEST)
    assert sorted(files_of(tmp_path / WEST)) == ["cluster.yaml"]


async def test_who_was_evicted_unasked_keeps_its_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """That the exchange refuses the user is no proof; the hint says what it may mean."""
    room = open_room(monkeypatch, users=True)
    await members(room, tmp_path)
    await room.evict(tmp_path / EAST)
    before = files_of(tmp_path / WEST)
    with pytest.raises(ExchangeDeniedError) as caught:
        await room.leave(tmp_path / WEST)
    assert ("with a new token it can join again" in caught.value.hint, files_of(tmp_path / WEST)) == (True, before)


@pytest.mark.parametrize("operation", ["write_request", "watch_answer"])
async def test_an_exchange_that_goes_away_in_the_middle_is_waited_for(
    room: Room, tmp_path: Path, operation: str
) -> None:
    """And told."""
    await members(room, tmp_path)
    room.fail[operation] = 2
    async with room.admitting(tmp_path / EAST):
        await room.leave(tmp_path / WEST)
    assert any("waiting for the exchange: exchange is away" in line for line in room.told)
    assert await names(room, tmp_path) == [EAST]


async def test_a_cut_while_it_forgets_is_finished(room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is out already; what is left of keys and roster goes the next time."""
    await members(room, tmp_path)

    def killed(_: object) -> None:
        raise KeyboardInterrupt

    async with room.admitting(tmp_path / EAST):
        with monkeypatch.context() as patch:
            patch.setattr(leaving, "forget", killed)
            with pytest.raises(KeyboardInterrupt):
                await room.leave(tmp_path / WEST)
    assert "member.key" in files_of(tmp_path / WEST)
    if room.users is not None:
        room.users.passwords.pop(WEST, None)
    await room.leave(tmp_path / WEST)
    assert sorted(files_of(tmp_path / WEST)) == ["cluster.yaml"]


async def test_a_refused_request_leaves_all_as_it_was(room: Room, tmp_path: Path) -> None:
    """Another cluster has come under this name since: this one's key says nothing any more, and is kept."""
    await members(room, tmp_path)
    with AuthorityStore(load_cluster(tmp_path / EAST).authority_directory).transaction() as held:
        known = held.ledger.roster.members
        fresh = [replace(m, public_key=bytes(32)) if m.cluster == WEST else m for m in known]
        held.commit(replace(held.ledger, roster=held.ledger.roster.with_members(fresh)))
    before = files_of(tmp_path / WEST)
    async with room.admitting(tmp_path / EAST):
        with pytest.raises(RefusedError, match="is not one of the present member") as caught:
            await room.leave(tmp_path / WEST)
    assert (caught.value.reason, files_of(tmp_path / WEST)) == ("StaleRequest", before)


async def test_the_authority_does_not_leave(room: Room, tmp_path: Path) -> None:
    """Told at once, whether its controller runs or not."""
    await room.found(tmp_path / EAST)
    with pytest.raises(RefusedError, match="east holds the authority") as caught:
        await room.leave(tmp_path / EAST)
    assert (caught.value.reason, "authority" in caught.value.hint) == ("HoldsTheAuthority", True)
