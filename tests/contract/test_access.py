"""The users of members on real servers: each forbidden thing by name, and the exchange in full under the rules."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from federation.exchange.access import authority_rules, authority_username
from federation.exchange.base import Keys
from federation.exchange.board import BoardKeys, LetterKeys
from federation.exchange.connection import ExchangeAccess
from federation.exchange.credentials import Credentials
from federation.exchange.redis_board import RedisBoard
from federation.exchange.server import EmbeddedRedis, find_redis_server
from federation.exchange.users import RedisUsers
from federation.model.errors import ExchangeUnavailableError
from federation.model.names import ClusterId
from support.exchange import CLUSTERSET, by_key, endpoints, gateway, until
from support.exchange_site import publish, site
from support.redis_server import access_to

EAST, WEST = ClusterId("east"), ClusterId("west")
EAST_KEYS, WEST_KEYS = Keys(CLUSTERSET, EAST), Keys(CLUSTERSET, WEST)
BOARD = BoardKeys(CLUSTERSET)
DIGEST = hashlib.sha256(b"password").hexdigest()
OTHER_DIGEST = hashlib.sha256(b"another").hexdigest()


@pytest.fixture(scope="module", params=["redis", "default"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """Redis itself, and whatever this machine runs by default (Valkey)."""
    found = shutil.which("redis-server") if request.param == "redis" else find_redis_server(os.environ)
    if found is None:
        pytest.skip("redis-server is not on PATH")
    running = EmbeddedRedis(0, directory=tmp_path_factory.mktemp("redis"), program=Path(found))
    running.start()
    yield running
    running.kill()


@pytest.fixture
async def users(server: EmbeddedRedis) -> AsyncIterator[RedisUsers]:
    """East and west have a user each; the authority is the server's administrator."""
    admin = RedisUsers(access_to(server.url), CLUSTERSET)
    for cluster in (EAST, WEST):
        await admin.set_user(cluster, [DIGEST])
    yield admin
    for cluster in await admin.users():
        await admin.delete_user(cluster)
    await admin.aclose()


def access(server: EmbeddedRedis, user: str, password: str = "password") -> ExchangeAccess:
    return replace(access_to(server.url), credentials=lambda: Credentials(user, password))


@asynccontextmanager
async def raw(server: EmbeddedRedis, user: str = "fg.test.east", password: str = "password") -> AsyncIterator[Redis]:
    """A plain client, as a member would use that has its credentials and no good will."""
    client = Redis(host=server.host, port=server.port, username=user, password=password, protocol=2, retry=None)
    try:
        yield client
    finally:
        await client.aclose()


FORBIDDEN = {
    "another's log": ("XADD", WEST_KEYS.log, "*", "b", "x"),
    "another's manifest": ("SET", WEST_KEYS.manifest, "x"),
    "another's lease": ("SET", WEST_KEYS.lease, "x", "PX", 1000),
    "another's shard": ("SET", WEST_KEYS.shard(3), "x"),
    "another's request": ("SET", LetterKeys(CLUSTERSET, WEST).request, "x"),
    "another's answer": ("SET", LetterKeys(CLUSTERSET, WEST).answer, "x"),
    "removal of another's lease": ("DEL", WEST_KEYS.lease),
    "the roster": ("SET", BOARD.roster, "x"),
    "removal of the roster": ("DEL", BOARD.roster),
    "another clusterset's keys": ("GET", "fg:other:{east}:man"),
    "keys of others than us": ("GET", "session:1"),
    "another's channel": ("PUBLISH", WEST_KEYS.channel, "x"),
    "the roster's channel": ("PUBLISH", BOARD.roster, "x"),
    "keys of its own that nobody reads": ("SET", f"{EAST_KEYS.prefix}junk", "x"),
    "a shard too many": ("SET", EAST_KEYS.shard(64), "x"),
    "the answer to itself": ("SET", LetterKeys(CLUSTERSET, EAST).answer, "x"),
    "a script that writes nothing": ("EVAL", "return 1", 0),
    "a script on its own keys": ("EVAL", "return redis.call('SET', KEYS[1], 'x')", 1, EAST_KEYS.manifest),
    "a script that the server knows": ("EVALSHA", "0" * 40, 0),
    "a read-only script": ("EVAL_RO", "return 1", 0),
    "SCRIPT LOAD": ("SCRIPT", "LOAD", "return 1"),
    "a function": ("FCALL", "x", 0),
    "RENAME": ("RENAME", EAST_KEYS.log, WEST_KEYS.log),
    "FLUSHALL": ("FLUSHALL",),
    "FLUSHDB": ("FLUSHDB",),
    "KEYS": ("KEYS", "*"),
    "SCAN": ("SCAN", "0"),
    "CONFIG": ("CONFIG", "GET", "*"),
    "ACL SETUSER": ("ACL", "SETUSER", "fg.test.east", "~*"),
    "ACL LIST": ("ACL", "LIST"),
    "SCRIPT FLUSH": ("SCRIPT", "FLUSH"),
    "FUNCTION FLUSH": ("FUNCTION", "FLUSH"),
    "CLIENT KILL": ("CLIENT", "KILL", "TYPE", "normal"),
    "SHUTDOWN": ("SHUTDOWN", "NOSAVE"),
    "REPLICAOF": ("REPLICAOF", "127.0.0.1", "1"),
    "MONITOR": ("MONITOR",),
}


