"""The size of what a server may answer: a parser for redis-py that ends the connection before memory does.

Below ``connection``. A member's user may store half a gigabyte under each of its keys, and no command tells how large
the entries of a stream are before they are on their way. Knows bytes, and nothing of what they mean.
"""

from __future__ import annotations

from typing import Any

from redis._parsers import _AsyncHiredisParser
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import InvalidResponse

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""A whole snapshot (see federation.model.wire.MAX_MEMBER_BYTES), or a page of a log."""


class TooLargeError(InvalidResponse):
    """An answer was larger than any that a member's records give. The connection is of no use any more."""


class BoundedParser(_AsyncHiredisParser):
    """Reads answers of at most MAX_ANSWER_BYTES each; raises TooLargeError at the first byte beyond."""

    __slots__ = ("_room",)
    _reader: Any

    async def read_response(self, *args: Any, **options: Any) -> Any:
        self._room = MAX_ANSWER_BYTES
        return await super().read_response(*args, **options)

    async def read_from_socket(self) -> bool:
        data = await self._stream.read(self._read_size) if self._stream else b""
        if not data:
            raise LostError("Connection closed by server.")
        self._room -= len(data)
        if self._room < 0:
            raise TooLargeError(f"answer is larger than {MAX_ANSWER_BYTES} bytes")
        self._reader.feed(data)
        return True
