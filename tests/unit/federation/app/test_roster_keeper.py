"""The keeper of the roster on a virtual clock: what it believes, how soon, and what it leaves on the disk."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from federation.app.roster_keeper import RosterKeeper
from federation.membership.roster import KnownRoster, Roster, open_roster, sign_roster
from federation.membership.roster_file import RosterFile
from federation.model.errors import ConfigError, TrustError
from support.boards import FlakyBoard
from support.membership_values import CLUSTERSET, EAST, NORTH, NOW, WEST, key, ledger_of, public
from support.virtual_time import run_virtually

FIRST = ledger_of(EAST, WEST).roster
SECOND = replace(ledger_of(EAST, WEST, NORTH).roster, serial=2)


def signed(roster: Roster, by: str = "authority") -> bytes:
    return sign_roster(roster, key(by))


def known(roster: Roster) -> KnownRoster:
    return open_roster(signed(roster), CLUSTERSET, public("authority"))


class Bench:
    """A keeper of east's roster, running, with its board and what it told."""

    def __init__(self, state: Path, roster: Roster = FIRST) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()

        def clock() -> datetime:
            return NOW + timedelta(seconds=loop.time() - begin)

        self.file = RosterFile(state)
        self.file.save(known(roster))
        self.board = FlakyBoard(clock, loop.time)
        self.keeper = RosterKeeper(self.board, self.file, EAST, clock=clock, rng=random.Random(1))
        self.told: list[tuple[str, ...]] = []

    def note(self) -> None:
        self.told.append(tuple(peer.cluster for peer in self.keeper.peers))


def keeping(state: Path, act: Callable[[Bench], Awaitable[None]], roster: Roster = FIRST) -> Bench:
    """The bench after ``act`` was done to it while it ran."""

    async def main() -> Bench:
        bench = Bench(state, roster)
        running = asyncio.create_task(bench.keeper.run(bench.note))
        await act(bench)
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])
        return bench

    return run_virtually(main())


async def test_a_cluster_without_a_roster_is_told_how_to_join(tmp_path: Path) -> None:
    """Nothing on the disk is no membership: an error of the configuration, with the next step."""
    board = FlakyBoard(lambda: NOW, lambda: 0.0)
    with pytest.raises(ConfigError, match="no member of a clusterset yet") as caught:
        RosterKeeper(board, RosterFile(tmp_path), EAST, clock=lambda: NOW, rng=random.Random(1))
    assert "federation join" in caught.value.hint


async def test_a_damaged_roster_is_not_believed(tmp_path: Path) -> None:
    """One flipped bit on the disk ends the start: trust begins there, and is not guessed."""
    file = RosterFile(tmp_path)
    file.save(known(FIRST))
    content = bytearray(file.path.read_bytes())
    content[-20] ^= 1
    file.path.write_bytes(content)
    board = FlakyBoard(lambda: NOW, lambda: 0.0)
    with pytest.raises(TrustError, match="damaged"):
        RosterKeeper(board, file, EAST, clock=lambda: NOW, rng=random.Random(1))


@pytest.mark.parametrize(("deaf", "seconds"), [(False, 0.5), (True, 10.0)])
def test_a_newer_roster_is_known_saved_and_told(deaf: bool, seconds: float, tmp_path: Path) -> None:
    """By notice at once, and within 10 s where the notice was lost; a restart begins with it."""

    async def act(bench: Bench) -> None:
        bench.board.deaf = deaf
        await asyncio.sleep(1)
        await bench.board.publish_roster(signed(SECOND))
        await asyncio.sleep(seconds)

    bench = keeping(tmp_path, act)
    assert (bench.told, bench.file.load()) == ([(NORTH, WEST)], known(SECOND))


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (signed(SECOND, by="somebody"), "BadSignature"),
        (signed(replace(FIRST, serial=0)), "Replayed"),
        (signed(replace(SECOND, serial=1)), "Replayed"),
        (b"x", "Malformed"),
        (b"x" * (1024 * 1024 + 1), "Oversized"),
    ],
)
def test_what_the_authority_did_not_say_last_changes_nothing(blob: bytes, reason: str, tmp_path: Path) -> None:
    """Forged, older, torn and huge rosters are refused, counted once each and named; the last believed one stays."""

    async def act(bench: Bench) -> None:
        await asyncio.sleep(0.5)
        await bench.board.publish_roster(blob)
        await asyncio.sleep(30)

    bench = keeping(tmp_path, act)
    assert (bench.told, dict(bench.keeper.rejections), bench.file.load()) == ([], {reason: 1}, known(FIRST))
    assert [problem.reason for problem in bench.keeper.problems] == [reason]


