"""The authority on a board and users in memory: what is carried out, what survives, and who waits for whom."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from federation.app.authority import Authority, Meeting
from federation.app.refused import RefusedError
from federation.exchange.credentials import Credentials
from federation.membership.admission import FAREWELL
from federation.membership.authority_store import AuthorityStore
from federation.membership.join_token import parse_token
from federation.membership.requests import Request, Wish, open_refusal, sign_request
from federation.membership.roster import KnownRoster, hand_over, open_roster, sign_roster
from federation.model.errors import ConfigError, ExchangeUnavailableError, TrustError
from federation.model.names import ClusterId
from support.boards import FlakyBoard, MemoryUsers
from support.clock import ManualClock
from support.membership_values import (
    CLUSTERSET,
    EAST,
    NORTH,
    NOW,
    WEST,
    digest,
    join,
    key,
    leave,
    ledger_of,
    public,
    rekey,
    token_entry,
)

TTL = timedelta(minutes=15)


class Bench:
    """An authority whose members are east, its seat, and west."""

    def __init__(self, directory: Path, *, makes_users: bool = True) -> None:
        self.store = AuthorityStore(directory)
        ledger = ledger_of(EAST, WEST).with_access(EAST, digest("e")).with_access(WEST, digest("w"))
        self.store.create(ledger.with_token(token_entry(NORTH)), key("authority"))
        self.clock = ManualClock(NOW)
        self.board = FlakyBoard(self.clock, lambda: 0.0)
        self.users = MemoryUsers(self.board)
        meeting = Meeting("rediss://exchange", "PEM")
        self.authority = Authority(self.store, self.board, self.users if makes_users else None, meeting, self.clock)

    async def known(self) -> KnownRoster:
        """What the board says to a member."""
        blob = await self.board.read_roster()
        assert blob is not None
        return open_roster(blob, CLUSTERSET, public("authority"))

    async def members(self) -> list[str]:
        return [member.cluster for member in (await self.known()).roster.members]

    async def ask(self, request: Request, signer: str, voucher: str) -> bytes:
        blob = sign_request(request, key(signer), key(voucher))
        await self.board.write_request(request.cluster, blob, 60)
        return blob

    async def refusal(self, cluster: ClusterId, request: bytes) -> str:
        """The reason that the answer to the request gives."""
        answer = await self.board.read_answer(cluster)
        assert answer is not None
        refusal = open_refusal(answer, CLUSTERSET, cluster, request, public("authority"))
        assert refusal is not None
        return refusal.reason


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "authority")


async def test_a_token_holds_what_a_cluster_needs(bench: Bench) -> None:
    """Where to meet, whom to believe, and a user of the exchange that exists as soon as the token does."""
    token = parse_token(await bench.authority.offer(ClusterId("south"), TTL))
    assert (token.clusterset, token.cluster, token.seat, token.expires_at) == (CLUSTERSET, "south", EAST, NOW + TTL)
    assert (token.exchange_url, token.exchange_ca, token.authority_key) == (
        "rediss://exchange",
        "PEM",
        public("authority"),
    )
    assert bench.users.known == {"south": frozenset({digest(token.exchange_password)})}


async def test_a_user_made_by_hand_is_taken_where_the_authority_makes_none(tmp_path: Path) -> None:
    """It travels in the token and stays; an authority that makes users would remove it, and says so first."""
    hand = Credentials("someone", "secret")
    token = parse_token(await Bench(tmp_path / "a", makes_users=False).authority.offer(ClusterId("south"), TTL, hand))
    assert (token.exchange_user, token.exchange_password, token.keep_password) == ("someone", "secret", True)
    with pytest.raises(ConfigError, match="makes the users of this exchange itself"):
        await Bench(tmp_path / "b").authority.offer(ClusterId("south"), TTL, hand)


async def test_a_revoked_token_has_no_user_and_admits_nobody(bench: Bench) -> None:
    """The user goes with the token, and the join is refused with the reason."""
    await bench.authority.reconcile()
    await bench.authority.revoke(token_entry(NORTH).id)
    request = await bench.ask(join(NORTH), NORTH, "token")
    assert (await bench.authority.answer(NORTH), NORTH in bench.users.known) == (None, False)
    assert await bench.refusal(NORTH, request) == "TokenRevoked"


async def test_a_join_is_granted_published_and_cleared(bench: Bench) -> None:
    """The roster names the cluster, its user has the password that it made, and the request is gone."""
    await bench.ask(replace(join(NORTH), access_digest=digest("made here")), NORTH, "token")
    assert await bench.authority.answer(NORTH) is Wish.JOIN
    assert await bench.members() == [EAST, NORTH, WEST]
    assert (bench.users.known[NORTH], await bench.board.read_request(NORTH)) == (
        frozenset({digest("made here")}),
        None,
    )


async def test_a_member_gets_another_key(bench: Bench) -> None:
    """With the former one still believed for a while."""
    await bench.ask(rekey(WEST, WEST, "fresh"), "fresh", WEST)
    assert await bench.authority.answer(WEST) is Wish.REKEY
    west = (await bench.known()).roster.member(WEST)
    assert west is not None
    assert (west.public_key, west.retiring_key) == (public("fresh"), public(WEST))


@pytest.mark.parametrize("makes_users", [True, False])
async def test_whoever_leaves_is_out_of_the_roster_before_it_is_removed(makes_users: bool, tmp_path: Path) -> None:
    """Its user and records stay for a farewell, so that the leaver reads that it has left, however often all is brought
    in step and through a restart; then they go."""
    bench = Bench(tmp_path / "authority", makes_users=makes_users)
    present = {EAST, WEST, NORTH} if makes_users else set()
    await bench.authority.reconcile()
    await bench.ask(leave(WEST), WEST, WEST)
    assert await bench.authority.answer(WEST) is Wish.LEAVE
    await bench.board.write_answer(WEST, b"what was said", 60)
    users = bench.users if makes_users else None
    restarted = Authority(AuthorityStore(bench.store.directory), bench.board, users, Meeting("x"), bench.clock)
    for _ in range(2):
        await restarted.reconcile()
        await restarted.part()
    assert (await bench.members(), set(bench.users.known)) == ([EAST], present)
    assert await bench.board.read_answer(WEST) == b"what was said"
    bench.clock.advance(FAREWELL)
    await restarted.reconcile()
    assert (set(bench.users.known), await bench.board.read_answer(WEST)) == (present - {WEST}, None)
    assert bench.authority.ledger().leaving == {}


async def test_an_eviction_cuts_a_farewell_short(bench: Bench) -> None:
    """Whoever has left and is hostile loses its user at once."""
    await bench.authority.reconcile()
    await bench.ask(leave(WEST), WEST, WEST)
    await bench.authority.answer(WEST)
    with pytest.raises(RefusedError, match="west is no member"):
        await bench.authority.evict(WEST)
    assert (sorted(bench.users.known), bench.authority.ledger().leaving) == ([EAST, NORTH], {})


async def test_a_request_that_nobody_signed_is_thrown_away(bench: Bench) -> None:
    """There is nobody to answer, and nothing changes."""
    await bench.board.write_request(WEST, sign_request(leave(WEST), key("x"), key("x")), 60)
    assert (await bench.authority.answer(WEST), await bench.board.read_request(WEST)) == (None, None)
    assert (bench.authority.ledger().roster.serial, await bench.board.read_answer(WEST)) == (1, None)


async def test_two_desks_on_one_ledger_admit_once(bench: Bench) -> None:
    """By mistake or by an operator's command at the same time: one of them decides, the other sees it decided."""
    other = Authority(AuthorityStore(bench.store.directory), bench.board, bench.users, Meeting("x"), bench.clock)
    await bench.ask(join(NORTH), NORTH, "token")
    await asyncio.gather(
        *(authority.answer(NORTH) for authority in (bench.authority, other) for _ in range(3)),
        other.evict(WEST),
        *(other.reconcile() for _ in range(3)),
    )
    ledger = bench.authority.ledger()
    assert (await bench.members(), ledger.roster.serial) == ([EAST, NORTH], 3)
    assert sorted(bench.users.known) == [EAST, NORTH]