@pytest.mark.parametrize("command", FORBIDDEN.values(), ids=FORBIDDEN.keys())
async def test_what_is_not_a_members_is_forbidden_to_it(
    server: EmbeddedRedis, users: RedisUsers, command: tuple[str | int, ...]
) -> None:
    """A member's user can neither write what is another's nor use what is an administrator's."""
    async with raw(server) as east, Redis(host=server.host, port=server.port, protocol=2) as admin:
        before = await admin.execute_command("KEYS", "*")
        with pytest.raises(RedisError, match=r"(?i)no permission|NOPERM"):
            await east.execute_command(*command)
        assert await admin.execute_command("KEYS", "*") == before


async def test_a_transaction_gives_no_more_rights(server: EmbeddedRedis, users: RedisUsers) -> None:
    """One forbidden write among a member's own, and none of them is done."""
    async with raw(server) as east:
        await east.delete(EAST_KEYS.manifest)
        for forbidden in (("SET", WEST_KEYS.manifest, "x"), ("PUBLISH", WEST_KEYS.channel, "x"), ("EVAL", "x", 0)):
            async with east.pipeline(transaction=True) as transaction:
                transaction.set(EAST_KEYS.manifest, "mine")
                transaction.execute_command(*forbidden)
                with pytest.raises(RedisError, match=r"(?i)no permission|NOPERM"):
                    await transaction.execute()
        assert await east.get(EAST_KEYS.manifest) is None


async def test_channels_outside_of_the_clusterset_are_not_heard(server: EmbeddedRedis, users: RedisUsers) -> None:
    """All of the clusterset's channels may be subscribed to; others, and patterns, may not."""
    async with raw(server) as east:
        for channel in (WEST_KEYS.channel, BOARD.roster, BOARD.requests):
            async with east.pubsub() as allowed:
                await allowed.subscribe(channel)
                answer = await allowed.get_message(timeout=10)
                assert answer is not None
                assert answer["type"] == "subscribe"
        for command in (("SUBSCRIBE", "fg:other:roster"), ("PSUBSCRIBE", "*")):
            with pytest.raises(NoPermissionError):
                await east.execute_command(*command)


async def test_an_unknown_user_and_a_wrong_password_are_told(server: EmbeddedRedis, users: RedisUsers) -> None:
    """Both are refused as credentials, and the error shows no password."""
    for user, password in (("fg.test.nobody", "password"), ("fg.test.east", "hunter2")):
        board = RedisBoard(access(server, user, password), CLUSTERSET)
        with pytest.raises(ExchangeUnavailableError, match="refused our user or password") as refused:
            await board.read_roster()
        assert "hunter2" not in f"{refused.value} {refused.value.hint}"
        await board.aclose()


async def test_what_is_forbidden_is_told_as_such(server: EmbeddedRedis, users: RedisUsers) -> None:
    """A board under a member's user that writes a roster gets an error that says it is the user's rights."""
    board = RedisBoard(access(server, "fg.test.east"), CLUSTERSET)
    with pytest.raises(ExchangeUnavailableError, match="forbids this to our user"):
        await board.publish_roster(b"mine")
    assert await board.read_roster() is None
    await board.aclose()


async def test_members_exchange_everything_under_their_own_users(
    server: EmbeddedRedis, users: RedisUsers, tmp_path: Path
) -> None:
    """Sessions publish, follow, renew and compact, and boards ask and answer, with no more than the rules give."""
    async with (
        site(access(server, "fg.test.east"), "east", "west", tmp_path) as east,
        site(access(server, "fg.test.west"), "west", "east", tmp_path) as west,
    ):
        await publish(east, {})
        for ready in (1, 2, 3):
            record = endpoints("echo", ready)
            await publish(east, by_key(record, gateway()))
            await until(lambda: record in west.of("east").values())  # noqa: B023
        await until(lambda: west.session.snapshot().members[EAST].fresh)
        assert dict(west.session.rejections) == {}
    board = RedisBoard(access(server, "fg.test.east"), CLUSTERSET)
    async with board.watch_answer(EAST), board.watch_roster():
        await board.write_request(EAST, b"please", 60)
        assert await board.read_request(EAST) == b"please"
        await board.clear_request(EAST, b"please")
        assert await board.read_answer(EAST) is None
        assert (await board.server_version()).split()[0] in {"redis", "valkey"}
        await board.server_time()
    await board.aclose()


