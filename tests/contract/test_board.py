"""What every Board promises: the same checks on the in-process one and on a real server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest

from federation.exchange.base import Exchange, StoredSnapshot
from federation.exchange.board import Board
from federation.exchange.memory import MemoryExchange
from federation.exchange.memory_board import MemoryBoard
from federation.exchange.redis import RedisExchange
from federation.exchange.redis_board import RedisBoard
from federation.exchange.server import EmbeddedRedis
from federation.model.errors import WireError
from federation.model.names import ClusterId
from federation.model.records import Version
from federation.model.sizes import MAX_LETTER_BYTES, MAX_ROSTER_BYTES
from support.exchange import until
from support.redis_server import access_to, running_redis

EAST = ClusterId("east")
WEST = ClusterId("west")
T = TypeVar("T")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with running_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(params=["memory", "redis"])
async def place(request: pytest.FixtureRequest, server: EmbeddedRedis) -> AsyncIterator[tuple[Board, Exchange]]:
    """A board, and the exchange beside it."""
    if request.param == "memory":
        memory = MemoryExchange(time.monotonic)
        yield MemoryBoard(lambda: datetime.now(UTC), time.monotonic, memory), memory
        return
    # A clusterset of its own keeps the tests apart on the one server.
    access, clusterset = access_to(server.url), request.node.name
    board, exchange = RedisBoard(access, clusterset), RedisExchange(access, clusterset)
    yield board, exchange
    await board.aclose()
    await exchange.aclose()


@pytest.fixture
def board(place: tuple[Board, Exchange]) -> Board:
    return place[0]


@asynccontextmanager
async def heard(watch: AbstractAsyncContextManager[AsyncIterator[T]]) -> AsyncIterator[list[T]]:
    """What a watch says, from when it stands."""
    notices: list[T] = []
    stands = asyncio.Event()

    async def listen() -> None:
        async with watch as following:
            stands.set()
            async for notice in following:
                notices.append(notice)

    async with asyncio.TaskGroup() as tasks:
        listener = tasks.create_task(listen())
        await stands.wait()
        yield notices
        listener.cancel()


async def gone(read: object) -> None:
    """Wait until a letter's time has run out."""
    async with asyncio.timeout(20):
        while await read() is not None:  # type: ignore[operator]
            await asyncio.sleep(0.005)


async def test_an_empty_board_has_nothing(board: Board) -> None:
    """Before anyone wrote there is no roster, no request and no answer."""
    assert await board.read_roster() is None
    assert await board.read_request(EAST) is None
    assert await board.read_answer(EAST) is None


async def test_the_roster_is_the_last_one(board: Board) -> None:
    """A roster takes the place of the one before, and watchers hear of each."""
    async with heard(board.watch_roster()) as notices:
        await board.publish_roster(b"one")
        await board.publish_roster(b"two")
        assert await board.read_roster() == b"two"
        await until(lambda: len(notices) >= 2)
    assert notices == [None, None]


async def test_requests_and_answers_are_one_cluster_s_own(board: Board) -> None:
    """What is written for one cluster is nothing to another, and neither is the other kind."""
    await board.write_request(EAST, b"please", 60)
    await board.write_answer(WEST, b"yes", 60)
    assert await board.read_request(EAST) == b"please"
    assert await board.read_request(WEST) is None
    assert await board.read_answer(WEST) == b"yes"
    assert await board.read_answer(EAST) is None


async def test_letters_run_out(board: Board) -> None:
    """A request and an answer are gone after their time."""
    await board.write_request(EAST, b"please", 0.02)
    await board.write_answer(EAST, b"yes", 0.02)
    await gone(lambda: board.read_request(EAST))
    await gone(lambda: board.read_answer(EAST))


async def test_whoever_answers_hears_which_clusters_ask(board: Board) -> None:
    """The watcher of requests gets the cluster of each, in order, and of answers nothing."""
    async with heard(board.watch_requests()) as notices:
        await board.write_answer(EAST, b"yes", 60)
        await board.write_request(WEST, b"please", 60)
        await board.write_request(EAST, b"please", 60)
        await until(lambda: len(notices) >= 2)
    assert notices == ["west", "east"]


async def test_whoever_asked_hears_of_the_answer_and_the_roster(board: Board) -> None:
    """The watcher of an answer hears of its own answer and of rosters, not of another's."""
    async with heard(board.watch_answer(EAST)) as notices:
        await board.write_answer(WEST, b"no", 60)
        await board.write_answer(EAST, b"yes", 60)
        await board.publish_roster(b"roster")
        await until(lambda: len(notices) >= 2)
    assert notices == [None, None]


async def test_a_request_is_cleared_only_while_it_is_the_one_that_was_read(board: Board) -> None:
    """A newer request is not lost to the clearing of an older one."""
    await board.write_request(EAST, b"newer", 60)
    await board.clear_request(EAST, b"older")
    assert await board.read_request(EAST) == b"newer"
    await board.clear_request(EAST, b"newer")
    assert await board.read_request(EAST) is None
    await board.clear_request(EAST, b"newer")


async def test_what_is_too_large_is_not_read(board: Board) -> None:
    """A roster of 1 MiB and a letter of 8 KiB are read; one byte more is refused as Oversized."""
    await board.publish_roster(bytes(MAX_ROSTER_BYTES))
    assert len(await board.read_roster() or b"") == MAX_ROSTER_BYTES
    await board.write_request(EAST, bytes(MAX_LETTER_BYTES), 60)
    assert len(await board.read_request(EAST) or b"") == MAX_LETTER_BYTES
    await board.publish_roster(bytes(MAX_ROSTER_BYTES + 1))
    await board.write_request(EAST, bytes(MAX_LETTER_BYTES + 1), 60)
    await board.write_answer(EAST, bytes(MAX_LETTER_BYTES + 1), 60)
    for read in (board.read_roster(), board.read_request(EAST), board.read_answer(EAST)):
        with pytest.raises(WireError) as refused:
            await read
        assert refused.value.reason == "Oversized"


async def test_a_purge_leaves_nothing_of_one_cluster(place: tuple[Board, Exchange]) -> None:
    """Records, log, lease, request and answer of the cluster are gone; another's and the roster stay."""
    board, exchange = place
    await board.publish_roster(b"roster")
    for cluster in (EAST, WEST):
        await exchange.replace(cluster, StoredSnapshot(b"manifest", {0: b"first", 63: b"last"}), b"lease", 60)
        await board.write_request(cluster, b"please", 60)
        await board.write_answer(cluster, b"yes", 60)
    await board.purge(EAST)
    await board.purge(EAST)
    assert await exchange.read_snapshot(EAST) is None
    assert await exchange.read_lease(EAST) is None
    assert await exchange.read_log(EAST, Version(0, 0)) == ()
    assert await board.read_request(EAST) is None
    assert await board.read_answer(EAST) is None
    assert await exchange.read_snapshot(WEST) == StoredSnapshot(b"manifest", {0: b"first", 63: b"last"})
    assert await board.read_request(WEST) == b"please"
    assert await board.read_roster() == b"roster"


async def test_the_server_tells_its_clock_and_program(board: Board) -> None:
    """Its clock is that of this machine, where it runs; its program has a name and a version."""
    assert abs(await board.server_time() - datetime.now(UTC)) < timedelta(seconds=30)
    name, version = (await board.server_version()).split()
    assert name in {"memory", "redis", "valkey"}
    assert version[0].isdigit()
