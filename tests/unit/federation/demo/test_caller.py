"""The caller: its command line, and what it calls at which rate."""

from __future__ import annotations

import aiohttp

from federation.demo.caller import Targets, arguments_of, flows, parse_arguments
from federation.demo.calls import Stream
from federation.model.addresses import HostPort

TARGETS = Targets(*(HostPort("127.10.1.100", port) for port in (8001, 8002, 8003, 9001)))


def test_command_line_round_trip() -> None:
    """What the demo writes on the command line is what the process reads."""
    assert parse_arguments(arguments_of(TARGETS, 200.0)) == (TARGETS, 200.0)


async def test_the_load() -> None:
    """GETs of echo have the asked rate; every other stream is there, and slow answers are waited for."""
    async with aiohttp.ClientSession() as session:
        found = {flow.stream: flow for flow in flows(session, TARGETS, 150.0)}
    assert set(found) == set(Stream)
    assert found[Stream.GET].rate == 150.0
    assert found[Stream.SLOW].limit_seconds > found[Stream.GET].limit_seconds
