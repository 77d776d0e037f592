"""Open-loop load: calls at a constant rate, whatever becomes of the earlier ones, and how each kind of call is made.

Runs in the caller's process. A call that fails is a value like one that succeeds; nothing here retries, so that what
the sidecar does for its callers is what is seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp
import msgspec

from federation.demo.calls import Call, Stream
from federation.model.addresses import HostPort

_POST_BODY = b"x" * 64
_MAX_ERROR = 120


class CallError(Exception):
    """A call got an answer that is none."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A stream at a rate. ``call`` returns the name of the cluster that answered, or raises."""

    stream: Stream
    rate: float
    """Calls per second."""
    call: Callable[[], Awaitable[str]]
    limit_seconds: float = 5.0
    """How long a caller waits before it gives up; far beyond what a call may take."""


class Answer(msgspec.Struct):
    """What the sample application says of itself; it says more, which does not matter here."""

    cluster: str
    received: int


async def run_flow(
    flow: Flow,
    report: Callable[[Call], None],
    stopped: Callable[[], bool],
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Make the flow's calls until ``stopped``, then wait for those under way. Call n is due at start + n/rate."""
    start = clock()
    sent = 0
    async with asyncio.TaskGroup() as group:
        while not stopped():
            due = start + sent / flow.rate
            # A generator that was held up sends what is overdue at once; those calls count from when they were due.
            await sleep(max(0.0, due - clock()))
            group.create_task(_call(flow, due, report, clock))
            sent += 1


async def _call(flow: Flow, due: float, report: Callable[[Call], None], clock: Callable[[], float]) -> None:
    cluster, error = "", ""
    try:
        async with asyncio.timeout(flow.limit_seconds):
            cluster = await flow.call()
    except TimeoutError:
        error = f"no answer within {flow.limit_seconds:.0f} s"
    except (CallError, OSError, aiohttp.ClientError) as failure:
        # Some of these exceptions have no text of their own.
        error = (str(failure) or type(failure).__name__)[:_MAX_ERROR]
    report(Call(flow.stream, due, clock(), cluster, error))


def parse_answer(status: int, body: bytes, *, sent: int) -> str:
    """The cluster that answered an HTTP call with ``sent`` bytes; raises CallError."""
    if status != 200:
        text = " ".join(body[:_MAX_ERROR].decode(errors="replace").split())
        raise CallError(f"{status} {text}".strip())
    try:
        answer = msgspec.json.decode(body, type=Answer)
    except msgspec.MsgspecError as error:
        raise CallError(f"not the application's answer: {error}") from error
    if answer.received != sent:
        raise CallError(f"{answer.received} of {sent} bytes arrived")
    return answer.cluster


async def http_call(session: aiohttp.ClientSession, method: str, url: str) -> str:
    """One HTTP call; a POST carries a small body. Returns the answering cluster."""
    body = _POST_BODY if method == "POST" else b""
    async with session.request(method, url, data=body or None) as response:
        return parse_answer(response.status, await response.read(), sent=len(body))


async def tcp_call(address: HostPort) -> str:
    """One TCP connection: read who is there, send a line, and get it back. Returns the answering cluster."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        greeting = (await reader.readline()).decode(errors="replace").split()
        if not greeting:
            raise CallError("the connection was closed before the server said a word")
        writer.write(b"ping\n")
        if await reader.readline() != b"ping\n":
            raise CallError("the connection was closed before the line came back")
        return greeting[0]
    finally:
        writer.close()