def test_a_roster_that_was_refused_is_no_problem_once_it_is_gone(tmp_path: Path) -> None:
    """An exchange that lost its data takes the forged roster along: nothing changes, and both are counted."""

    async def act(bench: Bench) -> None:
        await bench.board.publish_roster(signed(SECOND, by="somebody"))
        await asyncio.sleep(5)
        bench.board.forget()
        await asyncio.sleep(5)

    bench = keeping(tmp_path, act)
    counted = {"BadSignature": 1, "Removed": 1}
    assert (bench.keeper.problems, bench.keeper.rejections, bench.keeper.known) == ((), counted, known(FIRST))


def test_it_starts_and_goes_on_without_the_exchange(tmp_path: Path) -> None:
    """A minute without an answer ends nothing; what was signed meanwhile is known 10 s after it is back."""

    async def act(bench: Bench) -> None:
        await bench.board.publish_roster(signed(SECOND))
        bench.board.up = False
        await asyncio.sleep(60)
        assert bench.told == []
        bench.board.up = True
        await asyncio.sleep(10)

    assert keeping(tmp_path, act).told == [(NORTH, WEST)]


def test_whoever_is_not_let_in_for_long_is_told_why_that_may_be(tmp_path: Path) -> None:
    """An evicted cluster has lost its user before it could read so: after 10 s it is told, and goes on with what it
    knows; one that is let in again is not told any more."""

    async def act(bench: Bench) -> None:
        bench.board.denied = True
        await asyncio.sleep(8)
        assert bench.keeper.problems == ()
        await asyncio.sleep(12)
        (problem,) = bench.keeper.problems
        assert (problem.subject, problem.reason) == ("membership", "ExchangeDenied")
        assert "it was evicted, or its password was replaced" in problem.message
        assert bench.keeper.peers != ()
        bench.board.denied = False
        await asyncio.sleep(5)

    bench = keeping(tmp_path, act)
    assert (bench.keeper.problems, bench.told) == ((), [])


def test_without_the_own_cluster_there_are_no_peers(tmp_path: Path) -> None:
    """Whoever was evicted follows nobody: that is told at once."""

    async def act(bench: Bench) -> None:
        await asyncio.sleep(0.5)
        await bench.board.publish_roster(signed(replace(ledger_of(WEST, NORTH).roster, serial=2)))
        await asyncio.sleep(0.5)

    bench = keeping(tmp_path, act)
    assert (bench.told, bench.keeper.own, bench.keeper.peers) == ([()], None, ())


def test_a_retiring_key_ends_by_the_clock_alone(tmp_path: Path) -> None:
    """When a peer's former key is past its time that is told, without any notice."""
    east, west = FIRST.members
    retiring = replace(west, retiring_key=public("former"), retiring_until=NOW + timedelta(seconds=7))

    async def act(bench: Bench) -> None:
        bench.board.up = False
        assert bench.keeper.peers[0].keys == (public(WEST), public("former"))
        await asyncio.sleep(7.5)

    bench = keeping(tmp_path, act, replace(FIRST, members=(east, retiring)))
    assert (bench.told, bench.keeper.peers[0].keys) == ([(WEST,)], (public(WEST),))


def test_a_flood_of_notices_is_read_ten_times_a_second(tmp_path: Path) -> None:
    """Who rings without end costs a bounded number of reads."""

    async def act(bench: Bench) -> None:
        for _ in range(1000):
            await bench.board.publish_roster(signed(FIRST))
            await asyncio.sleep(0.001)

    assert keeping(tmp_path, act).board.reads <= 12


def test_a_disk_that_is_full_forgets_nothing_in_memory(tmp_path: Path) -> None:
    """A roster that can't be saved counts all the same, is named as a problem, and is saved when that works again."""
    state = tmp_path / "state"

    async def act(bench: Bench) -> None:
        (state / ".roster.new").mkdir()
        await bench.board.publish_roster(signed(SECOND))
        await asyncio.sleep(5)
        assert (bench.told, [problem.reason for problem in bench.keeper.problems]) == ([(NORTH, WEST)], ["NotSaved"])
        (state / ".roster.new").rmdir()
        await asyncio.sleep(5)

    bench = keeping(state, act)
    assert (bench.keeper.problems, bench.file.load()) == ((), known(SECOND))
