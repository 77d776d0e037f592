"""The Redis edge where there is no Redis: errors of the family, in time, and without secrets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from federation.exchange.credentials import Credentials
from federation.exchange.redis import RedisExchange
from federation.model.errors import ExchangeUnavailableError
from federation.model.names import ClusterId
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
