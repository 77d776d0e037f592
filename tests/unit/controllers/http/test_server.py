"""The HTTP servers, asked over their real sockets."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import aiohttp
import msgspec
import pytest
from prometheus_client import CollectorRegistry, Gauge

from controllers.drain_report import DrainReport
from controllers.http.server import owner_app, public_app, serve_tcp, serve_unix
from controllers.status import ServiceStatus, StatusReport
from controllers.trust_report import TrustReport
from federation.model.addresses import HostPort
from federation.model.errors import ConfigError, OrderError, TrustError
from support.drain_reports import drain_report
from support.reports import status_report
from support.trust_reports import trust_report

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
        self.urgent = 0
        self.rekeyed = 0
        self.tainted: list[str | None] = []
        self.elsewhere = False
        self.drains = Drains()

    def ready(self) -> tuple[bool, str]:
        return self.readiness

    def status(self) -> StatusReport:
        return REPORT

    def services(self) -> tuple[ServiceStatus, ...]:
        return ()

    def report(self) -> TrustReport:
        return trust_report()

    def rotate(self, *, urgent: bool) -> None:
        if self.elsewhere:
            raise TrustError("the CA is elsewhere", hint="rotate it there")
        self.rotations += 1
        self.urgent += urgent

    def rekey(self) -> None:
        self.rekeyed += 1

    def taint(self, name: str | None) -> str:
        if self.elsewhere:
            raise TrustError("the CA is elsewhere", hint="revoke it there")
        self.tainted.append(name)
        return name or "signing"


class Drains:
    """What is ordered of it."""

    def __init__(self) -> None:
        self.orders: list[tuple[object, ...]] = []

    def report(self) -> DrainReport:
        return drain_report()

    def drain(self, target: str, over: timedelta, *, force: bool) -> None:
        if target == "west":
            raise OrderError("west is another cluster", hint="run it there")
        self.orders.append(("drain", target, over, force))

    def undrain(self, target: str, over: timedelta) -> None:
        self.orders.append(("undrain", target, over))

    def gateway_leaves(self, address: str) -> None:
        self.orders.append(("gateway leaves", address))

    def gateway_serves(self, address: str) -> None:
        self.orders.append(("gateway serves", address))

    def sidecar_leaves(self, address: str) -> None:
        self.orders.append(("sidecar leaves", address))

    def sidecar_serves(self, address: str) -> None:
        self.orders.append(("sidecar serves", address))


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
        serve_unix(owner_app(program.status, program.services, program, program.rekey, program.drains), path),
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


@pytest.mark.parametrize(
    "path", ["/v1/status", "/v1/services", "/v1/trust", "/v1/rotations/ca", "/v1/rotations/member-key", "/v1/taints"]
)
async def test_the_owners_face_is_not_on_the_network(program: Program, path: str) -> None:
    """What the Unix socket answers does not exist on TCP."""
    async with public(program) as client:
        async with client.get(path) as answer:
            assert answer.status == 404
        async with client.post(path) as answer:
            assert answer.status == 404
    assert (program.rotations, program.tainted) == (0, [])


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
        async with client.get("/v1/trust") as answer:
            assert msgspec.json.decode(await answer.read(), type=TrustReport) == trust_report()


async def test_a_rotation_is_asked_for_by_post_only(program: Program, tmp_path: Path) -> None:
    """Reading the path rotates nothing; one POST asks for one rotation."""
    async with owner(program, tmp_path / "admin.sock") as client:
        async with client.get("/v1/rotations/ca") as answer:
            assert (answer.status, program.rotations) == (405, 0)
        async with client.post("/v1/rotations/ca") as answer:
            assert (answer.status, program.rotations, program.urgent) == (200, 1, 0)
        async with client.post("/v1/rotations/ca?now=true") as answer:
            assert (answer.status, program.rotations, program.urgent) == (200, 2, 1)


async def test_another_member_key_is_asked_for(program: Program, tmp_path: Path) -> None:
    """One POST asks for one change of the key."""
    async with owner(program, tmp_path / "admin.sock") as client, client.post("/v1/rotations/member-key") as answer:
        assert (answer.status, program.rekeyed) == (200, 1)


async def test_a_ca_is_tainted_by_its_name(program: Program, tmp_path: Path) -> None:
    """By default it is the one that signs; the answer names it."""
    async with owner(program, tmp_path / "admin.sock") as client:
        async with client.post("/v1/taints") as answer:
            assert await answer.json() == {"authority": "signing"}
        async with client.post("/v1/taints?authority=abc") as answer:
            assert await answer.json() == {"authority": "abc"}
    assert program.tainted == [None, "abc"]


async def test_what_cannot_be_done_is_answered_with_reason_and_next_step(program: Program, tmp_path: Path) -> None:
    """A cluster whose CA is elsewhere refuses to rotate and to taint it."""
    program.elsewhere = True
    async with owner(program, tmp_path / "admin.sock") as client:
        async with client.post("/v1/rotations/ca") as answer:
            assert answer.status == 409
            assert await answer.json() == {"message": "the CA is elsewhere", "hint": "rotate it there"}
        async with client.post("/v1/taints") as answer:
            assert (answer.status, (await answer.json())["hint"]) == (409, "revoke it there")


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


async def test_drains_are_ordered_undone_and_reported(program: Program, tmp_path: Path) -> None:
    """Each order arrives with what it is of; a duration that is none is refused."""
    async with owner(program, tmp_path / "admin.sock") as client:
        async with client.get("/v1/drains") as answer:
            assert msgspec.json.decode(await answer.read(), type=DrainReport) == drain_report()
        for method, path in (
            ("POST", "/v1/drains?target=east&over=5m&force=true"),
            ("DELETE", "/v1/drains?target=east"),
            ("POST", "/v1/leaving/gateways?address=192.0.2.1:15443"),
            ("DELETE", "/v1/leaving/gateways?address=192.0.2.1:15443"),
            ("POST", "/v1/leaving/sidecars?address=10.0.0.1:15006"),
            ("DELETE", "/v1/leaving/sidecars?address=10.0.0.1:15006"),
        ):
            async with client.request(method, path) as answer:
                assert answer.status == 200
        for path in ("/v1/drains?target=west", "/v1/drains?target=east&over=soon"):
            async with client.post(path) as answer:
                assert answer.status == 409
    assert program.drains.orders == [
        ("drain", "east", timedelta(minutes=5), True),
        ("undrain", "east", timedelta(0)),
        ("gateway leaves", "192.0.2.1:15443"),
        ("gateway serves", "192.0.2.1:15443"),
        ("sidecar leaves", "10.0.0.1:15006"),
        ("sidecar serves", "10.0.0.1:15006"),
    ]
