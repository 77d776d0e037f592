"""The HTTP servers: read-only health and metrics on TCP, the owner's face on a Unix socket of mode 0600."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from controllers.status import ServiceStatus, StatusReport
from federation.model.addresses import HostPort
from federation.model.errors import ConfigError


def public_app(ready: Callable[[], tuple[bool, str]], registry: CollectorRegistry) -> web.Application:
    """``/healthz`` (the process turns), ``/readyz`` (with what is missing) and ``/metrics``."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        good, reason = ready()
        return web.Response(text=f"{reason}\n", status=200 if good else 503)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    return app


def owner_app(
    status: Callable[[], StatusReport],
    services: Callable[[], Sequence[ServiceStatus]],
    rotate_ca: Callable[[], None],
) -> web.Application:
    """Status and services as JSON, and the request to rotate the CA. Whoever may open the socket may ask."""

    async def get_status(_: web.Request) -> web.Response:
        return _json(status())

    async def get_services(_: web.Request) -> web.Response:
        return _json(services())

    async def post_rotation(_: web.Request) -> web.Response:
        rotate_ca()
        return _json({})

    app = web.Application()
    app.add_routes(
        [
            web.get("/v1/status", get_status),
            web.get("/v1/services", get_services),
            web.post("/v1/rotations/ca", post_rotation),
        ]
    )
    return app


@asynccontextmanager
async def serve_tcp(app: web.Application, listen: HostPort) -> AsyncIterator[None]:
    """Serve ``app`` while the context lasts; raises ConfigError where the address can't be had."""
    async with _runner(app) as runner:
        try:
            await web.TCPSite(runner, listen.host, listen.port).start()
        except OSError as error:
            raise ConfigError(f"http cannot listen on {listen}: {error.strerror}") from error
        yield


@asynccontextmanager
async def serve_unix(app: web.Application, path: Path) -> AsyncIterator[None]:
    """Serve ``app`` on a socket that only its owner can open; its directory must be private already."""
    async with _runner(app) as runner:
        await web.UnixSite(runner, str(path)).start()
        path.chmod(0o600)
        yield


@asynccontextmanager
async def _runner(app: web.Application) -> AsyncIterator[web.AppRunner]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        yield runner
    finally:
        await runner.cleanup()


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
