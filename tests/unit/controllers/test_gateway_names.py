"""What the names of peers' gateways come to: which answers count, for how long, and who is told."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from controllers.gateway_names import ANSWERS_TO_FORGET, MAX_ADDRESSES, GatewayNames, Known, resolve, usable
from support.builders import NORTH, WEST

NAME, OTHER = "gateway.west.example", "other.west.example"


def after(*answers: tuple[str, ...]) -> tuple[str, ...]:
    known = Known()
    for answer in answers:
        known = known.after(answer)
    return known.addresses


def test_an_address_is_kept_until_three_answers_lack_it() -> None:
    """A server that tells some of its addresses at a time moves nobody; one that is gone is forgotten."""
    assert after(("192.0.2.2", "192.0.2.1")) == ("192.0.2.1", "192.0.2.2")
    assert after(("192.0.2.1",), ("192.0.2.2",)) == ("192.0.2.1", "192.0.2.2")
    assert after(("192.0.2.1",), *[("192.0.2.2",)] * (ANSWERS_TO_FORGET - 1)) == ("192.0.2.1", "192.0.2.2")
    assert after(("192.0.2.1",), *[("192.0.2.2",)] * ANSWERS_TO_FORGET) == ("192.0.2.2",)
    assert after(("192.0.2.1",), ("192.0.2.2",), ("192.0.2.1",), ("192.0.2.2",), ("192.0.2.2",)) == (
        "192.0.2.1",
        "192.0.2.2",
    )


def test_a_name_has_so_many_addresses_at_most() -> None:
    """Those of the newest answer first: what a peer's DNS says costs us no more than that."""
    many = tuple(f"192.0.2.{number}" for number in range(100))
    new = ("198.51.100.1", "198.51.100.2")

    assert len(after(many)) == MAX_ADDRESSES
    found = after(many, new)
    assert (len(found), set(new) <= set(found)) == (MAX_ADDRESSES, True)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "169.254.1.1",
        "fe80::1%eth0",
        "?",
    ],
)
def test_an_answer_that_leads_to_no_other_host_is_refused(address: str) -> None:
    """DNS is not trusted; the others of the answer count."""
    assert usable(NAME, [address]) == ()
    assert usable(NAME, ["192.0.2.1", address]) == ("192.0.2.1",)


def test_names_of_the_own_host_may_lead_to_it() -> None:
    """RFC 6761: nobody is surprised by that; in one spelling, sorted."""
    assert usable("west.localhost", ["127.0.0.2", "127.0.0.1"]) == ("127.0.0.1", "127.0.0.2")
    assert usable("localhost", ["::0001", "::ffff:192.0.2.1"]) == ("192.0.2.1", "::1")


async def test_the_resolver_of_the_system_is_asked() -> None:
    """The hosts file of every system knows this one."""
    assert "127.0.0.1" in await resolve("localhost")


async def test_a_name_that_is_none_raises() -> None:
    """What no resolver could be asked for, too: a label that is too long for DNS is refused by Python."""
    with pytest.raises(OSError, match="label"):
        await resolve("a" * 70)


class World:
    """A resolver that says what the test says, and a clock that it turns."""

    def __init__(self, known: Mapping[str, tuple[str, ...]]) -> None:
        self.answers: dict[str, tuple[str, ...]] = {}
        self.asked: Counter[str] = Counter()
        self.told: list[Mapping[str, tuple[str, ...]]] = []
        self._turn = asyncio.Condition()
        self.names = GatewayNames(known, self.told.append, rng=random.Random(1), resolve=self.resolve, sleep=self.sleep)

    async def resolve(self, name: str) -> tuple[str, ...]:
        self.asked[name] += 1
        if name not in self.answers:
            raise OSError(f"no answer for {name}")
        return self.answers[name]

    async def sleep(self, _seconds: float) -> None:
        async with self._turn:
            await self._turn.wait()

    async def rounds(self, count: int = 1) -> None:
        """Let everybody who is followed ask so often, and be asleep again."""
        for _ in range(count):
            before = Counter(self.asked)
            async with self._turn:
                self._turn.notify_all()
            async with asyncio.timeout(10):
                while self.asked == before:
                    await asyncio.sleep(0)
            await self.settle()

    @staticmethod
    async def settle() -> None:
        """Let everybody come to where they wait."""
        for _ in range(50):
            await asyncio.sleep(0)


@asynccontextmanager
async def resolving(known: Mapping[str, tuple[str, ...]] | None = None) -> AsyncIterator[World]:
    world = World(known or {})
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(world.names.run())
        yield world
        running.cancel()


async def test_who_listens_is_told_once_per_change() -> None:
    """The first answer, and one that differs; equal ones are no news."""
    async with resolving() as world:
        world.answers[NAME] = ("192.0.2.1",)
        world.names.follow({WEST: (NAME,)})
        await world.settle()
        await world.rounds()
        assert world.told == [{NAME: ("192.0.2.1",)}]
        world.answers[NAME] = ("192.0.2.2",)
        await world.rounds(ANSWERS_TO_FORGET)

    assert world.told[1:] == [{NAME: ("192.0.2.1", "192.0.2.2")}, {NAME: ("192.0.2.2",)}]
    assert world.names.problems == ()


async def test_a_failure_keeps_the_last_answer_and_is_told() -> None:
    """However long it lasts; also what was known before the start."""
    async with resolving({NAME: ("192.0.2.9",)}) as world:
        world.names.follow({WEST: (NAME, OTHER)})
        await world.settle()
        await world.rounds(2 * ANSWERS_TO_FORGET)

        assert world.told == []
        assert [str(problem) for problem in world.names.problems] == [
            f"gateway of {WEST}: {name} does not resolve: no answer for {name}; {so} (NameUnresolved)"
            for name, so in (
                (NAME, "its last addresses are used"),
                (OTHER, f"{WEST} is not called by this name"),
            )
        ]
        world.answers |= {NAME: ("192.0.2.9",), OTHER: ("192.0.2.8",)}
        await world.rounds()

    assert world.told == [{NAME: ("192.0.2.9",), OTHER: ("192.0.2.8",)}]
    assert world.names.problems == ()


async def test_a_name_that_nobody_has_any_more_is_forgotten() -> None:
    """It is asked for no more; a new one is asked for at once."""
    async with resolving({OTHER: ("192.0.2.7",)}) as world:
        world.answers = {NAME: ("192.0.2.1",), OTHER: ("192.0.2.2",)}
        world.names.follow({WEST: (NAME,), NORTH: (OTHER,)})
        await world.settle()
        world.names.follow({WEST: (NAME,)})
        await world.settle()
        asked = world.asked[OTHER]
        await world.rounds(2)

    assert world.asked[OTHER] == asked
    assert world.told[-1] == {NAME: ("192.0.2.1",)}
