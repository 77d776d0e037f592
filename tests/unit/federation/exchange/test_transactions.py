"""Transactions where the connection is a fake: what is sent together, what is looked at again, what is given up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import NoPermissionError, ResponseError

from federation.exchange.answers import TooLargeError
from federation.exchange.transactions import Decision, rehearse, write, write_if


class Wire:
    """A connection and the pool that it is from; each trip is answered by what was prepared for it."""

    def __init__(self, *answers: list[Any]) -> None:
        self.connection_pool = self
        self.is_connected = True
        self.trips: list[str] = []
        self.log: list[str] = []
        self._prepared = list(answers)
        self._answers: list[Any] = []

    @property
    def server(self) -> Redis:
        return cast(Redis, self)

    async def get_connection(self) -> Wire:
        return self

    async def release(self, connection: Wire) -> None:
        self.log.append("released")

    async def disconnect(self, *, nowait: bool) -> None:
        self.log.append("disconnected")

    def pack_commands(self, commands: tuple[tuple[object, ...], ...]) -> str:
        return ", ".join(" ".join(map(str, command)) for command in commands)

    async def send_packed_command(self, packed: str, *, check_health: bool) -> None:
        self.trips.append(packed)
        self._answers = self._prepared.pop(0)

    async def read_response(self) -> Any:
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def setting(*values: str) -> tuple[list[list[Any]], Callable[[list[Any]], Decision]]:
    """What was read, and a decision to write each of ``values`` in turn."""
    seen: list[list[Any]] = []

    def decide(answers: list[Any]) -> Decision:
        seen.append(answers)
        return [("SET", "k", values[len(seen) - 1])]

    return seen, decide


async def test_a_write_is_one_trip() -> None:
    """All commands go out between MULTI and EXEC at once, and the connection goes back as it was."""
    wire = Wire([b"OK", b"QUEUED", b"QUEUED", [b"OK", 1]])
    await write(wire.server, [("SET", "k", "v"), ("PUBLISH", "c", "v")])
    assert (wire.trips, wire.log) == (["MULTI, SET k v, PUBLISH c v, EXEC"], ["released"])


async def test_a_look_and_a_write_are_two_trips() -> None:
    """WATCH and reads go together; the decision sees the answers of the reads alone."""
    wire = Wire([b"OK", b"old", None], [b"OK", b"QUEUED", [b"OK"]])
    seen, decide = setting("new")
    assert await write_if(wire.server, ["k", "l"], [("GET", "k"), ("GET", "l")], decide)
    assert seen == [[b"old", None]]
    assert (wire.trips, wire.log) == (["WATCH k l, GET k, GET l", "MULTI, SET k new, EXEC"], ["released"])


async def test_what_another_writer_changed_is_looked_at_again() -> None:
    """EXEC that did nothing leads to a new look, and to a new decision."""
    wire = Wire([b"OK", b"1"], [b"OK", b"QUEUED", None], [b"OK", b"2"], [b"OK", b"QUEUED", [b"OK"]])
    seen, decide = setting("a", "b")
    assert await write_if(wire.server, ["k"], [("GET", "k")], decide)
    assert seen == [[b"1"], [b"2"]]
    assert wire.trips[-1] == "MULTI, SET k b, EXEC"


@pytest.mark.parametrize("answer", [True, False])
async def test_nothing_is_written_where_nothing_is_to_be(answer: bool) -> None:
    """A decision that is an answer already lifts the watch."""
    wire = Wire([b"OK", b"old"], [b"OK"])
    assert await write_if(wire.server, ["k"], [("GET", "k")], lambda answers: answer) is answer
    assert (wire.trips, wire.log) == (["WATCH k, GET k", "UNWATCH"], ["released"])


async def test_a_key_of_another_type_is_not_what_was_written() -> None:
    """It is no error: whoever wrote it, it was not the one who asks."""
    wire = Wire([b"OK", ResponseError("WRONGTYPE Operation against a key")], [b"OK"])
    assert not await write_if(wire.server, ["k"], [("GET", "k")], lambda answers: True)


async def test_a_key_that_is_too_large_to_read_is_not_what_was_written() -> None:
    """Its connection is of no use any more."""
    wire = Wire([b"OK", TooLargeError("x")])
    assert not await write_if(wire.server, ["k"], [("GET", "k")], lambda answers: True)
    assert wire.log == ["disconnected", "released"]


async def test_a_connection_that_was_lost_in_between_is_not_made_anew() -> None:
    """On a new one nothing would be watched: it is an error, and nothing is sent."""
    wire = Wire([b"OK", b"old"])

    def decide(answers: list[Any]) -> Decision:
        wire.is_connected = False
        return [("SET", "k", "new")]

    with pytest.raises(LostError):
        await write_if(wire.server, ["k"], [("GET", "k")], decide)
    assert (wire.trips, wire.log) == (["WATCH k, GET k"], ["disconnected", "released"])


async def test_a_refused_command_is_told_and_not_the_transaction_that_it_ended() -> None:
    """The first error is the cause; the connection, which may still watch something, is not used again."""
    wire = Wire([b"OK", NoPermissionError("no"), b"QUEUED", ResponseError("EXECABORT")])
    with pytest.raises(NoPermissionError, match="no"):
        await write(wire.server, [("SET", "k", "v"), ("SET", "l", "v")])
    assert wire.log == ["disconnected", "released"]


async def test_an_error_within_a_transaction_is_an_error() -> None:
    """EXEC answers, and one of its commands failed."""
    wire = Wire([b"OK", b"QUEUED", [ResponseError("OOM")]])
    with pytest.raises(ResponseError, match="OOM"):
        await write(wire.server, [("SET", "k", "v")])


async def test_a_rehearsal_writes_nothing() -> None:
    """It is discarded, and where MULTI is forbidden not even begun."""
    wire = Wire([b"OK", b"OK", [], b"OK", b"OK"], [b"QUEUED", b"OK"])
    await rehearse(wire.server, "k", [("SET", "k", "")])
    assert wire.trips == ["WATCH k, MULTI, EXEC, UNWATCH, MULTI", "SET k , DISCARD"]
    wire = Wire([b"OK", NoPermissionError("multi"), ResponseError("EXEC without MULTI"), b"OK", NoPermissionError("")])
    with pytest.raises(NoPermissionError, match="multi"):
        await rehearse(wire.server, "k", [("SET", "k", "")])
    assert len(wire.trips) == 1
