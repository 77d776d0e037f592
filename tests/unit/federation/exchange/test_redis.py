"""The Redis edge where there is no Redis: errors of the family, in time, and without secrets."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace

import pytest

from federation.exchange.base import StoredSnapshot, Written
from federation.exchange.credentials import Credentials
from federation.exchange.redis import RedisExchange
from federation.exchange.redis_board import RedisBoard
from federation.exchange.users import RedisUsers
from federation.model.errors import ExchangeUnavailableError
from federation.model.names import ClusterId
from federation.model.records import Version
from support.redis_server import access_to

EAST = ClusterId("east")
CREDENTIALS = Credentials("user", "secret")


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where connections are taken and nothing is ever answered."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    """A refused connection is one error, and does not show the password."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        access = replace(access_to(f"redis://127.0.0.1:{port}"), credentials=lambda: CREDENTIALS)
        exchange = RedisExchange(access, "test")
        with pytest.raises(ExchangeUnavailableError, match="refuses connections") as caught:
            await exchange.read_lease(EAST)
        with pytest.raises(ExchangeUnavailableError):
            async with exchange.watch(frozenset({EAST})):
                pass
        await exchange.aclose()
    assert "secret" not in str(caught.value)


async def test_a_server_that_does_not_answer_is_unavailable(silent_port: int) -> None:
    """Commands and subscriptions have an end also where the connection stands."""
    exchange = RedisExchange(access_to(f"redis://127.0.0.1:{silent_port}/0"), "test", timeout_seconds=0.05)
    async with asyncio.timeout(20):
        with pytest.raises(ExchangeUnavailableError):
            await exchange.read_snapshot(EAST)
        with pytest.raises(ExchangeUnavailableError):
            async with exchange.watch(frozenset({EAST})):
                pass
    await exchange.aclose()


ODD_ANSWERS = {
    "nothing said": b"+\r\n",
    "yes": b"+OK\r\n",
    "a number": b":5\r\n",
    "a null": b"$-1\r\n",
    "no list": b"*-1\r\n",
    "an empty list": b"*0\r\n",
    "a list of numbers": b"*2\r\n:1\r\n:2\r\n",
    "a list of lists": b"*2\r\n*1\r\n$1\r\na\r\n*1\r\n*-1\r\n",
    "a message of nobody": b"*3\r\n$7\r\nmessage\r\n$1\r\nx\r\n$1\r\ny\r\n",
    "a message without words": b"*3\r\n$7\r\nmessage\r\n:1\r\n:2\r\n",
    "an error": b"-ERR odd\r\n",
    "an error that is no text": b"-\xff\xfe\r\n",
    "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a name that is no text": b"*2\r\n$1\r\n\xff\r\n$1\r\n\xff\r\n",
}


@asynccontextmanager
async def odd_server(answer: bytes) -> AsyncIterator[int]:
    """Gives the same answer to every command, at its port."""
    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(task := asyncio.current_task())
        with suppress(OSError, asyncio.CancelledError):
            while data := await reader.read(65536):
                # Commands are arrays: each begins with a line of its own.
                writer.write(answer * len(re.findall(rb"(?:^|\r\n)\*\d+\r\n", data)))
                await writer.drain()
        writer.transport.abort()
        serving.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in [task for task in serving if task is not None]:
            task.cancel()
            await task


async def hear(watch: AbstractAsyncContextManager[AsyncIterator[object]]) -> None:
    async with watch as messages, asyncio.timeout(0.2):
        await anext(messages)


@pytest.mark.parametrize("deployment", ["redis://", "redis+cluster://", "redis+sentinel://"])
@pytest.mark.parametrize("answer", ODD_ANSWERS.values(), ids=ODD_ANSWERS.keys())
async def test_odd_answers_are_an_unavailable_exchange(answer: bytes, deployment: str) -> None:
    """Whatever a server says, an operation gives a result or the one error that its callers wait for."""
    async with odd_server(answer) as port:
        url = f"{deployment}127.0.0.1:{port}" + ("/m" if "sentinel" in deployment else "")
        exchange = RedisExchange(access_to(url), "test", timeout_seconds=0.3)
        board, users = RedisBoard(access_to(url), "test", timeout_seconds=0.3), RedisUsers(access_to(url), "test")
        written = Written(b"manifest", frozenset({1}), Version(1, 1))
        snapshot = StoredSnapshot(b"newer", {1: b"x"})
        operations: list[Awaitable[object]] = [
            exchange.replace(EAST, snapshot, b"lease", 1),
            exchange.append(EAST, written, Version(1, 2), b"batch"),
            exchange.update(EAST, written, snapshot, frozenset({2})),
            exchange.renew(EAST, written, b"lease", 1),
            exchange.read_snapshot(EAST),
            exchange.read_log(EAST, Version(1, 0)),
            exchange.read_lease(EAST),
            hear(exchange.watch(frozenset({EAST}))),
            board.read_roster(),
            board.publish_roster(b"x"),
            board.clear_request(EAST, b"x"),
            board.purge(EAST),
            board.server_time(),
            board.server_version(),
            hear(board.watch_requests()),
            users.users(),
            users.delete_user(EAST),
        ]
        results = await asyncio.gather(*operations, return_exceptions=True)
        failures = [one for one in results if isinstance(one, Exception) and not isinstance(one, TimeoutError)]
        assert [one for one in failures if not isinstance(one, ExchangeUnavailableError)] == []
        assert failures
        for each in (exchange, board, users):
            await each.aclose()