async def test_what_redis_lost_is_put_back(bench: Bench) -> None:
    """Roster and users, those of pending tokens too; what is up already is not put up again."""
    await bench.authority.reconcile()
    users = dict(bench.users.known)
    bench.board.forget()
    bench.users.known = {ClusterId("stranger"): frozenset({digest("x")}), NORTH: frozenset(), EAST: frozenset({"old"})}
    async with bench.board.watch_roster() as notices:
        await bench.authority.reconcile()
        await bench.authority.reconcile()
        await anext(notices)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(notices)
    assert (await bench.members(), bench.users.known) == ([EAST, WEST], users)
    assert users == {EAST: {digest("e")}, WEST: {digest("w")}, NORTH: {digest("token")}}


async def test_a_member_whose_user_was_made_by_hand_keeps_it(tmp_path: Path) -> None:
    """An authority that is to make users from now on locks nobody out and removes no records: it says what to do."""
    bench = Bench(tmp_path / "authority")
    with bench.store.transaction() as held:
        held.commit(held.ledger.with_access(WEST, ""))
    bench.users.known = {WEST: frozenset({digest("by hand")}), ClusterId("stranger"): frozenset({digest("x")})}
    await bench.board.write_request(WEST, b"something of it", 60)
    (problem,) = await bench.authority.reconcile()
    assert (problem.subject, problem.reason) == ("exchange user of west", "MadeByHand")
    assert "remove authority/exchange.credentials" in problem.message
    assert bench.users.known == {EAST: {digest("e")}, WEST: {digest("by hand")}, NORTH: {digest("token")}}
    assert await bench.board.read_request(WEST) == b"something of it"


