"""One request to the authority: made again until it is granted or refused, on a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from federation.app.petition import Finding, Petition
from federation.app.refused import RefusedError
from federation.membership.requests import Refusal, open_request, sign_refusal, sign_request
from federation.model.errors import ExchangeDeniedError, WireError
from support.boards import FlakyBoard
from support.membership_values import CLUSTERSET, EAST, NOW, WEST, key, leave, public
from support.virtual_time import run_virtually


class Bench:
    """West wants something that a look shows once ``granted`` is set."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        self.clock = lambda: NOW + timedelta(seconds=loop.time() - begin)
        self.board = FlakyBoard(self.clock, loop.time)
        self.granted: str | None = None
        self.broken = False
        self.made: list[bytes] = []
        self.told: list[str] = []
        self.petition = Petition(
            self.board, CLUSTERSET, WEST, EAST, self.make, self.look, self.told.append, keep_seconds=600.0
        )

    def make(self) -> bytes:
        self.made.append(sign_request(leave(WEST, made_at=self.clock()), key(WEST), key(WEST)))
        return self.made[-1]

    async def look(self) -> Finding[str]:
        if self.broken:
            raise WireError("Malformed", "roster is unreadable")
        return Finding(public("authority"), self.granted)

    async def refuse(self, request: bytes, signer: str = "authority") -> None:
        answer = sign_refusal(Refusal("StaleRequest", "too old"), CLUSTERSET, WEST, request, key(signer))
        await self.board.write_answer(WEST, answer, 600)


def asking(act: Callable[[Bench], Awaitable[None]]) -> tuple[Bench, str | BaseException]:
    """The bench after ``act``, and what became of the petition."""

    async def main() -> tuple[Bench, str | BaseException]:
        bench = Bench()
        outcome = asyncio.create_task(bench.petition.outcome())
        await asyncio.sleep(0.1)
        await act(bench)
        async with asyncio.timeout(60):
            await asyncio.wait([outcome])
        return bench, outcome.exception() or outcome.result()

    return run_virtually(main())


def test_what_is_granted_is_seen_with_the_notice_or_with_the_next_request() -> None:
    """The roster's notice wakes whoever asks; where it was lost, the request is made again with the present time."""

    async def at_once(bench: Bench) -> None:
        bench.granted = "it"
        await bench.board.publish_roster(b"")
        await asyncio.sleep(0.1)

    async def lost(bench: Bench) -> None:
        bench.granted = "it"
        await asyncio.sleep(5)

    assert [(len(bench.made), outcome, bench.told) for bench, outcome in map(asking, (at_once, lost))] == [
        (1, "it", []),
        (2, "it", ["still waiting for the controller of east"]),
    ]
    bench, _ = asking(lost)
    times = [open_request(made, CLUSTERSET, WEST).made_at for made in bench.made]
    assert times == [NOW, NOW + timedelta(seconds=5)]


def test_only_the_authoritys_refusal_of_this_very_request_ends_it() -> None:
    """Not one that somebody else has signed, not one of an earlier request, and no bytes that say nothing."""

    async def act(bench: Bench) -> None:
        await bench.refuse(bench.made[0], signer="somebody")
        await bench.board.write_answer(WEST, b"\xc1", 600)
        await asyncio.sleep(6)
        await bench.refuse(bench.made[0])
        await asyncio.sleep(0.1)
        assert len(bench.made) == 2
        await bench.refuse(bench.made[1])

    bench, outcome = asking(act)
    assert isinstance(outcome, RefusedError)
    assert (outcome.reason, str(outcome), len(bench.made)) == ("StaleRequest", "too old", 2)


@pytest.mark.parametrize("trouble", ["up", "broken"])
def test_trouble_is_waited_out(trouble: str) -> None:
    """An exchange that goes away, and a roster that can't be believed, end nothing: it may be granted all the same."""

    async def act(bench: Bench) -> None:
        setattr(bench.board if trouble == "up" else bench, trouble, trouble == "broken")
        await asyncio.sleep(10)
        setattr(bench.board if trouble == "up" else bench, trouble, trouble == "up")
        bench.granted = "it"

    bench, outcome = asking(act)
    assert (outcome, any(line.startswith("waiting for the exchange: ") for line in bench.told)) == ("it", True)


def test_whoever_is_not_let_in_asks_in_vain() -> None:
    """That is for the caller to judge: it has been evicted, or its wish to leave was granted."""

    async def act(bench: Bench) -> None:
        bench.board.denied = True

    _, outcome = asking(act)
    assert isinstance(outcome, ExchangeDeniedError)
