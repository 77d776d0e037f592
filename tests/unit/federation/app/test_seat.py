"""The seat on an exchange and a board in memory: peers, changes of the own key, and the loss of the place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from federation.app.authority import Authority, Meeting
from federation.app.clock import monotonic, utc_now
from federation.app.member_keys import MemberKeys
from federation.app.seat import Seat
from federation.exchange.disk import ReplicaDisk
from federation.exchange.memory import MemoryExchange
from federation.membership.authority_store import AuthorityStore
from federation.membership.keys import load_signing_key, public_key, save_signing_key
from federation.membership.ledger import Ledger
from federation.membership.roster import open_roster, sign_roster
from federation.membership.roster_file import RosterFile
from federation.model.configuration import ClusterSettings
from federation.model.errors import ConfigError, TrustError
from support.boards import FlakyBoard
from support.control import settings as control_settings
from support.exchange import by_key, export, until
from support.membership_values import CLUSTERSET, EAST, NORTH, WEST, key, ledger_of, public

SPEAKING = "exchange"
"""The task that speaks as a member."""


def tasks() -> set[str]:
    """The names of all that run."""
    return {task.get_name() for task in asyncio.all_tasks()}


class Bench:
    """West's seat, east's authority, and what west's controller was told."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.settings: ClusterSettings = replace(
            control_settings(directory), clusterset=CLUSTERSET, cluster=WEST, trust_domain="west.example"
        )
        self.exchange = MemoryExchange(monotonic)
        self.board = FlakyBoard(utc_now, monotonic, self.exchange)
        self.store = AuthorityStore(directory / "authority")
        self.authority = Authority(self.store, self.board, None, Meeting("redis://exchange"), utc_now)
        self.told: list[tuple[str, ...]] = []
        self.leads = True
        self.saved = asyncio.Event()
        self.saved.set()
        ledger = ledger_of(EAST, WEST, NORTH)
        self.store.create(ledger, key("authority"))
        save_signing_key(self.settings.member_key_file, key(WEST))
        self.save(ledger)

    def save(self, ledger: Ledger) -> None:
        """Give west the roster of this ledger."""
        blob = sign_roster(ledger.roster, key("authority"))
        RosterFile(self.settings.state_directory).save(open_roster(blob, CLUSTERSET, public("authority")))

    def seat(self) -> Seat:
        disk = ReplicaDisk(self.directory / "replicas")

        async def saved() -> None:
            await self.saved.wait()

        return Seat(
            self.settings, self.exchange, self.board, disk, lambda cluster, keys: None, lambda: self.leads, saved
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Seat]:
        seat = self.seat()
        task = asyncio.create_task(
            seat.run(lambda members: self.told.append(tuple(member.cluster for member in members)))
        )
        try:
            seat.session.publish(by_key(export("echo", "west")))
            yield seat
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.wait([task])

    @property
    def key_on_disk(self) -> bytes:
        return public_key(load_signing_key(self.settings.member_key_file))

    async def grant(self) -> None:
        """Answer west's request as soon as it is there."""
        async with asyncio.timeout(20):
            while await self.authority.answer(WEST) is None:
                await asyncio.sleep(0.01)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_a_member_that_comes_is_followed(bench: Bench) -> None:
    """Session and controller hear of it together."""
    async with bench.running() as seat:
        with bench.store.transaction() as held:
            roster = held.ledger.roster
            held.commit(replace(held.ledger, roster=roster.with_members(roster.members[:1] + roster.members[2:])))
        await bench.authority.reconcile()
        await until(lambda: bench.told == [("east",)])
        assert list(seat.session.snapshot().members) == [EAST]


