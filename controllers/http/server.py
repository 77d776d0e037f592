"""The HTTP servers: read-only health and metrics on TCP, the owner's face on a Unix socket of mode 0600."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from controllers.status import ServiceStatus, StatusReport
from controllers.trust_report import TrustReport
from federation.model.addresses import HostPort
from federation.model.errors import ConfigError, TrustError


class TrustDesk(Protocol):
    """What may be asked about trust, and ordered."""

    def report(self) -> TrustReport: ...

    def rotate(self, *, urgent: bool) -> None:
        """Begin a rotation of the CA; raises TrustError where it is elsewhere."""
        ...

    def taint(self, name: str | None) -> str:
        """Have a CA replaced and distrusted, by default the one that signs; returns its id. Raises TrustError where
        ``name`` is none of this cluster's."""
        ...


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
    trust: TrustDesk,
    rekey: Callable[[], None],
) -> web.Application:
    """Status, services and trust as JSON, and the requests to rotate or to taint a CA, or to replace the member key.

    Whoever may open the socket may ask; what can't be done is answered with 409, its reason and the next step.
    """

    async def get_status(_: web.Request) -> web.Response:
        return _json(status())

    async def get_services(_: web.Request) -> web.Response:
        return _json(services())

    async def get_trust(_: web.Request) -> web.Response:
        return _json(trust.report())

    async def post_rotation(request: web.Request) -> web.Response:
        try:
            trust.rotate(urgent=request.query.get("now") == "true")
        except TrustError as error:
            return _refusal(error)
        return _json({})

    async def post_taint(request: web.Request) -> web.Response:
        try:
            return _json({"authority": trust.taint(request.query.get("authority"))})
        except TrustError as error:
            return _refusal(error)

    async def post_member_key(_: web.Request) -> web.Response:
        rekey()
        return _json({})

    app = web.Application()
    app.add_routes(
        [
            web.get("/v1/status", get_status),
            web.get("/v1/services", get_services),
            web.get("/v1/trust", get_trust),
            web.post("/v1/rotations/ca", post_rotation),
            web.post("/v1/rotations/member-key", post_member_key),
            web.post("/v1/taints", post_taint),
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


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def _refusal(error: TrustError) -> web.Response:
    return _json({"message": str(error), "hint": error.hint}, 409)
