"""Joining with a token: refused without a trace, cut off anywhere and finished by doing it again."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from federation.app import joining, petition
from federation.app.admissions import opened_authority
from federation.app.clock import utc_now
from federation.app.refused import RefusedError
from federation.app.sites import load_cluster
from federation.exchange.connection import ExchangeAccess
from federation.exchange.credentials import Credentials, load_credentials
from federation.membership.join_token import JoinToken
from federation.membership.keys import load_signing_key, public_key
from federation.membership.roster_file import RosterFile
from federation.model.errors import ConfigError, ExchangeUnavailableError, TrustError
from support.board_room import EAST, WEST, Room, files_of, open_room


@pytest.fixture(params=[True, False], ids=["users", "no-users"])
def room(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Room:
    """With users in the exchange and without."""
    monkeypatch.setattr(petition, "_ASK_AGAIN_SECONDS", 0.1)
    monkeypatch.setattr(petition, "_RETRY_SECONDS", 0.01)
    return open_room(monkeypatch, users=request.param)


def later(token: JoinToken) -> JoinToken:
    """The token when its time is up."""
    return replace(token, expires_at=utc_now() - timedelta(seconds=1))


async def test_a_member_has_its_own_key_and_password(room: Room, tmp_path: Path) -> None:
    """The roster on its disk names the key; the token's password is good no longer."""
    await room.found(tmp_path / "east")
    token = await room.token(tmp_path / "east")
    async with room.admitting(tmp_path / "east"):
        settings = await room.join(tmp_path / "west", token)
    known = RosterFile(settings.state_directory).load()
    assert known is not None
    member = known.roster.member(WEST)
    assert member is not None
    assert member.public_key == public_key(load_signing_key(settings.member_key_file))
    if room.users is not None:
        own = load_credentials(tmp_path / "west" / "exchange.credentials")
        assert own.password != token.exchange_password
        assert room.users.passwords[WEST] == {hashlib.sha256(own.password.encode()).hexdigest()}


async def test_to_join_again_is_no_error_also_when_the_token_is_long_past(room: Room, tmp_path: Path) -> None:
    """With the same key; nothing changes."""
    await room.found(tmp_path / "east")
    token = await room.token(tmp_path / "east")
    async with room.admitting(tmp_path / "east"):
        await room.join(tmp_path / "west", token)
    before = files_of(tmp_path)
    await room.join(tmp_path / "west", token)
    await room.join(tmp_path / "west", later(token))
    assert (files_of(tmp_path), "already" in room.told[-1]) == (before, True)


async def test_an_exchange_that_is_away_does_not_end_a_membership(room: Room, tmp_path: Path) -> None:
    """To join again then says so, and believes the disk."""
    await room.found(tmp_path / "east")
    token = await room.token(tmp_path / "east")
    async with room.admitting(tmp_path / "east"):
        await room.join(tmp_path / "west", token)
    room.fail["all"] = -1
    await room.join(tmp_path / "west", token)
    assert ["could not be compared" in line for line in room.told[-2:]] == [True, False]


async def test_two_that_come_with_one_token(room: Room, tmp_path: Path) -> None:
    """One is admitted; the other is told that it was used, and keeps nothing."""
    await room.found(tmp_path / "east")
    token = await room.token(tmp_path / "east")
    async with room.admitting(tmp_path / "east"):
        results = await asyncio.gather(
            room.join(tmp_path / "a", token), room.join(tmp_path / "b", token), return_exceptions=True
        )
    refused = [result for result in results if isinstance(result, RefusedError)]
    assert [error.reason in {"TokenUsed", "TokenSpent"} for error in refused] == [True]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["east", "b" if results[1] not in refused else "a"]
    )


async def test_a_revoked_token_is_refused_without_a_trace(room: Room, tmp_path: Path) -> None:
    """By its exact reason where everybody can ask; where its user is gone, as spent."""
    await room.found(tmp_path / "east")
    token = await room.token(tmp_path / "east")
    async with opened_authority(load_cluster(tmp_path / "east")) as (authority, _):
        await authority.revoke(authority.ledger().tokens[0].id)
    async with room.admitting(tmp_path / "east"):
        with pytest.raises(RefusedError) as caught:
            await room.join(tmp_path / "west", token)
    assert caught.value.reason == ("TokenSpent" if room.users is not None else "TokenRevoked")
    assert not (tmp_path / "west").exists()