async def test_whoever_is_evicted_stops_speaking_for_good(bench: Bench) -> None:
    """Peers are withdrawn at once, the status says so, and a later roster with the cluster in it changes nothing."""
    async with bench.running() as seat:
        await until(lambda: seat.session.settled)
        assert SPEAKING in tasks()
        before = bench.store.read()
        await bench.authority.evict(WEST)
        await until(lambda: bench.told == [()])
        assert (seat.peers, dict(seat.session.snapshot().members), seat.status().lost) == ((), {}, True)
        assert [problem.reason for problem in seat.problems] == ["NotAMember"]
        again = replace(before, roster=replace(before.roster, serial=9))
        await bench.board.publish_roster(sign_roster(again.roster, key("authority")))
        await until(lambda: seat.status().serial == 9)
        assert (seat.peers, seat.status().lost) == ((), True)
        assert (SPEAKING in tasks(), await bench.exchange.read_snapshot(WEST)) == (False, None)
    bench.save(replace(before, roster=replace(ledger_of(EAST).roster, serial=10)))
    with pytest.raises(TrustError, match="has left clusterset"):
        bench.seat()


async def test_another_key_in_the_roster_ends_the_membership_too(bench: Bench) -> None:
    """Whoever was admitted anew under this id, or has stolen the key, speaks now: this controller does not."""
    async with bench.running() as seat:
        east, north, west = ledger_of(EAST, NORTH, WEST).roster.members
        other = replace(ledger_of().roster, serial=5, members=(east, north, replace(west, public_key=public("other"))))
        await bench.board.publish_roster(sign_roster(other, key("authority")))
        await until(lambda: bench.told == [()])
        assert [problem.reason for problem in seat.problems] == ["WrongKey"]


async def test_a_standby_leaves_the_key_to_the_process_that_leads(bench: Bench) -> None:
    """That one may have changed it, which is no loss of the place; asked for itself, it says why not."""
    bench.leads = False
    async with bench.running() as seat:
        east, north, west = ledger_of(EAST, NORTH, WEST).roster.members
        other = replace(ledger_of().roster, serial=5, members=(east, north, replace(west, public_key=public("other"))))
        await bench.board.publish_roster(sign_roster(other, key("authority")))
        await until(lambda: seat.status().serial == 5)
        seat.ask_for_new_key()
        await until(lambda: not seat.status().rekeying)

        assert (seat.problems, seat.status().lost) == ((), False)
        assert seat.status().rekey_refused == "this controller does not lead its cluster"
        assert (seat.session.published, MemberKeys(bench.settings.member_key_file).prepared) == (None, None)


async def test_whoever_comes_to_lead_sees_that_the_key_is_another(bench: Bench) -> None:
    """Which it had left alone as a standby. That is a doubt, and no end of the membership."""
    bench.leads = False
    async with bench.running() as seat:
        east, north, west = ledger_of(EAST, NORTH, WEST).roster.members
        other = replace(ledger_of().roster, serial=5, members=(east, north, replace(west, public_key=public("other"))))
        await bench.board.publish_roster(sign_roster(other, key("authority")))
        await until(lambda: seat.status().serial == 5)
        before = seat.lost
        bench.leads = True
        seat.look_again()

        assert (before, seat.lost, seat.in_doubt) == (False, True, True)


async def test_whoever_has_lost_its_place_asks_for_no_key(bench: Bench) -> None:
    """Not even where a later roster names the key that it had prepared: it is refused once, and that is the end."""
    prepared = MemberKeys(bench.settings.member_key_file).prepare()
    east, north, west = ledger_of(EAST, NORTH, WEST).roster.members
    again = (east, north, replace(west, public_key=public_key(prepared)))
    async with bench.running() as seat:
        await bench.board.publish_roster(sign_roster(replace(ledger_of(EAST).roster, serial=5), key("authority")))
        await until(lambda: seat.status().lost)
        await bench.board.publish_roster(
            sign_roster(replace(ledger_of(EAST).roster, serial=6, members=again), key("authority"))
        )
        await until(lambda: seat.status().serial == 6)
        seat.ask_for_new_key()
        await until(lambda: not seat.status().rekeying)
        assert "has left its clusterset" in seat.status().rekey_refused


