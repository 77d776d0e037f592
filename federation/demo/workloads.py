"""The sample application of the demo: HTTP and TCP services that answer with the name of their cluster and pod.

Runs as a process of its own (``python -P -m federation.demo.workloads``), one per pod, beside the pod's sidecar. It
knows nothing of the federation: what it speaks is plain HTTP/1.1 and plain TCP.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

from aiohttp import web

from federation.app.signals import run_until_signal
from federation.model.addresses import HostPort, parse_host_port

MAX_DELAY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Listening:
    """One port of the application."""

    service: str
    listen: HostPort
    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Workload:
    """One application process."""

    cluster: str
    pod: str
    http: tuple[Listening, ...] = ()
    tcp: tuple[Listening, ...] = ()


def build_http(workload: Workload, port: Listening) -> web.Application:
    """An HTTP service: any path answers who it is, after ``?delay=SECONDS`` or the port's own; ``/healthz`` at once."""

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        try:
            delay = float(request.query.get("delay", port.delay_seconds))
        except ValueError:
            return web.json_response({"error": "delay is not a number of seconds"}, status=400)
        if not 0 <= delay <= MAX_DELAY_SECONDS:
            return web.json_response({"error": f"delay is not within 0 and {MAX_DELAY_SECONDS:.0f}"}, status=400)
        if delay:
            await asyncio.sleep(delay)
        return web.json_response(
            {
                "cluster": workload.cluster,
                "pod": workload.pod,
                "service": port.service,
                "method": request.method,
                "path": request.path,
                "received": len(body),
            }
        )

    async def healthy(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    application = web.Application()
    application.router.add_get("/healthz", healthy)
    application.router.add_route("*", "/{path:.*}", answer)
    return application


async def serve_tcp(workload: Workload, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A TCP service: says ``CLUSTER POD`` in a first line, then gives back every line that it gets."""
    with suppress(ConnectionError, asyncio.LimitOverrunError, ValueError):
        writer.write(f"{workload.cluster} {workload.pod}\n".encode())
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
    writer.close()


async def serve(workload: Workload) -> None:
    """Serve every port until cancelled."""
    async with AsyncExitStack() as stack:
        for port in workload.http:
            runner = web.AppRunner(build_http(workload, port), access_log=None)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, port.listen.host, port.listen.port, reuse_address=True).start()
        for port in workload.tcp:
            server = await asyncio.start_server(
                lambda reader, writer: serve_tcp(workload, reader, writer), port.listen.host, port.listen.port
            )
            stack.callback(server.close)
        await asyncio.Event().wait()


def parse_arguments(arguments: Sequence[str]) -> Workload:
    """Read the command line; exits with a usage message where it is wrong."""
    parser = argparse.ArgumentParser(prog="python -P -m federation.demo.workloads", description=__doc__)
    parser.add_argument("--cluster", required=True)
    parser.add_argument("--pod", required=True)
    parser.add_argument("--http", action="append", default=[], type=_listening, metavar="NAME=IP:PORT[+DELAY]")
    parser.add_argument("--tcp", action="append", default=[], type=_listening, metavar="NAME=IP:PORT")
    given = parser.parse_args(arguments)
    return Workload(given.cluster, given.pod, tuple(given.http), tuple(given.tcp))


def _listening(text: str) -> Listening:
    service, _, rest = text.partition("=")
    address, _, delay = rest.partition("+")
    return Listening(service, parse_host_port(address), float(delay or 0))


def main(arguments: Sequence[str] | None = None) -> None:
    asyncio.run(run_until_signal(serve(parse_arguments(arguments or []))))


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