async def test_an_eviction_is_decided_without_the_exchange_and_carried_out_later(bench: Bench) -> None:
    """It can't be taken back by an exchange that is down; doing it again finishes what was cut off."""
    await bench.authority.reconcile()
    bench.board.up = False
    with pytest.raises(ExchangeUnavailableError):
        await bench.authority.evict(WEST)
    bench.board.up = True
    await bench.board.write_request(WEST, b"left over", 60)
    await bench.authority.reconcile()
    assert (await bench.members(), sorted(bench.users.known)) == ([EAST], [EAST, NORTH])
    await bench.board.write_request(WEST, b"left over", 60)
    with pytest.raises(RefusedError, match="west is no member"):
        await bench.authority.evict(WEST)
    assert await bench.board.read_request(WEST) is None


async def test_the_authoritys_key_is_replaced_and_members_follow(bench: Bench) -> None:
    """Whoever knew the former key alone believes the roster of the new one."""
    fresh = await bench.authority.rotate_key()
    assert ((await bench.known()).authority_key, bench.authority.ledger().authority_key) == (fresh, fresh)


@pytest.mark.parametrize("serial", [1, 9])
async def test_an_old_copy_of_the_ledger_admits_nobody(serial: int, bench: Bench) -> None:
    """What the same key has signed and the ledger does not know shows another copy: nothing is decided, nothing is
    overwritten, and no key is destroyed."""
    newer = sign_roster(replace(ledger_of(EAST).roster, serial=serial), key("authority"))
    await bench.board.publish_roster(newer)
    await bench.ask(join(NORTH), NORTH, "token")
    before = bench.authority.ledger(), sorted(bench.store.directory.iterdir())
    for act in (
        bench.authority.reconcile,
        lambda: bench.authority.answer(NORTH),
        lambda: bench.authority.offer(ClusterId("south"), TTL),
        lambda: bench.authority.revoke(token_entry(NORTH).id),
        lambda: bench.authority.evict(WEST),
        bench.authority.rotate_key,
        bench.authority.part,
    ):
        with pytest.raises(TrustError, match="does not know") as caught:
            await act()
        assert caught.value.reason == "AnotherAuthority"
    assert (bench.authority.ledger(), sorted(bench.store.directory.iterdir())) == before
    assert await bench.board.read_roster() == newer


async def test_an_authority_that_does_not_see_the_exchange_gives_nothing(bench: Bench) -> None:
    """It may be an old copy: it offers no token and replaces no key; what it takes away stays taken."""
    bench.board.up = False
    for act in (lambda: bench.authority.offer(ClusterId("south"), TTL), bench.authority.rotate_key):
        with pytest.raises(ExchangeUnavailableError):
            await act()
    with pytest.raises(ExchangeUnavailableError):
        await bench.authority.revoke(token_entry(NORTH).id)
    ledger = bench.authority.ledger()
    states = [token.state(NOW) for token in ledger.tokens]
    assert (states, ledger.authority_key) == (["Revoked"], public("authority"))


