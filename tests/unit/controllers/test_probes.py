"""Probes: what counts as an answer, when an address is down or up, and what probing may cost."""

from __future__ import annotations

import asyncio
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing

import pytest

from controllers.probes import FAILURES_TO_DOWN, GatewayProbes, Health, answers, probe_interval
from federation.model.records import GatewayAddress
from support.builders import NORTH, WEST

HERE = "127.0.0.1"
ONE, TWO, THREE = (GatewayAddress(f"192.0.2.{number}", 15443) for number in (1, 2, 3))

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[GatewayAddress]:
    server = await asyncio.start_server(handler, HERE, 0)
    async with server:
        yield GatewayAddress(HERE, server.sockets[0].getsockname()[1])


# What counts as an answer


async def test_a_closed_handshake_is_an_answer() -> None:
    """Whoever reads the hello and closes lives."""

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    async with serving(close) as address:
        assert await answers(address) is True


async def test_a_reset_is_an_answer() -> None:
    """Closed with the hello unread, which resets the connection: the process did that."""

    async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with serving(reset) as address:
        assert await answers(address) is True


async def test_words_are_an_answer() -> None:
    """A gateway that would go on with the handshake lives as well."""

    async def alert(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x15\x03\x03\x00\x02\x02\x70")
        await writer.drain()
        writer.close()

    async with serving(alert) as address:
        assert await answers(address) is True


async def test_the_hello_names_a_server_outside_the_clusterset() -> None:
    """A TLS handshake record with an SNI that no gateway knows."""
    seen: list[bytes] = []

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read(4096))
        writer.close()

    async with serving(read) as address:
        await answers(address)
    assert (seen[0][0], b"probe.invalid" in seen[0], b"clusterset" in seen[0]) == (0x16, True, False)


async def test_nobody_there_is_no_answer() -> None:
    """A refused connection."""
    with closing(socket.socket()) as held:
        held.bind((HERE, 0))
        assert await answers(GatewayAddress(HERE, held.getsockname()[1])) is False


async def test_a_connection_that_only_the_kernel_took_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen process: its kernel accepts, nobody reads."""
    monkeypatch.setattr("controllers.probes.TIMEOUT_SECONDS", 0.05)
    with closing(socket.create_server((HERE, 0))) as frozen:
        assert await answers(GatewayAddress(HERE, frozen.getsockname()[1])) is False


# When an address is down or up


def test_three_failures_in_a_row_take_an_address_down() -> None:
    """Before that it is what it was; an answer in between starts the count anew."""
    health = Health(up=True)
    seen = []
    for answered in (False, False, True, False, False, False, False):
        health = health.after(answered=answered)
        seen.append(health.up)
    assert seen == [True, True, True, True, True, False, False]


def test_nothing_is_known_before_an_answer_or_three_failures() -> None:
    """The first failures of an address that never answered don't count as its death."""
    health = Health()
    seen = []
    for _ in range(FAILURES_TO_DOWN):
        health = health.after(answered=False)
        seen.append(health.up)
    assert seen == [None, None, False]


def test_the_first_answer_brings_an_address_up() -> None:
    """However long it was down."""
    assert Health(up=False, failures=FAILURES_TO_DOWN).after(answered=True) == Health(up=True)


# Probing


class World:
    """Addresses that answer or don't, and a sleep that ends at once but lets others run."""

    def __init__(self, *down: GatewayAddress) -> None:
        self.down = set(down)
        self.probed: Counter[GatewayAddress] = Counter()
        self.sleeps: list[float] = []
        self.probes = GatewayProbes(rng=random.Random(1), probe=self.probe, sleep=self.sleep)

    async def probe(self, address: GatewayAddress) -> bool:
        self.probed[address] += 1
        return address not in self.down

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        await asyncio.sleep(0)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0)

    async def probe_each(self, *addresses: GatewayAddress, times: int = FAILURES_TO_DOWN) -> None:
        """Wait until each was probed, and judged, so often from now on."""
        before = Counter(self.probed)
        await self.until(lambda: all(self.probed[each] > before[each] + times for each in addresses))


