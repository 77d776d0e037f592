"""The calling application of the demo: makes the steady load through its sidecar's local ports.

Runs as a process of its own (``python -P -m federation.demo.caller``) so that nothing the demo does (starting
processes, drawing its table) shows in the latencies. Writes one JSON line per finished call to its standard output;
ends cleanly on SIGTERM, after the calls under way.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

import aiohttp
import msgspec

from federation.demo.calls import Call, Stream
from federation.demo.load import Flow, http_call, run_flow, tcp_call
from federation.model.addresses import HostPort, parse_host_port

_POSTS_PER_SECOND = 10.0
_BILLING_PER_SECOND = 10.0
_SLOW_PER_SECOND = 3.0
_TCP_PER_SECOND = 10.0
_SLOW_LIMIT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Targets:
    """Local ports of the caller's sidecar."""

    echo: HostPort
    slow: HostPort
    billing: HostPort
    ledger: HostPort


def arguments_of(targets: Targets, rate: float) -> list[str]:
    """The command line that ``parse_arguments`` reads back."""
    return [
        *(f"--{name}={getattr(targets, name)}" for name in ("echo", "slow", "billing", "ledger")),
        f"--rate={rate}",
    ]


def parse_arguments(arguments: Sequence[str]) -> tuple[Targets, float]:
    """Read the command line; exits with a usage message where it is wrong."""
    parser = argparse.ArgumentParser(prog="python -P -m federation.demo.caller", description=__doc__)
    for name in ("echo", "slow", "billing", "ledger"):
        parser.add_argument(f"--{name}", required=True, type=parse_host_port, metavar="IP:PORT")
    parser.add_argument("--rate", type=float, required=True, help="GETs of echo per second")
    given = parser.parse_args(arguments)
    return Targets(given.echo, given.slow, given.billing, given.ledger), given.rate


def flows(session: aiohttp.ClientSession, targets: Targets, rate: float) -> tuple[Flow, ...]:
    """The load: ``rate`` GETs of echo a second, and a few calls of every other kind."""
    echo, slow, billing = (f"http://{address}/" for address in (targets.echo, targets.slow, targets.billing))
    return (
        Flow(Stream.GET, rate, partial(http_call, session, "GET", echo)),
        Flow(Stream.POST, _POSTS_PER_SECOND, partial(http_call, session, "POST", echo)),
        Flow(Stream.BILLING, _BILLING_PER_SECOND, partial(http_call, session, "GET", billing)),
        Flow(Stream.SLOW, _SLOW_PER_SECOND, partial(http_call, session, "GET", slow), _SLOW_LIMIT_SECONDS),
        Flow(Stream.TCP, _TCP_PER_SECOND, partial(tcp_call, targets.ledger)),
    )


async def run(targets: Targets, rate: float, output: BinaryIO) -> None:
    """Call until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    encoder = msgspec.json.Encoder()

    def report(call: Call) -> None:
        output.write(encoder.encode(call) + b"\n")
        output.flush()

    # No limit of our own: an open loop has as many connections as there are calls under way.
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
        for flow in flows(session, targets, rate):
            group.create_task(run_flow(flow, report, stopped.is_set, clock=loop.time))


def main(arguments: Sequence[str]) -> None:
    targets, rate = parse_arguments(arguments)
    asyncio.run(run(targets, rate, sys.stdout.buffer))


if __name__ == "__main__":
    main(sys.argv[1:])
