"""The in-process board, beyond what tests/contract/test_board.py holds it to."""

from __future__ import annotations

from datetime import UTC, datetime

from federation.exchange.memory_board import MemoryBoard
from federation.model.names import ClusterId

EAST = ClusterId("east")


async def test_a_board_that_forgets_has_nothing() -> None:
    """Loss of all data takes roster and letters; time and version stay."""
    now = datetime(2026, 1, 2, tzinfo=UTC)
    board = MemoryBoard(lambda: now, lambda: 0.0)
    await board.publish_roster(b"roster")
    await board.write_request(EAST, b"please", 60)
    board.forget()
    assert await board.read_roster() is None
    assert await board.read_request(EAST) is None
    assert await board.server_time() == now
    assert await board.server_version() == "memory 0"
