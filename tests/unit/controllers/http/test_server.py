"""The HTTP servers, asked over their real sockets."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Gauge

from controllers.http.server import owner_app, public_app, serve_tcp, serve_unix
from controllers.status import ServiceStatus, StatusReport
from federation.model.addresses import HostPort
from federation.model.errors import ConfigError
from support.reports import status_report

REPORT = status_report(ready=False, exchange_synced=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Program:
    """What the servers ask: readiness, status, and the rotation they may request."""

    def __init__(self) -> None:
        self.readiness = (False, "waiting for the first whole read of the manifests")
        self.rotations = 0

    def ready(self) -> tuple[bool, str]:
        return self.readiness

    def status(self) -> StatusReport:
        return REPORT

    def services(self) -> tuple[ServiceStatus, ...]:
        return ()

    def rotate(self) -> None:
        self.rotations += 1


@pytest.fixture
def program() -> Program:
    return Program()


@asynccontextmanager
async def public(program: Program) -> AsyncIterator[aiohttp.ClientSession]:
    registry = CollectorRegistry()
    Gauge("answer", "an answer", registry=registry).set(42)
    listen = HostPort("127.0.0.1", free_port())
    async with (
        serve_tcp(public_app(program.ready, registry), listen),
        aiohttp.ClientSession(f"http://{listen}") as session,
    ):
        yield session


@asynccontextmanager
async def owner(program: Program, path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        serve_unix(owner_app(program.status, program.services, program.rotate), path),
        aiohttp.ClientSession("http://owner", connector=aiohttp.UnixConnector(str(path))) as session,
    ):
        yield session


async def test_health_says_only_that_the_process_turns(program: Program) -> None:
    """A controller that waits for its peers is healthy: restarting it would help nobody."""
    async with public(program) as client, client.get("/healthz") as answer:
        assert (answer.status, await answer.text()) == (200, "ok\n")


async def test_readiness_names_what_is_missing(program: Program) -> None:
    """Not ready is 503 with the reason, ready is 200."""
    async with public(program) as client:
        async with client.get("/readyz") as answer:
            assert (answer.status, await answer.text()) == (503, f"{program.readiness[1]}\n")
        program.readiness = (True, "ok")
        async with client.get("/readyz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")


async def test_metrics_are_prometheus_text(program: Program) -> None:
    """The metrics come in the text format, with its content type."""
    async with public(program) as client, client.get("/metrics") as answer:
        assert "answer 42.0" in (await answer.text()).splitlines()
        assert answer.headers["Content-Type"].startswith("text/plain; version=")


@pytest.mark.parametrize("path", ["/v1/status", "/v1/services", "/v1/rotations/ca"])
async def test_the_owners_face_is_not_on_the_network(program: Program, path: str) -> None:
    """What the Unix socket answers does not exist on TCP."""
    async with public(program) as client:
        async with client.get(path) as answer:
            assert answer.status == 404
        async with client.post(path) as answer:
            assert answer.status == 404
    assert program.rotations == 0


async def test_the_network_may_only_read(program: Program) -> None:
    """No public path takes anything but a reading."""
    async with public(program) as client:
        for path in ("/healthz", "/readyz", "/metrics"):
            async with client.post(path) as answer:
                assert answer.status == 405


async def test_status_and_services_are_json(program: Program, tmp_path: Path) -> None:
    """The owner reads the report and the imported services."""
    async with owner(program, tmp_path / "admin.sock") as client:
        async with client.get("/v1/status") as answer:
            assert (await answer.json())["exchangeSynced"] is False
        async with client.get("/v1/services") as answer:
            assert await answer.json() == []


async def test_a_rotation_is_asked_for_by_post_only(program: Program, tmp_path: Path) -> None:
    """Reading the path rotates nothing; one POST asks for one rotation."""
    async with owner(program, tmp_path / "admin.sock") as client:
        async with client.get("/v1/rotations/ca") as answer:
            assert (answer.status, program.rotations) == (405, 0)
        async with client.post("/v1/rotations/ca") as answer:
            assert (answer.status, program.rotations) == (200, 1)


async def test_only_the_owner_may_open_the_socket(program: Program, tmp_path: Path) -> None:
    """The socket has mode 0600, and one that a dead process left is replaced."""
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with owner(program, path) as client, client.get("/v1/status") as answer:
        assert (answer.status, oct(path.stat().st_mode & 0o777)) == (200, "0o600")


async def test_an_address_that_is_taken_is_an_error_of_the_configuration(program: Program) -> None:
    """The message names the address; the program that has it is not disturbed."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = HostPort("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(ConfigError, match=f"http cannot listen on {listen}"):
            async with serve_tcp(public_app(program.ready, CollectorRegistry()), listen):
                pytest.fail("it listens all the same")
