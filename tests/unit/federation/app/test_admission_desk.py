"""The desk on a virtual clock: who is answered, when, and what no flood and no outage can do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from federation.app.admission_desk import AdmissionDesk
from federation.app.authority import Authority, Meeting
from federation.membership.authority_store import AuthorityStore
from federation.membership.requests import Request, sign_request
from federation.model.errors import ExchangeUnavailableError
from federation.model.names import ClusterId
from support.boards import FlakyBoard, MemoryUsers
from support.membership_values import EAST, NORTH, NOW, WEST, digest, join, key, leave, ledger_of, token_entry
from support.virtual_time import run_virtually


class Bench:
    """A desk for north's token, with members east and west; its authority's clock is the loop's."""

    def __init__(self, directory: Path) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()

        def clock() -> datetime:
            return NOW + timedelta(seconds=loop.time() - begin)

        self.store = AuthorityStore(directory / "authority")
        ledger = ledger_of(EAST, WEST).with_access(WEST, digest("w")).with_token(token_entry(NORTH))
        self.store.create(ledger, key("authority"))
        self.board = FlakyBoard(clock, loop.time)
        self.users = MemoryUsers(self.board)
        authority = Authority(self.store, self.board, self.users, Meeting("redis://exchange"), clock)
        self.desk = AdmissionDesk(authority, self.board, clock=clock, rng=random.Random(1))

    async def ask(self, request: Request, signer: str, voucher: str) -> None:
        await self.board.write_request(request.cluster, sign_request(request, key(signer), key(voucher)), 600)

    @property
    def members(self) -> list[ClusterId]:
        return [member.cluster for member in self.store.read().roster.members]


def answering(directory: Path, act: Callable[[Bench], Awaitable[None]]) -> Bench:
    """The bench after ``act`` was done to it while its desk was open."""

    async def main() -> Bench:
        bench = Bench(directory)
        running = asyncio.create_task(bench.desk.run())
        await asyncio.sleep(0.5)
        await act(bench)
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])
        return bench

    return run_virtually(main())


@pytest.mark.parametrize(("deaf", "seconds"), [(False, 0.2), (True, 6.0)])
def test_a_request_is_answered_when_it_comes(deaf: bool, seconds: float, tmp_path: Path) -> None:
    """At once by its notice; where that was lost, with the next look at everybody who may have asked."""

    async def act(bench: Bench) -> None:
        bench.board.deaf = deaf
        await bench.ask(join(NORTH), NORTH, "token")
        await asyncio.sleep(seconds)

    assert answering(tmp_path, act).members == [EAST, NORTH, WEST]


def test_whoever_leaves_has_time_to_hear_it(tmp_path: Path) -> None:
    """Out of the roster at once; its user of the exchange outlives a lost notice, and is gone within 10 s."""

    async def act(bench: Bench) -> None:
        await bench.ask(leave(WEST), WEST, WEST)
        await asyncio.sleep(0.2)
        assert (bench.members, WEST in bench.users.known) == ([EAST], True)
        await asyncio.sleep(10)

    assert sorted(answering(tmp_path, act).users.known) == [NORTH]


def test_an_outage_ends_nothing_and_everything_is_put_back(tmp_path: Path) -> None:
    """An exchange that was away for a minute and lost all of its data has roster, users and answers within 10 s."""

    async def act(bench: Bench) -> None:
        bench.board.up = False
        await asyncio.sleep(60)
        (problem,) = bench.desk.problems
        assert "switched off" in problem.message
        bench.board.forget()
        bench.users.known.clear()
        bench.board.up = True
        await bench.ask(join(NORTH, made_at=NOW + timedelta(seconds=60)), NORTH, "token")
        await asyncio.sleep(10)

    bench = answering(tmp_path, act)
    assert (bench.members, sorted(bench.users.known), bench.desk.problems) == ([EAST, NORTH, WEST], [NORTH, WEST], ())


def test_a_flood_of_names_is_bounded_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Thousands of invented names cost a few hundred reads in 5 s; who is expected is answered all the same."""

    async def act(bench: Bench) -> None:
        for number in range(50_000):
            bench.board._notify("requests", f"nobody-{number}")
        await bench.ask(join(NORTH), NORTH, "token")
        await asyncio.sleep(1)
        # The loop has other things to do than to hear all of them at once.
        assert bench.board._watchers[0][1].qsize() > 45_000
        await asyncio.sleep(5)

    bench = answering(tmp_path, act)
    assert (bench.members, bench.board.reads < 2 * 300) == ([EAST, NORTH, WEST], True)


@pytest.mark.parametrize("flooding", [False, True])
def test_a_request_that_cannot_be_read_harms_nobody_else(flooding: bool, tmp_path: Path) -> None:
    """A member that puts something into the place of its request that no read bears, and calls out its name as fast as
    it can, is looked at once a second, and everybody else is answered at once."""
    looks: list[ClusterId] = []

    async def act(bench: Bench) -> None:
        read = bench.board.read_request

        async def spoilt(cluster: ClusterId) -> bytes | None:
            if cluster == EAST:
                looks.append(cluster)
                raise ExchangeUnavailableError("wrong type")
            return await read(cluster)

        bench.board.read_request = spoilt  # type: ignore[method-assign]
        for _ in range(200 if flooding else 1):
            for _ in range(20):
                bench.board._notify("requests", EAST)
            await asyncio.sleep(0.05)
        await bench.ask(join(NORTH), NORTH, "token")
        await asyncio.sleep(0.2)
        assert bench.members == [EAST, NORTH, WEST]

    answering(tmp_path, act)
    # And once more with each look at everybody.
    assert 1 <= len(looks) <= (14 if flooding else 3)


def test_an_exchange_that_goes_away_is_asked_once_for_all(tmp_path: Path) -> None:
    """A queue of requests does not wait for one timeout each: after two the rest comes with the next look."""

    async def act(bench: Bench) -> None:
        bench.board.up = False
        for number in range(200):
            bench.board._notify("requests", f"nobody-{number}")
        await asyncio.sleep(0.2)

    assert answering(tmp_path, act).board.refused == 2


def test_a_ledger_that_is_damaged_is_told_and_ends_nothing(tmp_path: Path) -> None:
    """Nobody is admitted, the problem names the ledger, and all goes on when it is restored."""

    async def act(bench: Bench) -> None:
        path = bench.store.directory / "ledger.json"
        good = path.read_bytes()
        path.write_bytes(good[:-9])
        await bench.ask(join(NORTH), NORTH, "token")
        await asyncio.sleep(20)
        (problem,) = bench.desk.problems
        assert (problem.reason, "restore it" in problem.message) == ("LedgerCorrupt", True)
        path.write_bytes(good)
        await asyncio.sleep(10)

    bench = answering(tmp_path, act)
    assert (bench.members, bench.desk.problems) == ([EAST, NORTH, WEST], ())
