"""What the in-process exchange offers beyond the contract."""

from __future__ import annotations

from federation.exchange.base import StoredSnapshot, Written
from federation.exchange.memory import MemoryExchange
from federation.model.names import ClusterId
from federation.model.records import Version

EAST = ClusterId("east")


async def test_the_log_keeps_its_length() -> None:
    """Older entries go when the log is full."""
    exchange = MemoryExchange(lambda: 0.0, log_length=2)
    await exchange.replace(EAST, StoredSnapshot(b"m", {}), b"lease", 1)
    for seq in range(1, 4):
        written = Written(b"m", frozenset(), Version(1, seq - 1))
        assert await exchange.append(EAST, written, Version(1, seq), b"%d" % seq)
    assert await exchange.read_log(EAST, Version(1, 0)) == (b"2", b"3")


async def test_what_is_forgotten_is_gone() -> None:
    """All data go at once, as with a server that lost them."""
    exchange = MemoryExchange(lambda: 0.0)
    await exchange.replace(EAST, StoredSnapshot(b"m", {}), b"lease", 1)
    exchange.forget()
    assert await exchange.read_snapshot(EAST) is None
