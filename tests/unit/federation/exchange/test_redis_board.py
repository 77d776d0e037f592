"""The board's Redis edge where there is no Redis; what it promises with one is in tests/contract/test_board.py."""

from __future__ import annotations

import socket

import pytest

from federation.exchange.redis_board import RedisBoard
from federation.model.errors import ExchangeUnavailableError
from federation.model.names import ClusterId
from support.redis_server import access_to


async def test_a_board_that_is_not_there_is_unavailable() -> None:
    """Reads, writes and watches give the family's error, which names the address."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        board = RedisBoard(access_to(f"redis://127.0.0.1:{port}"), "test")
        for attempt in (board.read_roster(), board.write_request(ClusterId("east"), b"x", 1), board.server_time()):
            with pytest.raises(ExchangeUnavailableError, match=f"127.0.0.1:{port} refuses connections"):
                await attempt
        with pytest.raises(ExchangeUnavailableError):
            async with board.watch_requests():
                pass
        await board.aclose()