async def test_a_refused_join_leaves_what_was_there(room: Room, tmp_path: Path) -> None:
    """Settings and a CA of before, as they were."""
    await room.found(tmp_path / "east")
    token = replace(await room.token(tmp_path / "east"), exchange_ca="a CA")
    directory = tmp_path / "west"
    directory.mkdir()
    (directory / "exchange-ca.pem").write_text("another CA")
    before = files_of(directory)
    async with opened_authority(load_cluster(tmp_path / "east")) as (authority, _):
        await authority.revoke(authority.ledger().tokens[0].id)
    async with room.admitting(tmp_path / "east"):
        with pytest.raises(RefusedError):
            await room.join(directory, token)
    assert files_of(directory) == before


async def test_an_expired_token_is_told_with_both_times(room: Room, tmp_path: Path) -> None:
    """A clock that is wrong here would show; nothing is made."""
    await room.found(tmp_path / "east")
    token = later(await room.token(tmp_path / "east"))
    with pytest.raises(RefusedError, match=r"expired at .* UTC; by the clock here it is") as caught:
        await room.join(tmp_path / "west", token)
    assert (caught.value.reason, (tmp_path / "west").exists()) == ("TokenExpired", False)


async def test_who_was_not_answered_goes_on_with_the_same_key(room: Room, tmp_path: Path) -> None:
    """Nobody answers, so all stays; the authority grants it later, and the token's end does not matter any more."""
    await room.found(tmp_path / "east")
    token = await room.token(tmp_path / "east")
    with pytest.raises(ExchangeUnavailableError, match="nobody answered the request of west") as caught:
        await room.join(tmp_path / "west", token, seconds=0.05)
    assert "is the controller of east" in caught.value.hint
    key = (tmp_path / "west" / "member.key").read_bytes()
    async with opened_authority(load_cluster(tmp_path / "east")) as (authority, _):
        await authority.answer(WEST)
    settings = await room.join(tmp_path / "west", later(token))
    assert (tmp_path / "west" / "member.key").read_bytes() == key
    assert RosterFile(settings.state_directory).load() is not None


async def test_who_was_not_answered_and_comes_too_late_is_told_so(room: Room, tmp_path: Path) -> None:
    """The key of the first try stays: nobody knows what becomes of it."""
    await room.found(tmp_path / "east")
    token = await room.token(tmp_path / "east")
    with pytest.raises(ExchangeUnavailableError):
        await room.join(tmp_path / "west", token, seconds=0.05)
    before = files_of(tmp_path / "west")
    with pytest.raises(RefusedError, match="expired"):
        await room.join(tmp_path / "west", later(token))
    assert files_of(tmp_path / "west") == before


@pytest.mark.parametrize("operation", ["write_request", "watch_answer", "read_answer"])
async def test_an_exchange_that_goes_away_in_the_middle_is_waited_for(
    room: Room, tmp_path: Path, operation: str
) -> None:
    """The wait is told, and goes on when it is back."""
    await room.found(tmp_path / "east")
    token = await room.token(tmp_path / "east")
    room.fail[operation] = 2
    async with room.admitting(tmp_path / "east"):
        await room.join(tmp_path / "west", token)
    assert any("waiting for the exchange: exchange is away" in line for line in room.told) or operation == "read_answer"


