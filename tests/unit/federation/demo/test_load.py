"""Load: an open loop at a constant rate, and calls that tell who answered."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from federation.demo.calls import Call, Stream
from federation.demo.load import CallError, Flow, http_call, parse_answer, run_flow, tcp_call
from federation.model.addresses import HostPort


class FakeTime:
    """Time that passes only by sleeping; ``lost`` is added to the next sleep, as by a machine that stalls."""

    def __init__(self) -> None:
        self.now = 50.0
        self.lost = 0.0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        # The calls that were sent before go on first.
        for _ in range(10):
            await asyncio.sleep(0)
        self.now += seconds + self.lost
        self.lost = 0.0


async def run(flow: Flow, time: FakeTime, *, calls: int) -> list[Call]:
    sent = 0

    def stopped() -> bool:
        nonlocal sent
        sent += 1
        return sent > calls

    found: list[Call] = []
    await run_flow(flow, found.append, stopped, clock=time.clock, sleep=time.sleep)
    return sorted(found, key=lambda call: call.due)


async def answer() -> str:
    return "us-east"


async def test_calls_are_due_at_a_constant_rate() -> None:
    """Call n is due at start + n/rate."""
    found = await run(Flow(Stream.GET, 4.0, answer), FakeTime(), calls=5)
    assert [call.due for call in found] == [50.0, 50.25, 50.5, 50.75, 51.0]
    assert {call.cluster for call in found} == {"us-east"}


async def test_a_stall_does_not_flatter_the_latency() -> None:
    """Calls that a stall holds up are all made, and each counts from when it was due."""
    time = FakeTime()
    time.lost = 1.0
    found = await run(Flow(Stream.GET, 4.0, answer), time, calls=6)
    assert [call.due for call in found] == [50.0, 50.25, 50.5, 50.75, 51.0, 51.25]
    assert [call.seconds for call in found] == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]


async def test_slow_answers_don_t_hold_up_the_next_calls() -> None:
    """The loop is open: calls go out while the earlier ones still wait."""
    time = FakeTime()
    waiting = asyncio.Event()
    begun = 0

    async def stuck() -> str:
        nonlocal begun
        begun += 1
        if begun == 3:
            waiting.set()
        await waiting.wait()
        return "us-east"

    assert len(await run(Flow(Stream.GET, 4.0, stuck), time, calls=3)) == 3


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (CallError("503 no healthy upstream"), "503 no healthy upstream"),
        (ConnectionResetError(), "ConnectionResetError"),
        (aiohttp.ServerDisconnectedError(), "Server disconnected"),
    ],
)
async def test_a_failed_call_says_why(failure: Exception, text: str) -> None:
    """Whatever a call raises becomes a failed call with a few words."""

    async def fail() -> str:
        raise failure

    found = await run(Flow(Stream.GET, 4.0, fail), FakeTime(), calls=1)
    assert [(call.failed, call.error, call.cluster) for call in found] == [(True, text, "")]


async def test_a_caller_gives_up() -> None:
    """A call without an answer fails after the flow's limit."""

    async def never() -> str:
        await asyncio.Event().wait()
        raise AssertionError

    found = await run(Flow(Stream.GET, 4.0, never, limit_seconds=0.01), FakeTime(), calls=1)
    assert [call.error for call in found] == ["no answer within 0 s"]


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (503, b"upstream connect error\n", "503 upstream connect error"),
        (503, b"", "503"),
        (200, b"hello", "not the application's answer"),
        (200, b'{"cluster": "us-east", "received": 3}', "3 of 64 bytes arrived"),
    ],
)
def test_an_answer_that_is_none(status: int, body: bytes, text: str) -> None:
    """Only 200 with the application's own words, and all our bytes in its hands, is an answer."""
    with pytest.raises(CallError, match=text):
        parse_answer(status, body, sent=64)


async def test_a_post_carries_bytes() -> None:
    """A GET has no body, a POST has one, and the application has to say that it got it."""
    seen: list[tuple[str, int]] = []

    async def handle(request: web.Request) -> web.Response:
        body = await request.read()
        seen.append((request.method, len(body)))
        return web.Response(text=json.dumps({"cluster": "eu-west", "received": len(body)}))

    application = web.Application()
    application.router.add_route("*", "/", handle)
    async with TestServer(application) as server, aiohttp.ClientSession() as session:
        url = str(server.make_url("/"))
        assert [await http_call(session, method, url) for method in ("GET", "POST")] == ["eu-west", "eu-west"]
    assert seen == [("GET", 0), ("POST", 64)]


@pytest.mark.parametrize(
    ("greeting", "echo", "text"),
    [
        (b"us-west backend-1\n", True, None),
        (b"", False, "before the server said a word"),
        (b"us-west backend-1\n", False, "before the line came back"),
    ],
)
async def test_a_tcp_call_needs_greeting_and_echo(greeting: bytes, echo: bool, text: str | None) -> None:
    """A connection that dies at any point is a failed call; one that lives tells who answered."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        if echo:
            writer.write(await reader.readline())
        elif greeting:
            await reader.readline()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        address = HostPort(*server.sockets[0].getsockname())
        if text is None:
            assert await tcp_call(address) == "us-west"
        else:
            with pytest.raises(CallError, match=text):
                await tcp_call(address)