async def test_the_own_key_is_replaced(bench: Bench) -> None:
    """The authority grants it, everything is published with it, and the former key is destroyed."""
    async with bench.running() as seat:
        await until(lambda: seat.session.settled)
        seat.ask_for_new_key()
        await bench.grant()
        await until(lambda: not seat.status().rekeying)
        own = seat.roster.own
        assert own is not None
        assert (bench.key_on_disk, own.retiring_key, seat.problems) == (own.public_key, public(WEST), ())
        await until(lambda: seat.session.settled)
    assert (bench.key_on_disk == public(WEST), MemberKeys(bench.settings.member_key_file).prepared) == (False, None)


async def test_nobody_is_asked_for_a_key_that_is_not_saved(bench: Bench) -> None:
    """It would be the cluster's, and go with one disk."""
    bench.saved.clear()
    async with bench.running() as seat:
        seat.ask_for_new_key()
        await until(lambda: MemberKeys(bench.settings.member_key_file).prepared is not None)
        await asyncio.sleep(0.05)
        asked = await bench.authority.answer(WEST)
        bench.saved.set()
        await bench.grant()
        await until(lambda: not seat.status().rekeying)

    assert asked is None


async def test_an_authority_that_is_away_is_waited_for(bench: Bench) -> None:
    """Without authority and exchange the present key goes on; both back, the change goes on by itself."""
    async with bench.running() as seat:
        bench.board.up = False
        seat.ask_for_new_key()
        await until(lambda: bench.board.refused > 0)
        assert (seat.status().rekeying, bench.key_on_disk) == (True, public(WEST))
        bench.board.up = True
        await bench.grant()
        await until(lambda: not seat.status().rekeying)
        assert bench.key_on_disk != public(WEST)


async def test_a_refused_key_is_told_and_the_present_one_stays(bench: Bench) -> None:
    """A key that was a member's before is given up; the next time another one is made."""
    with bench.store.transaction() as held:
        fresh = MemberKeys(bench.settings.member_key_file).prepare()
        held.commit(held.ledger.with_spent(public_key(fresh)))
    async with bench.running() as seat:
        answering = asyncio.create_task(bench.grant())
        await until(lambda: seat.status().rekey_refused != "")
        await until(lambda: not seat.status().rekeying)
        assert ("was a member's before" in seat.status().rekey_refused, bench.key_on_disk) == (True, public(WEST))
        seat.ask_for_new_key()
        await answering
        await until(lambda: not seat.status().rekeying)
        assert (seat.status().rekey_refused, bench.key_on_disk == public(WEST)) == ("", False)


@pytest.mark.parametrize("granted", [False, True])
async def test_a_change_that_a_restart_interrupted_goes_on(granted: bool, bench: Bench) -> None:
    """Also where the authority has granted it and the roster on the disk does not know."""
    async with bench.running() as seat:
        bench.board.deaf = True
        seat.ask_for_new_key()
        await until((bench.directory / "member.key.next").exists)
    bench.board.deaf = False
    if granted:
        await bench.grant()
    bench.save(ledger_of(EAST, WEST, NORTH))
    async with bench.running() as seat:
        if not granted:
            await bench.grant()
        await until(lambda: bench.key_on_disk != public(WEST) and not seat.status().rekeying)
        assert seat.problems == ()


@pytest.mark.parametrize(
    ("clusterset", "trust_domain", "words"),
    [
        (CLUSTERSET, "x.example", "trustDomain: is x.example, the cluster was admitted with west.example"),
        ("other", "west.example", "clusterset: is other, the cluster was admitted with demo"),
    ],
)
async def test_settings_that_differ_from_the_membership_are_refused(
    clusterset: str, trust_domain: str, words: str, bench: Bench
) -> None:
    """Nobody would believe what is said under another name: that is told at the start."""
    bench.settings = replace(bench.settings, clusterset=clusterset, trust_domain=trust_domain)
    with pytest.raises(ConfigError) as caught:
        bench.seat()
    assert caught.value.violations == (words,)
