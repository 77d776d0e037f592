"""The bound on answers: whole ones of any number pass, one that is too large ends as soon as it is."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import ConnectionError as LostError

from federation.exchange import answers
from federation.exchange.answers import BoundedParser, TooLargeError


@pytest.fixture(autouse=True)
def small_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MAX_ANSWER_BYTES", 1000)


def parser_of(stream: asyncio.StreamReader) -> Any:
    """The parser of a connection that reads ``stream``, a few bytes at a time."""
    parser = BoundedParser(socket_read_size=64)
    parser.on_connect(SimpleNamespace(_reader=stream, encoder=SimpleNamespace(decode_responses=False)))
    return parser


async def test_each_answer_may_be_as_large_as_the_bound() -> None:
    """One after the other, arrays too: what was read before does not count."""
    stream = asyncio.StreamReader()
    stream.feed_data(b"$900\r\n%b\r\n*2\r\n$450\r\n%b\r\n$450\r\n%b\r\n" % (b"a" * 900, b"b" * 450, b"c" * 450))
    parser = parser_of(stream)
    assert await parser.read_response() == b"a" * 900
    assert await parser.read_response() == [b"b" * 450, b"c" * 450]


@pytest.mark.parametrize("head", [b"$1000000\r\n", b"*2\r\n$600\r\n%b\r\n$600\r\n" % (b"x" * 600)])
async def test_a_larger_answer_ends_at_the_bound(head: bytes) -> None:
    """Whether it is one value or many; the rest is not read."""
    stream = asyncio.StreamReader()
    stream.feed_data(head + b"x" * 5000)
    with pytest.raises(TooLargeError):
        await parser_of(stream).read_response()
    assert len(stream._buffer) >= 3500  # type: ignore[attr-defined]


async def test_a_connection_that_ends_within_an_answer_is_lost() -> None:
    """As redis-py has it."""
    stream = asyncio.StreamReader()
    stream.feed_data(b"$10\r\nabc")
    stream.feed_eof()
    with pytest.raises(LostError):
        await parser_of(stream).read_response()