@pytest.mark.parametrize("blob", [b"damaged", sign_roster(replace(ledger_of(WEST).roster, serial=9), key("somebody"))])
async def test_a_roster_of_somebody_else_is_replaced(blob: bytes, bench: Bench) -> None:
    """Whoever may write to the exchange can't keep the true roster away."""
    await bench.board.publish_roster(blob)
    await bench.authority.reconcile()
    assert await bench.members() == [EAST, WEST]


async def test_whoever_stops_waiting_for_another_process_holds_nothing(bench: Bench) -> None:
    """A controller that ends while an operator's command has the ledger leaves no lock behind, and ends at once."""
    with bench.store.transaction():
        waiting = [asyncio.create_task(bench.authority.reconcile()) for _ in range(20)]
        for _ in range(5):
            # Until each of them waits.
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            # The threads that resolve names, for one, are still to be had.
            await asyncio.to_thread(int)
        for task in waiting:
            task.cancel()
        async with asyncio.timeout(5):
            await asyncio.wait(waiting)
        assert all(task.cancelled() for task in waiting)
    async with asyncio.timeout(20):
        await bench.authority.reconcile()
    assert await bench.members() == [EAST, WEST]


async def test_users_get_the_rules_of_this_version_once(bench: Bench) -> None:
    """The first look after a start makes every user anew, for an older version may have made it; later ones do not."""
    await bench.authority.reconcile()
    made = []

    async def make(cluster: ClusterId, digests: Sequence[str]) -> None:
        made.append(cluster)

    bench.users.set_user = make  # type: ignore[method-assign]
    await bench.authority.reconcile()
    started = Authority(bench.store, bench.board, bench.users, Meeting("rediss://exchange", "PEM"), bench.clock)
    await started.reconcile()
    await started.reconcile()
    assert made == [EAST, NORTH, WEST]


async def test_a_restored_ledger_goes_on_with_the_roster_in_the_exchange(bench: Bench) -> None:
    """Who joined since the backup stays a member and keeps its user, who was evicted since stays out, no token of the
    backup is good any more, and the next request is answered."""
    newer = ledger_of(EAST, NORTH).roster
    await bench.board.publish_roster(sign_roster(replace(newer, serial=9), key("authority")))
    await bench.users.set_user(NORTH, [digest("n")])
    with bench.store.transaction() as held:
        held.commit(held.ledger.with_token(token_entry(ClusterId("south"), "used since")))
    adoption = await bench.authority.adoption()
    roster = await bench.authority.adopt(adoption)
    await bench.authority.reconcile()
    assert (roster.serial, await bench.members()) == (10, [EAST, NORTH])
    assert {cluster: set(known) for cluster, known in bench.users.known.items()} == {
        EAST: {digest("e")},
        NORTH: {digest("n")},
    }
    south = ClusterId("south")
    request = await bench.ask(join(south, south, "used since"), south, "used since")
    assert (await bench.authority.answer(south), await bench.refusal(south, request)) == (None, "TokenRevoked")


async def test_what_is_adopted_is_what_was_looked_at(bench: Bench) -> None:
    """Another roster that comes in between is not taken over unseen."""
    await bench.board.publish_roster(sign_roster(replace(ledger_of(EAST).roster, serial=9), key("authority")))
    adoption = await bench.authority.adoption()
    await bench.board.publish_roster(sign_roster(replace(ledger_of(EAST, NORTH).roster, serial=9), key("authority")))
    with pytest.raises(TrustError, match="another roster by now"):
        await bench.authority.adopt(adoption)
    assert bench.authority.ledger().roster.serial == 1


async def test_there_may_be_nothing_to_adopt(bench: Bench) -> None:
    """Nothing is taken over where the exchange has no other roster, a foreign one, or one of a later key."""
    reasons = []
    for blob in (
        None,
        sign_roster(bench.authority.ledger().roster, key("authority")),
        sign_roster(replace(ledger_of(EAST).roster, serial=9), key("thief")),
        sign_roster(
            ledger_of(EAST).roster.with_handover(hand_over(CLUSTERSET, key("authority"), key("later"))), key("later")
        ),
    ):
        if blob is not None:
            await bench.board.publish_roster(blob)
        with pytest.raises(TrustError) as caught:
            await bench.authority.adoption()
        reasons.append(caught.value.reason)
    assert reasons == ["NothingToAdopt", "NothingToAdopt", "BadSignature", "AnotherAuthority"]
