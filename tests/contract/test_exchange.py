"""What every Exchange promises: the same checks on the in-process one and on a real server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from federation.exchange.base import Exchange, Message, StoredSnapshot, Written
from federation.exchange.memory import MemoryExchange
from federation.exchange.redis import RedisExchange
from federation.exchange.server import EmbeddedRedis
from federation.model.names import ClusterId
from federation.model.records import Version
from support.exchange import until
from support.redis_server import access_to, running_redis

EAST = ClusterId("east")
WEST = ClusterId("west")
FIRST = StoredSnapshot(b"manifest-1", {3: b"three", 63: b"last"})
START = Written(b"manifest-1", frozenset({3, 63}), Version(100, 0))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    directory: Path = tmp_path_factory.mktemp("redis")
    with running_redis(directory) as running:
        yield running


@pytest.fixture(params=["memory", "redis"])
async def exchange(request: pytest.FixtureRequest, server: EmbeddedRedis) -> AsyncIterator[Exchange]:
    if request.param == "memory":
        yield MemoryExchange(time.monotonic)
        return
    # A clusterset of its own keeps the tests apart on the one server.
    redis = RedisExchange(access_to(server.url), request.node.name)
    yield redis
    await redis.aclose()


async def _at(exchange: Exchange, head: int) -> Written:
    """A member that replaced, then appended up to ``head``."""
    await exchange.replace(EAST, FIRST, b"lease", 60)
    written = START
    for seq in range(1, head + 1):
        version = Version(100, seq)
        assert await exchange.append(EAST, written, version, b"batch-%d" % seq)
        written = Written(written.manifest, written.shards, version)
    return written


async def test_an_empty_exchange_has_nothing(exchange: Exchange) -> None:
    """A member that never wrote has no snapshot, no log and no lease."""
    assert await exchange.read_snapshot(EAST) is None
    assert await exchange.read_log(EAST, Version(0, 0)) == ()
    assert await exchange.read_lease(EAST) is None


async def test_replace_leaves_only_what_it_brought(exchange: Exchange) -> None:
    """After a replace, the older shards and log entries are gone."""
    await _at(exchange, 2)
    await exchange.replace(EAST, StoredSnapshot(b"manifest-2", {5: b"five"}), b"lease-2", 60)
    assert await exchange.read_snapshot(EAST) == StoredSnapshot(b"manifest-2", {5: b"five"})
    assert await exchange.read_log(EAST, Version(0, 0)) == ()
    assert await exchange.read_lease(EAST) == b"lease-2"


async def test_members_do_not_touch_each_other(exchange: Exchange) -> None:
    """What one member replaces is nothing to another."""
    await _at(exchange, 1)
    await exchange.replace(WEST, StoredSnapshot(b"west", {}), b"lease-w", 60)
    assert await exchange.read_snapshot(EAST) == FIRST
    assert await exchange.read_log(EAST, Version(100, 0)) == (b"batch-1",)


async def test_the_log_is_read_in_order_after_a_version(exchange: Exchange) -> None:
    """A reader gets what is later than its own version, oldest first."""
    await _at(exchange, 3)
    assert await exchange.read_log(EAST, Version(100, 1)) == (b"batch-2", b"batch-3")
    assert await exchange.read_log(EAST, Version(99, 7)) == (b"batch-1", b"batch-2", b"batch-3")
    assert await exchange.read_log(EAST, Version(100, 3)) == ()


async def test_appending_again_is_taken_once(exchange: Exchange) -> None:
    """A repeated append answers yes and stands in the log once."""
    await _at(exchange, 0)
    for _ in range(2):
        assert await exchange.append(EAST, START, Version(100, 1), b"batch-1")
    assert await exchange.read_log(EAST, Version(100, 0)) == (b"batch-1",)


@pytest.mark.parametrize(
    "written",
    [
        Written(b"another", START.shards, Version(100, 1)),
        Written(START.manifest, START.shards, Version(100, 0)),
        Written(START.manifest, START.shards, Version(100, 5)),
    ],
    ids=["manifest", "behind", "ahead"],
)
async def test_a_writer_that_is_wrong_about_the_store_changes_nothing(exchange: Exchange, written: Written) -> None:
    """Append, update and renew refuse when manifest or head is not what the writer believes."""
    await _at(exchange, 1)
    seq = written.head.seq + 1
    assert not await exchange.append(EAST, written, Version(100, seq), b"new")
    assert not await exchange.update(EAST, written, StoredSnapshot(b"new", {1: b"new"}), frozenset({3}))
    assert not await exchange.renew(EAST, written, b"new", 60)
    assert await exchange.read_snapshot(EAST) == FIRST
    assert await exchange.read_log(EAST, Version(100, 0)) == (b"batch-1",)
    assert await exchange.read_lease(EAST) == b"lease"


async def test_a_renewal_notices_a_missing_shard(exchange: Exchange) -> None:
    """Shards that were lost behind an intact manifest are found by the next beat."""
    written = await _at(exchange, 0)
    missing = Written(written.manifest, written.shards | {7}, written.head)
    assert not await exchange.renew(EAST, missing, b"new", 60)


async def test_an_update_changes_only_what_differs(exchange: Exchange) -> None:
    """Named shards are written or removed, the others stay; repeated it answers yes."""
    written = await _at(exchange, 1)
    newer = StoredSnapshot(b"manifest-2", {4: b"four"})
    for _ in range(2):
        assert await exchange.update(EAST, written, newer, frozenset({3}))
    assert await exchange.read_snapshot(EAST) == StoredSnapshot(b"manifest-2", {4: b"four", 63: b"last"})
    assert await exchange.read_log(EAST, Version(100, 0)) == (b"batch-1",)


async def test_a_lease_runs_out(exchange: Exchange) -> None:
    """A lease that nobody renews is gone after its time; a renewal brings it back."""
    written = await _at(exchange, 0)
    assert await exchange.renew(EAST, written, b"short", 0.02)
    async with asyncio.timeout(20):
        while await exchange.read_lease(EAST) is not None:
            await asyncio.sleep(0.005)
    assert await exchange.renew(EAST, written, b"again", 60)
    assert await exchange.read_lease(EAST) == b"again"


async def test_watchers_hear_their_members_in_order(exchange: Exchange) -> None:
    """A watcher gets leases and batches of the named members, in order, and of no other."""
    heard: list[Message] = []

    async def listen(started: asyncio.Event) -> None:
        async with exchange.watch(frozenset({EAST})) as messages:
            started.set()
            async for message in messages:
                heard.append(message)

    async with asyncio.TaskGroup() as tasks:
        started = asyncio.Event()
        listener = tasks.create_task(listen(started))
        await started.wait()
        await exchange.replace(WEST, FIRST, b"other", 60)
        written = await _at(exchange, 2)
        assert await exchange.renew(EAST, written, b"beat", 60)
        await until(lambda: len(heard) >= 4)
        listener.cancel()
    assert [Message(EAST, blob) for blob in (b"lease", b"batch-1", b"batch-2", b"beat")] == heard


async def test_refused_writes_are_not_heard(exchange: Exchange) -> None:
    """What was refused or repeated does not appear on the channel."""
    heard: list[bytes] = []

    async def listen(started: asyncio.Event) -> None:
        async with exchange.watch(frozenset({EAST})) as messages:
            started.set()
            async for message in messages:
                heard.append(message.blob)

    written = await _at(exchange, 1)
    async with asyncio.TaskGroup() as tasks:
        started = asyncio.Event()
        listener = tasks.create_task(listen(started))
        await started.wait()
        assert await exchange.append(EAST, START, Version(100, 1), b"batch-1")
        assert not await exchange.append(EAST, START, Version(100, 2), b"wrong")
        assert not await exchange.renew(EAST, START, b"wrong", 60)
        assert await exchange.renew(EAST, written, b"end", 60)
        await until(lambda: bool(heard))
        listener.cancel()
    assert heard == [b"end"]
