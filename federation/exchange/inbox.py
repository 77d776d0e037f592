"""Inbox: the messages of one peer that wait for its follower, in order, and no more of them than memory is meant for.

Between the channel and a follower. What is dropped is not lost: the log has it, and the next beat shows that it is
missing. Looks into no message.
"""

from __future__ import annotations

import asyncio

from federation.exchange.signing import MAX_BYTES, BlobKind
from federation.model.errors import WireError
from federation.model.wire import Reason

MAX_MESSAGE_BYTES = MAX_BYTES[BlobKind.BATCH]
"""Of what comes on a channel a batch is the largest."""
_MAX_MESSAGES = 4096
_MAX_WAITING_BYTES = 16 * 1024 * 1024


class Inbox:
    """One puts, one gets, in one event loop."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[bytes | None] = asyncio.Queue(_MAX_MESSAGES)
        self._bytes = 0

    def put(self, blob: bytes) -> None:
        """Let a message wait, or drop it where too many do; raises WireError (``Oversized``) for one that is larger
        than any that is signed."""
        if len(blob) > MAX_MESSAGE_BYTES:
            raise WireError(Reason.OVERSIZED, f"message has {len(blob)} bytes, more than {MAX_MESSAGE_BYTES}")
        if not self._messages.full() and self._bytes + len(blob) <= _MAX_WAITING_BYTES:
            self._messages.put_nowait(blob)
            self._bytes += len(blob)

    def wake(self) -> None:
        """Let ``get`` return, with None after what waits already."""
        if not self._messages.full():
            self._messages.put_nowait(None)

    async def get(self) -> bytes | None:
        """The next message, or None where there was a reason to wake."""
        blob = await self._messages.get()
        self._bytes -= len(blob or b"")
        return blob
