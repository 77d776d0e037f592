"""The sample application: answers with its name, over HTTP and TCP."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from federation.demo.load import http_call, tcp_call
from federation.demo.workloads import Listening, Workload, build_http, parse_arguments, serve_tcp
from federation.model.addresses import HostPort

ECHO = Listening("echo", HostPort("127.0.0.1", 8080))
WORKLOAD = Workload("us-west", "backend-2", http=(ECHO,))


async def test_http_says_who_answers() -> None:
    """Any path and method is answered with cluster, pod, service and what arrived."""
    async with TestServer(build_http(WORKLOAD, ECHO)) as server, aiohttp.ClientSession() as session:
        async with session.post(server.make_url("/orders/7"), data=b"abc") as response:
            assert json.loads(await response.read()) == {
                "cluster": "us-west",
                "pod": "backend-2",
                "service": "echo",
                "method": "POST",
                "path": "/orders/7",
                "received": 3,
            }
        assert await http_call(session, "GET", str(server.make_url("/"))) == "us-west"


@pytest.mark.parametrize("delay", ["soon", "-1", "nan", "61"])
async def test_a_delay_is_judged(delay: str) -> None:
    """A delay that is no number of seconds within bounds is refused, not slept."""
    async with (
        TestServer(build_http(WORKLOAD, ECHO)) as server,
        aiohttp.ClientSession() as session,
        session.get(server.make_url("/"), params={"delay": delay}) as response,
    ):
        assert response.status == 400


async def test_a_slow_service_is_healthy_at_once() -> None:
    """The health path does not wait for the delay of the service."""
    slow = Listening("slow", ECHO.listen, delay_seconds=30.0)
    async with (
        asyncio.timeout(20),
        TestServer(build_http(WORKLOAD, slow)) as server,
        aiohttp.ClientSession() as session,
        session.get(server.make_url("/healthz")) as response,
    ):
        assert response.status == 200


async def test_tcp_says_who_answers_and_gives_back_lines() -> None:
    """A connection begins with cluster and pod, then echoes."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve_tcp(WORKLOAD, reader, writer)
        await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, asyncio.timeout(20):
        assert await tcp_call(HostPort(*server.sockets[0].getsockname())) == "us-west"
        await ended.wait()


def test_arguments() -> None:
    """Ports come as NAME=IP:PORT, with a delay behind a plus sign."""
    assert parse_arguments(
        ["--cluster=c", "--pod=p", "--http=echo=127.0.0.1:80", "--http=slow=127.0.0.1:81+2.0", "--tcp=l=127.0.0.1:90"]
    ) == Workload(
        "c",
        "p",
        (Listening("echo", HostPort("127.0.0.1", 80)), Listening("slow", HostPort("127.0.0.1", 81), 2.0)),
        (Listening("l", HostPort("127.0.0.1", 90)),),
    )
