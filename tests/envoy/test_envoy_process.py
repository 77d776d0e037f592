"""EnvoyProcess with a real Envoy: that it comes up from our bootstrap, and what is said where it can't."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from federation.app.envoy import EnvoyProcess
from federation.app.programs import find_envoy
from federation.model.errors import MissingProgramError
from gateway.nodes import GatewayNode, Listen
from gateway.xds.bootstrap import ControlPlane, build_bootstrap, build_token_source

pytestmark = pytest.mark.envoy

HOST = "127.0.0.1"


@pytest.fixture
def envoy() -> Path:
    try:
        return find_envoy()
    except MissingProgramError as error:
        pytest.skip(str(error))


def bootstrap(directory: Path, admin_port: int) -> dict[str, object]:
    """A gateway's, whose controller does not answer."""
    source = directory / "token.json"
    source.write_text(json.dumps(build_token_source(str(directory / "token"))))
    return build_bootstrap(
        GatewayNode(Listen(HOST, 15443)),
        node_id="gateway~1",
        cluster="us-east",
        region="us",
        zone="",
        admin=Listen(HOST, admin_port),
        xds=ControlPlane(socket="nobody.sock", token_source=str(source)),
    )


@asynccontextmanager
async def running(process: EnvoyProcess) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(process.run())
        try:
            yield
        finally:
            task.cancel()


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def answers(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


async def test_it_comes_up_and_is_gone_at_the_end(envoy: Path, tmp_path: Path) -> None:
    """Envoy takes our bootstrap and serves its admin port on loopback, until it is ended."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    process = EnvoyProcess(envoy, lambda: bootstrap(tmp_path, port), tmp_path)
    async with running(process):
        await eventually(lambda: answers(port))
    assert (answers(port), process.restarts) == (False, 0)


async def test_a_port_in_use_is_told_in_envoys_words(envoy: Path, tmp_path: Path) -> None:
    """The reason of the end is the one line that matters."""
    with socket.create_server((HOST, 0)) as taken, capture_logs() as logs:
        port = taken.getsockname()[1]
        async with running(EnvoyProcess(envoy, lambda: bootstrap(tmp_path, port), tmp_path)):
            await eventually(lambda: bool(logs))
    assert logs[0]["reason"] == f"cannot bind '{HOST}:{port}': Address already in use"


async def test_a_bootstrap_that_envoy_refuses_is_told(envoy: Path, tmp_path: Path) -> None:
    """Envoy prints a bootstrap that it can't parse as a whole; we say why it was refused."""
    broken = {**bootstrap(tmp_path, 15000), "node": "no object"}
    with capture_logs() as logs:
        async with running(EnvoyProcess(envoy, lambda: broken, tmp_path)):
            await eventually(lambda: bool(logs))
    assert "Unable to parse JSON as proto" in logs[0]["reason"]
