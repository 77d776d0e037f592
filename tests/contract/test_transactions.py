"""Conditional writes on a real server: another writer, or the end of the connection, between the look and the write."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from federation.exchange.connection import ExchangeConnection
from federation.exchange.server import EmbeddedRedis
from federation.exchange.transactions import Decision
from federation.model.errors import ExchangeUnavailableError
from support.redis_server import access_to, running_redis


@pytest.fixture(scope="module", params=["redis", "default"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """Redis itself, and whatever this machine runs by default (Valkey)."""
    if request.param == "default":
        with running_redis(tmp_path_factory.mktemp("redis")) as running:
            yield running
        return
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("redis-server is not on PATH")
    running = EmbeddedRedis(0, directory=tmp_path_factory.mktemp("redis"), program=Path(found))
    running.start()
    yield running
    running.kill()


@pytest.fixture
def other(server: EmbeddedRedis) -> Iterator[redis.Redis]:
    """Another writer, who does not wait for us."""
    with redis.Redis(host=server.host, port=server.port, protocol=2) as client:
        client.flushall()
        yield client


@pytest.fixture
async def connection(server: EmbeddedRedis) -> AsyncIterator[ExchangeConnection]:
    ours = ExchangeConnection(access_to(server.url))
    yield ours
    await ours.aclose()


async def test_another_writer_in_between_leads_to_a_new_look(
    connection: ExchangeConnection, other: redis.Redis
) -> None:
    """What was decided on an older state is not written."""
    seen: list[Any] = []

    def decide(answers: list[Any]) -> Decision:
        seen.append(answers[0])
        if len(seen) == 1:
            other.set("k", "theirs")
        return [("SET", "k", (answers[0] or b"") + b"+ours")]

    assert await connection.write_if(["k"], [("GET", "k")], decide)
    assert (seen, other.get("k")) == ([None, b"theirs"], b"theirs+ours")


async def test_a_connection_that_ends_in_between_writes_nothing(
    connection: ExchangeConnection, other: redis.Redis
) -> None:
    """Killed by the server, it is the exchange that is unavailable; the next write finds a way again."""

    def decide(answers: list[Any]) -> Decision:
        other.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        return [("SET", "k", "ours")]

    with pytest.raises(ExchangeUnavailableError):
        await connection.write_if(["k"], [("GET", "k")], decide)
    assert other.get("k") is None
    await connection.write("k", ("SET", "k", "ours"))
    assert other.get("k") == b"ours"


async def test_a_watch_ends_with_its_write(connection: ExchangeConnection, other: redis.Redis) -> None:
    """A connection that decided not to write is used again, and its old watch stops nothing."""
    assert await connection.write_if(["k"], [("GET", "k")], lambda answers: True)
    other.set("k", "theirs")
    await connection.write("l", ("SET", "l", "ours"))
    assert other.get("l") == b"ours"


async def test_a_rehearsal_leaves_no_trace(connection: ExchangeConnection, other: redis.Redis) -> None:
    """Everything is judged, nothing is done."""
    await connection.rehearse("k", ("SET", "k", "x"), ("DEL", "k"))
    assert other.dbsize() == 0
