"""Sample applications behind the sidecars, as a program: ``python -m support.apps NAME HOST KIND:PORT ...``.

Kinds: ``http`` (HTTP/1.1 and WebSocket), ``slow`` (the same, each answer takes 2 s), ``busy`` (the same, 0.2 s),
``late`` (500 ms), ``failing`` (every tenth answer is a 503), ``h2c`` (HTTP/2 with prior knowledge), ``grpc``, ``tcp``.
Every answer names the application.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc.aio
from aiohttp import WSMsgType, web

from support import h2c

SLOW_SECONDS = 2.0
BUSY_SECONDS = 0.2
LATE_SECONDS = 0.5
FAILING_ONE_IN = 10
UNARY = "/echo.Echo/Unary"
STREAM = "/echo.Echo/Stream"
MEGABYTE = bytes(range(256)) * 4096


def web_app(name: str, seconds: float, failing_one_in: int = 0) -> web.Application:
    """Answers every request with what it saw, and how many it was answering when that came; echoes WebSocket messages
    on ``/ws``; ``/healthz`` is always quick.

    ``/take`` says how much it was sent, without holding it, and ``/give/N`` sends N times MEGABYTE. ``failing_one_in``:
    one in so many answers is a 503 instead; 0: none.
    """
    in_flight = count = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal in_flight, count
        in_flight += 1
        count += 1
        fails, found = failing_one_in and count % failing_one_in == 0, in_flight
        try:
            await asyncio.sleep(seconds)
        finally:
            in_flight -= 1
        if fails:
            return web.Response(status=503, text=f"{name} fails")
        seen = {
            "app": name,
            "in_flight": found,
            "method": request.method,
            "path": request.path_qs,
            "body": await request.text(),
            "headers": {key.lower(): value for key, value in request.headers.items()},
        }
        return web.json_response(seen)

    async def take(request: web.Request) -> web.Response:
        count, digest = 0, hashlib.sha256()
        async for data in request.content.iter_any():
            count += len(data)
            digest.update(data)
        return web.json_response({"app": name, "bytes": count, "sha256": digest.hexdigest()})

    async def give(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/octet-stream"})
        await response.prepare(request)
        for _ in range(int(request.match_info["megabytes"])):
            await response.write(MEGABYTE)
        return response

    async def health(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def socket(request: web.Request) -> web.WebSocketResponse:
        found = web.WebSocketResponse()
        await found.prepare(request)
        async for message in found:
            if message.type is WSMsgType.TEXT:
                await found.send_str(f"{name}: {message.data}")
        return found

    app = web.Application()
    app.add_routes(
        [
            web.get("/healthz", health),
            web.get("/ws", socket),
            web.post("/take", take),
            web.get("/give/{megabytes:[0-9]+}", give),
            web.route("*", "/{any:.*}", answer),
        ]
    )
    return app


async def serve_web(
    name: str, host: str, port: int, seconds: float, failing_one_in: int = 0
) -> Callable[[], Awaitable[None]]:
    runner = web.AppRunner(web_app(name, seconds, failing_one_in), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner.cleanup


async def serve_grpc(name: str, host: str, port: int) -> Callable[[], Awaitable[None]]:
    """Messages are raw bytes; each is answered with the application's name before it."""

    async def unary(message: bytes, _: object) -> bytes:
        return f"{name}: ".encode() + message

    async def stream(messages: AsyncIterator[bytes], _: object) -> AsyncIterator[bytes]:
        async for message in messages:
            yield f"{name}: ".encode() + message

    server = grpc.aio.server()
    service, _, _ = UNARY[1:].partition("/")
    methods = {
        UNARY.rpartition("/")[2]: grpc.unary_unary_rpc_method_handler(unary),
        STREAM.rpartition("/")[2]: grpc.stream_stream_rpc_method_handler(stream),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, methods)])
    server.add_insecure_port(f"{host}:{port}")
    await server.start()

    async def stop() -> None:
        await server.stop(0.1)

    return stop


async def serve_tcp(name: str, host: str, port: int) -> Callable[[], Awaitable[None]]:
    """Echoes what comes; once the client has sent its last, says who it was and how much came, and ends."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        count = 0
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                count += len(data)
                writer.write(data)
                await writer.drain()
            writer.write(f"|{name} {count}".encode())
            await writer.drain()
        writer.close()

    return _closing(await asyncio.start_server(echo, host, port))


async def serve_h2c(name: str, host: str, port: int) -> Callable[[], Awaitable[None]]:
    handler = h2c.server(lambda body: json.dumps({"app": name, "body": body.decode()}).encode())
    return _closing(await asyncio.start_server(handler, host, port))


def _closing(server: asyncio.Server) -> Callable[[], Awaitable[None]]:
    async def stop() -> None:
        server.close()

    return stop


async def serve(name: str, host: str, kind: str, port: int) -> Callable[[], Awaitable[None]]:
    """Start one server; returns how to stop it."""
    match kind:
        case "http":
            return await serve_web(name, host, port, 0.0)
        case "slow":
            return await serve_web(name, host, port, SLOW_SECONDS)
        case "busy":
            return await serve_web(name, host, port, BUSY_SECONDS)
        case "late":
            return await serve_web(name, host, port, LATE_SECONDS)
        case "failing":
            return await serve_web(name, host, port, 0.0, FAILING_ONE_IN)
        case "h2c":
            return await serve_h2c(name, host, port)
        case "grpc":
            return await serve_grpc(name, host, port)
        case "tcp":
            return await serve_tcp(name, host, port)
    raise ValueError(f"no application of kind {kind!r}")


async def main(name: str, host: str, *served: str) -> None:
    """Serve until SIGTERM."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    stops = []
    for item in served:
        kind, _, port = item.partition(":")
        stops.append(await serve(name, host, kind, int(port)))
    await ended.wait()
    for stop in stops:
        await stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