async def test_a_disk_that_is_full_after_the_admission_takes_nothing_back(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The roster names the key: it must stay, and doing it again ends well."""
    await room.found(tmp_path / "east")
    token = await room.token(tmp_path / "east")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async with room.admitting(tmp_path / "east"):
        with monkeypatch.context() as patch:
            patch.setattr(RosterFile, "save", full)
            with pytest.raises(ConfigError, match="No space left on device"):
                await room.join(tmp_path / "west", token)
        key = (tmp_path / "west" / "member.key").read_bytes()
        await room.join(tmp_path / "west", token)
    assert (tmp_path / "west" / "member.key").read_bytes() == key


async def test_a_roster_of_another_authority_stops_it_before_anything_is_asked(room: Room, tmp_path: Path) -> None:
    """The token's key did not sign what is there: no request is made, and no file stays."""
    await room.found(tmp_path / "east")
    token = replace(await room.token(tmp_path / "east"), authority_key=bytes(32))
    with pytest.raises(TrustError, match="the roster in the exchange can't be believed"):
        await room.join(tmp_path / "west", token)
    assert (await room.board.read_request(WEST), (tmp_path / "west").exists()) == (None, False)


async def test_a_clock_that_is_off_is_told_by_the_authority(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How far, and what to do."""
    await room.found(tmp_path / "east")
    token = await room.token(tmp_path / "east")
    monkeypatch.setattr(joining, "utc_now", lambda: utc_now() + timedelta(seconds=100))
    async with room.admitting(tmp_path / "east"):
        with pytest.raises(RefusedError, match=r"the clock of west is (99|100) s ahead of the authority's") as caught:
            await room.join(tmp_path / "west", token)
    assert (caught.value.reason, (tmp_path / "west").exists()) == ("ClockSkew", False)


async def test_the_user_of_a_managed_exchange_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A token brings the user that was made by hand; its password stays, and one that is wrong is told as such."""
    room = open_room(monkeypatch, users=False)
    await room.found(tmp_path / "east")
    by_hand = Credentials("somebody", "by-hand")
    token = await room.token(tmp_path / "east", access=by_hand)
    seen: list[Credentials] = []
    check = room.check

    def watched(access: ExchangeAccess, operation: str) -> None:
        seen.extend([access.credentials()] if access.credentials is not None else [])
        check(access, operation)

    monkeypatch.setattr(room, "check", watched)
    async with room.admitting(tmp_path / "east"):
        await room.join(tmp_path / "west", token)
    assert (load_credentials(tmp_path / "west" / "exchange.credentials"), set(seen)) == (by_hand, {by_hand})
    closed = open_room(monkeypatch, users=True)
    with pytest.raises(TrustError, match="refused the user somebody") as caught:
        await closed.join(tmp_path / "other", token)
    assert (caught.value.reason, "by hand" in caught.value.hint) == ("NoExchangeUser", True)
    assert not (tmp_path / "other").exists()


async def test_a_password_of_another_user_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What lay there is of no use to this member; a join that is refused puts it back."""
    room = open_room(monkeypatch, users=True)
    await room.found(tmp_path / "east")
    file = tmp_path / "west" / "exchange.credentials"
    file.parent.mkdir()
    file.write_text("somebody:else\n")
    file.chmod(0o600)
    token = await room.token(tmp_path / "east")
    async with room.admitting(tmp_path / "east"):
        with pytest.raises(RefusedError):
            await room.join(tmp_path / "west", replace(token, exchange_password="wrong"))
        assert load_credentials(file) == Credentials("somebody", "else")
        await room.join(tmp_path / "west", token)
    assert load_credentials(file).username == token.exchange_user


async def test_an_earlier_wish_to_leave_is_forgotten(room: Room, tmp_path: Path) -> None:
    """It was of another membership: it must not end this one."""
    await room.found(tmp_path / "east")
    (tmp_path / "west" / "state").mkdir(parents=True)
    (tmp_path / "west" / "state" / "leaving").touch()
    token = await room.token(tmp_path / "east")
    async with room.admitting(tmp_path / "east"):
        await room.join(tmp_path / "west", token)
    assert "state/leaving" not in files_of(tmp_path / "west")


async def test_an_exchange_that_no_program_knows_is_no_crash(room: Room, tmp_path: Path) -> None:
    """A token of another version may name one."""
    await room.found(tmp_path / "east")
    token = replace(await room.token(tmp_path / "east"), exchange_url="carrier-pigeon://roof")
    with pytest.raises(TrustError, match="names an exchange that this program does not know"):
        await room.join(tmp_path / "west", token)


async def test_an_id_that_is_taken_is_refused(room: Room, tmp_path: Path) -> None:
    """Also for a token that was made before the other one came."""
    await room.found(tmp_path / "east")
    first, second = [await room.token(tmp_path / "east") for _ in range(2)]
    async with room.admitting(tmp_path / "east"):
        await room.join(tmp_path / "west", first)
        with pytest.raises(RefusedError) as caught:
            await room.join(tmp_path / "double", second)
    assert caught.value.reason == ("TokenSpent" if room.users is not None else "ClusterTaken")
    assert sorted(path.name for path in tmp_path.iterdir()) == [EAST, WEST]