@asynccontextmanager
async def probing(*down: GatewayAddress) -> AsyncIterator[World]:
    world = World(*down)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(world.probes.run())
        yield world
        task.cancel()


async def test_a_peer_answers_if_one_of_its_gateways_does() -> None:
    """All addresses of a peer must fail before its gateway is silent."""
    async with probing(ONE, THREE) as world:
        world.probes.follow({WEST: [ONE, TWO], NORTH: [THREE]})
        await world.probe_each(ONE, TWO, THREE)
        assert (world.probes.reach(WEST), world.probes.reach(NORTH)) == (True, False)
        world.down = {ONE, TWO}
        await world.probe_each(ONE, TWO, THREE)
        assert (world.probes.reach(WEST), world.probes.reach(NORTH)) == (False, True)


async def test_of_a_peer_that_is_not_probed_nothing_is_known() -> None:
    """Neither before the first probes nor without addresses nor after it was given up."""
    async with probing(ONE) as world:
        world.probes.follow({WEST: [ONE], NORTH: []})
        assert (world.probes.reach(WEST), world.probes.reach(NORTH)) == (None, None)
        await world.probe_each(ONE)
        assert world.probes.reach(WEST) is False
        world.probes.follow({})
        assert world.probes.reach(WEST) is None


async def test_how_long_an_answer_took_is_known_while_there_is_one() -> None:
    """Of the quickest gateway; failures are counted by peer."""
    async with probing() as world:
        world.probes.follow({WEST: [ONE, TWO]})
        assert world.probes.answer_seconds(WEST) is None
        await world.probe_each(ONE, TWO)
        assert world.probes.answer_seconds(WEST) is not None
        assert world.probes.failed[WEST] == 0
        world.down = {ONE, TWO}
        await world.probe_each(ONE, TWO)
        assert world.probes.answer_seconds(WEST) is None
        assert world.probes.failed[WEST] >= 2 * FAILURES_TO_DOWN


async def test_what_is_known_of_an_address_stays_when_others_come() -> None:
    """A peer that adds a gateway is not forgotten; one that moved to a new address is judged by that alone."""
    async with probing(ONE) as world:
        world.probes.follow({WEST: [ONE]})
        await world.probe_each(ONE)
        world.probes.follow({WEST: [ONE], NORTH: [TWO]})
        assert world.probes.reach(WEST) is False
        world.probes.follow({WEST: [THREE], NORTH: [TWO]})
        assert world.probes.reach(WEST) is None
        await world.probe_each(THREE)
        assert world.probes.reach(WEST) is True


async def test_addresses_that_are_given_up_are_probed_no_more() -> None:
    """Also one that comes back before anybody noticed that it had gone is probed on, once."""
    async with probing() as world:
        world.probes.follow({WEST: [ONE], NORTH: [TWO]})
        await world.probe_each(ONE, TWO)
        world.probes.follow({NORTH: [TWO]})
        world.probes.follow({NORTH: [TWO], WEST: [THREE]})
        await world.probe_each(THREE, TWO)
        given_up = world.probed[ONE]
        await world.probe_each(TWO, THREE)
        assert world.probed[ONE] == given_up


async def test_probes_are_spread() -> None:
    """The first comes within an interval, the others a tenth about it."""
    async with probing() as world:
        world.probes.follow({WEST: [ONE]})
        await world.probe_each(ONE, times=50)
    assert 0 <= world.sleeps[0] < 1
    assert all(0.9 <= seconds <= 1.1 for seconds in world.sleeps[1:])
    assert len(set(world.sleeps)) > 40


@pytest.mark.parametrize(
    ("own", "peers", "expected"),
    [
        (1, [1], 1.0),
        (4, [4, 1], 1.0),
        (256, [256, 1], 64.0),
        (1, [256, 1], 1.0),
        (1, [1] * 200, 1.0),
        (2, [2] * 250, 2.5),
        (1, [256] * 249 + [1], 997 / 200),
    ],
)
def test_probing_is_bounded(own: int, peers: list[int], expected: float) -> None:
    """At most 200 probes a second, 4 for a peer: one that lists 256 addresses slows down those alone."""
    assert probe_interval(own, peers) == pytest.approx(expected)
