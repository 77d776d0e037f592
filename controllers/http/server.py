"""The HTTP servers: read-only health and metrics on TCP, the owner's face on a Unix socket of mode 0600."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from controllers.drain_report import DrainReport
from controllers.status import ServiceStatus, StatusReport
from controllers.trust_report import TrustReport
from federation.model.addresses import HostPort
from federation.model.durations import parse_duration
from federation.model.errors import ConfigError, FederationError, OrderError, TrustError


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


class DrainsDesk(Protocol):
    """What may be asked and ordered about drains; what can't be done raises OrderError."""

    def report(self) -> DrainReport: ...

    def drain(self, target: str, over: timedelta, *, force: bool) -> None: ...

    def undrain(self, target: str, over: timedelta) -> None: ...

    def gateway_leaves(self, address: str) -> None: ...

    def gateway_serves(self, address: str) -> None: ...

    def sidecar_leaves(self, address: str) -> None: ...

    def sidecar_serves(self, address: str) -> None: ...


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
    drains: DrainsDesk,
) -> web.Application:
    """Status, services, trust and drains as JSON, and the requests to rotate or to taint a CA, to replace the member
    key, or to drain; gateways and sidecars say here that they are about to end.

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

    async def get_drains(_: web.Request) -> web.Response:
        return _json(drains.report())

    async def post_drain(request: web.Request) -> web.Response:
        query = request.query
        return _done(lambda: drains.drain(query.get("target", ""), _over(query), force=query.get("force") == "true"))

    async def delete_drain(request: web.Request) -> web.Response:
        query = request.query
        return _done(lambda: drains.undrain(query.get("target", ""), _over(query)))

    def on_address(order: Callable[[str], None]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            return _done(lambda: order(request.query.get("address", "")))

        return handle

    app = web.Application()
    app.add_routes(
        [
            web.get("/v1/drains", get_drains),
            web.post("/v1/drains", post_drain),
            web.delete("/v1/drains", delete_drain),
            web.post("/v1/leaving/gateways", on_address(drains.gateway_leaves)),
            web.delete("/v1/leaving/gateways", on_address(drains.gateway_serves)),
            web.post("/v1/leaving/sidecars", on_address(drains.sidecar_leaves)),
            web.delete("/v1/leaving/sidecars", on_address(drains.sidecar_serves)),
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


def _done(order: Callable[[], None]) -> web.Response:
    try:
        order()
    except OrderError as error:
        return _refusal(error)
    return _json({})


def _over(query: Mapping[str, str]) -> timedelta:
    try:
        return parse_duration(query.get("over", "0s"))
    except (ValueError, OverflowError) as error:
        raise OrderError(str(error)) from error


def _refusal(error: FederationError) -> web.Response:
    return _json({"message": str(error), "hint": error.hint}, 409)
