"""The inbox: order, and its three bounds."""

from __future__ import annotations

import pytest

from federation.exchange import inbox
from federation.exchange.inbox import MAX_MESSAGE_BYTES, Inbox
from federation.model.errors import WireError
from federation.model.wire import Reason


async def test_messages_come_out_as_they_went_in() -> None:
    """A wake is behind what waited before it."""
    box = Inbox()
    box.put(b"1")
    box.wake()
    box.put(b"2")
    assert [await box.get() for _ in range(3)] == [b"1", None, b"2"]


async def test_what_is_too_much_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """By number and by bytes; what was taken out makes room again."""
    monkeypatch.setattr(inbox, "_MAX_MESSAGES", 3)
    monkeypatch.setattr(inbox, "_MAX_WAITING_BYTES", 10)
    box = Inbox()
    for blob in (b"123456", b"12345", b"1234", b"", b"", b""):
        box.put(blob)
    box.wake()
    assert [await box.get() for _ in range(3)] == [b"123456", b"1234", b""]
    box.put(b"1234567890")
    assert await box.get() == b"1234567890"


async def test_no_message_is_larger_than_a_batch() -> None:
    """The largest is taken, one byte more is refused by name."""
    box = Inbox()
    box.put(b"x" * MAX_MESSAGE_BYTES)
    with pytest.raises(WireError, match="more than") as refused:
        box.put(b"x" * (MAX_MESSAGE_BYTES + 1))
    assert refused.value.reason == Reason.OVERSIZED
    assert len(await box.get() or b"") == MAX_MESSAGE_BYTES
