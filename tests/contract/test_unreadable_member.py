"""One member that makes its own keys unreadable, on a real server: it harms itself, and nobody waits for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from federation.exchange.base import Keys
from federation.exchange.board import LetterKeys
from federation.exchange.redis import RedisExchange
from federation.exchange.redis_board import RedisBoard
from federation.exchange.server import EmbeddedRedis
from federation.model.errors import WireError
from federation.model.names import ClusterId
from federation.model.records import Version
from federation.model.wire import Reason
from support.exchange import CLUSTERSET, by_key, endpoints, gateway, member_of, until
from support.exchange_site import publish, site
from support.redis_server import access_to, running_redis

EAST, EVIL = ClusterId("east"), ClusterId("evil")
KEYS = Keys(CLUSTERSET, EVIL)
STREAM, HASH, TEXT = ("XADD", "*", "a", "b"), ("HSET", "a", "b"), ("SET", "text")
MEGABYTES_128 = 128 * 1024 * 1024
LARGE = ("SETRANGE", str(MEGABYTES_128), "x")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with running_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
async def hand(server: EmbeddedRedis) -> AsyncIterator[Redis]:
    """What the member may do to its own keys."""
    async with Redis(host=server.host, port=server.port, protocol=2) as client:
        await client.flushall()
        yield client


async def put(hand: Redis, key: str, command: tuple[str, ...]) -> None:
    await hand.execute_command(command[0], key, *command[1:])


@pytest.mark.parametrize(
    ("key", "command", "reason"),
    [
        (KEYS.lease, STREAM, Reason.UNREADABLE),
        (KEYS.manifest, HASH, None),  # to MGET what is no text is not there
        (KEYS.manifest, LARGE, Reason.OVERSIZED),
        (KEYS.lease, LARGE, Reason.OVERSIZED),
    ],
    ids=["lease of another type", "manifest of another type", "manifest too large", "lease too large"],
)
async def test_nobody_waits_for_a_member_that_can_not_be_read(
    server: EmbeddedRedis, hand: Redis, tmp_path: Path, key: str, command: tuple[str, ...], reason: Reason | None
) -> None:
    """A reader that starts then is in sync with all others, names the culprit, and goes on hearing the others."""
    await put(hand, key, command)
    async with (
        site(access_to(server.url), "east", "west", tmp_path) as east,
        site(access_to(server.url), "west", "east", tmp_path) as west,
    ):
        west.session.set_members([member_of("east"), member_of("evil")])
        await publish(east, by_key(gateway()))
        await until(lambda: west.session.synced and west.of("east") == by_key(gateway()))
        assert reason is None or west.rejected(reason, "evil") > 0
        await publish(east, by_key(gateway(), endpoints("echo", 1)))
        await until(lambda: west.of("east") == by_key(gateway(), endpoints("echo", 1)))
        assert {cluster for cluster, _ in west.session.rejections} <= {EVIL}


async def test_a_log_is_read_no_further_than_the_bound(server: EmbeddedRedis, hand: Redis) -> None:
    """Entries may have any size: reading them ends at the bound, as the member's fault, and so does another type."""
    exchange = RedisExchange(access_to(server.url), CLUSTERSET)
    await hand.execute_command("XADD", KEYS.log, "1-1", "b", b"x" * MEGABYTES_128)
    with pytest.raises(WireError) as refused:
        await exchange.read_log(EVIL, Version(0, 0))
    assert refused.value.reason == Reason.OVERSIZED
    await put(hand, Keys(CLUSTERSET, EAST).log, TEXT)
    with pytest.raises(WireError) as refused:
        await exchange.read_log(EAST, Version(0, 0))
    assert refused.value.reason == Reason.UNREADABLE
    await exchange.aclose()


async def test_a_whole_snapshot_is_read_no_further_than_the_bound(server: EmbeddedRedis, hand: Redis) -> None:
    """Shards that are each small enough are too much together."""
    exchange = RedisExchange(access_to(server.url), CLUSTERSET)
    await hand.set(KEYS.manifest, "x")
    for number in range(9):
        await hand.set(KEYS.shard(number), b"x" * (8 * 1024 * 1024))
    with pytest.raises(WireError) as refused:
        await exchange.read_snapshot(EVIL)
    assert refused.value.reason == Reason.OVERSIZED
    await hand.delete(KEYS.shard(0), KEYS.shard(1))
    assert await exchange.read_snapshot(EVIL) is not None
    await exchange.aclose()


async def test_a_writer_whose_keys_became_something_else_writes_them_anew(
    server: EmbeddedRedis, hand: Redis, tmp_path: Path
) -> None:
    """Of another type, or far too large, is lost like removed: everything is published again."""
    async with site(access_to(server.url), "east", "west", tmp_path) as east:
        await publish(east, by_key(gateway()))
        own = Keys(CLUSTERSET, EAST)
        for key, command in ((own.manifest, HASH), (own.log, HASH), (own.manifest, LARGE), (own.lease, LARGE)):
            before = east.session.publications
            await hand.delete(key)
            await put(hand, key, command)
            if key == own.lease:
                continue  # the next beat writes it anew
            await until(lambda before=before: east.session.publications > before)  # type: ignore[misc]
        assert await east.exchange.read_snapshot(EAST) is not None


async def test_a_request_of_another_type_is_its_clusters_fault(server: EmbeddedRedis, hand: Redis) -> None:
    """To the board it is what can't be read, and not the exchange that is unavailable; to clear it is nothing."""
    board = RedisBoard(access_to(server.url), CLUSTERSET)
    await put(hand, LetterKeys(CLUSTERSET, EVIL).request, HASH)
    with pytest.raises(WireError) as refused:
        await board.read_request(EVIL)
    assert refused.value.reason == Reason.UNREADABLE
    await board.clear_request(EVIL, b"please")
    await board.purge(EVIL)
    assert await hand.dbsize() == 0
    await board.aclose()