async def test_the_authoritys_user_can_do_its_work(server: EmbeddedRedis, users: RedisUsers) -> None:
    """With the authority's rules roster, answers, purge and users work; other keys and commands stay closed."""
    name = authority_username(CLUSTERSET)
    async with Redis(host=server.host, port=server.port, protocol=2) as admin:
        await admin.execute_command("ACL", "SETUSER", name, "on", f"#{DIGEST}", *authority_rules(CLUSTERSET))
        board = RedisBoard(access(server, name), CLUSTERSET)
        async with board.watch_requests() as requests:
            asking = RedisBoard(access(server, "fg.test.east"), CLUSTERSET)
            await asking.write_request(EAST, b"please", 60)
            assert await anext(requests) == EAST
            await asking.aclose()
        await board.publish_roster(b"roster")
        await board.write_answer(EAST, b"yes", 60)
        await board.purge(EAST)
        assert await board.read_answer(EAST) is None
        await board.aclose()
        authority = RedisUsers(access(server, name), CLUSTERSET)
        await authority.set_user(EAST, [OTHER_DIGEST])
        await authority.delete_user(WEST)
        assert await authority.users() == {EAST: frozenset({OTHER_DIGEST})}
        await authority.aclose()
        async with raw(server, name) as client:
            for command in (("GET", "session:1"), ("FLUSHALL",), ("CONFIG", "GET", "*")):
                with pytest.raises(NoPermissionError):
                    await client.execute_command(*command)
        await admin.execute_command("DEL", BOARD.roster)
        await admin.execute_command("ACL", "DELUSER", name)


async def test_passwords_are_those_that_were_set_last(server: EmbeddedRedis, users: RedisUsers) -> None:
    """Two passwords count at once while one takes the other's place; afterwards the older is refused."""
    await users.set_user(EAST, [DIGEST, OTHER_DIGEST])
    for password in ("password", "another"):
        async with raw(server, password=password) as client:
            assert await client.ping()
    await users.set_user(EAST, [OTHER_DIGEST])
    assert (await users.users())[EAST] == {OTHER_DIGEST}
    async with raw(server) as client:
        with pytest.raises(AuthenticationError):
            await client.ping()


async def test_a_deleted_user_is_cut_off_at_once(server: EmbeddedRedis, users: RedisUsers) -> None:
    """Connections that stand end with their user, subscriptions too; to delete it again is nothing."""
    board = RedisBoard(access(server, "fg.test.east"), CLUSTERSET)
    async with board.watch_roster() as notices:
        await board.server_time()
        await users.delete_user(EAST)
        await users.delete_user(EAST)
        with pytest.raises(ExchangeUnavailableError):
            await board.server_time()
        async with asyncio.timeout(20):
            with pytest.raises(ExchangeUnavailableError):
                await anext(notices)
    assert EAST not in await users.users()
    await board.aclose()


async def test_a_replaced_password_counts_from_the_next_connection(server: EmbeddedRedis, users: RedisUsers) -> None:
    """Credentials are asked for anew, so that a session goes on through a change of its password."""
    current = Credentials("fg.test.east", "password")
    board = RedisBoard(replace(access_to(server.url), credentials=lambda: current), CLUSTERSET)
    await board.server_time()
    await users.set_user(EAST, [OTHER_DIGEST])
    await board.server_time()
    current = Credentials("fg.test.east", "another")
    async with Redis(host=server.host, port=server.port, protocol=2) as admin:
        await admin.execute_command("CLIENT", "KILL", "USER", "fg.test.east")
    await board.server_time()
    await board.aclose()


async def test_notices_that_name_no_cluster_are_passed_over(server: EmbeddedRedis, users: RedisUsers) -> None:
    """Any member may write on the channel of requests; what is no cluster id ends nothing."""
    board = RedisBoard(access_to(server.url), CLUSTERSET)
    async with board.watch_requests() as requests, raw(server) as east:
        for junk in (b"", b"UPPER", b"\xff", b"a" * 64, b"../east"):
            await east.execute_command("PUBLISH", BOARD.requests, junk)
        await east.execute_command("PUBLISH", BOARD.requests, b"west")
        assert await anext(requests) == WEST
    await board.aclose()
