"""Writes as one moment of a server: MULTI and EXEC, alone or after a look at what is watched meanwhile.

Below ``connection``. No scripts: whoever may run one can hold up a server for good. One connection is kept for the look
and the write, for a watch is a connection's; each of the two is one round trip. Retries nothing but a write that
another writer forestalled.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import InvalidResponse, ResponseError

from federation.exchange.answers import TooLargeError

Argument = str | bytes | int
Command = tuple[Argument, ...]
Decision = Sequence[Command] | bool
"""What is to be written, or that it is done already (True), or must not be (False)."""


async def write(server: Redis, commands: Sequence[Command]) -> None:
    """Do all of this as one moment; raises redis-py's errors."""
    async with _held(server) as connection:
        await _write(connection, commands)


async def write_if(
    server: Redis, watched: Sequence[str], reads: Sequence[Command], decide: Callable[[list[Any]], Decision]
) -> bool:
    """Do what ``decide`` makes of the answers to ``reads``, if no key in ``watched`` changed since, else look again.

    Whether it was done, now or before. A key that holds another type than is asked for, or more than is ever read, was
    not written by us: False. Raises redis-py's errors.
    """
    try:
        return await _write_if(server, watched, reads, decide)
    except TooLargeError:
        return False


async def _write_if(
    server: Redis, watched: Sequence[str], reads: Sequence[Command], decide: Callable[[list[Any]], Decision]
) -> bool:
    async with _held(server) as connection:
        while True:
            answers = await _trip(connection, ("WATCH", *watched), *reads)
            decision = False if any(map(is_of_wrong_type, answers)) else decide(_without_errors(answers)[1:])
            if isinstance(decision, bool):
                _without_errors(await _trip(connection, ("UNWATCH",)))
                return decision
            if await _write(connection, decision):
                return True


async def rehearse(server: Redis, key: str, commands: Sequence[Command]) -> None:
    """Have the server judge whether we may write all of this as ``write_if`` would, watching ``key``; nothing is
    written. Raises redis-py's errors."""
    async with _held(server) as connection:
        # Only what stands behind a MULTI that was allowed is not carried out.
        _without_errors(await _trip(connection, ("WATCH", key), ("MULTI",), ("EXEC",), ("UNWATCH",), ("MULTI",)))
        _without_errors(await _trip(connection, *commands, ("DISCARD",)))


def is_of_wrong_type(answer: object) -> bool:
    """Whether a key held another type than the command is for."""
    return isinstance(answer, ResponseError) and str(answer).startswith("WRONGTYPE")


async def _write(connection: Any, commands: Sequence[Command]) -> bool:
    """Whether it was done: not where something that is watched had changed."""
    *_, done = _without_errors(await _trip(connection, ("MULTI",), *commands, ("EXEC",)))
    if done is None:
        return False
    if len(_without_errors(done)) != len(commands):
        raise InvalidResponse("EXEC has not done what it was given")
    return True


async def _trip(connection: Any, *commands: Command) -> list[Any]:
    """The answers to ``commands``, which are sent together; errors are among them."""
    if not connection.is_connected:
        # redis-py would connect anew, and on that connection nothing is watched.
        raise LostError("Connection closed by us.")
    await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
    answers: list[Any] = []
    for _ in commands:
        try:
            answers.append(await connection.read_response())
        except ResponseError as error:
            answers.append(error)
    return answers


def _without_errors(answers: list[Any]) -> list[Any]:
    """The answers; raises the first that is an error, which those that follow come of."""
    for answer in answers:
        if isinstance(answer, ResponseError):
            raise answer
    return answers


@asynccontextmanager
async def _held(server: Redis) -> AsyncIterator[Any]:
    pool = server.connection_pool
    connection = await pool.get_connection()  # type: ignore[no-untyped-call]
    try:
        yield connection
    except BaseException:
        # What it watches, and answers that nobody read, must not meet whoever takes it next.
        await connection.disconnect(nowait=True)
        raise
    finally:
        await asyncio.shield(pool.release(connection))
