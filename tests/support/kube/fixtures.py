"""The fixtures of tests that need an API server, as a pytest plugin; tests/conftest.py loads it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from support.kube.plane import (
    ASSETS,
    REAL,
    STAND_IN,
    Plane,
    assets,
    plane_of,
    told_servers,
)
from support.kube.real import RealServer, real_server
from support.kube.server import StandIn, multicluster_definitions, running
from support.kube.services import CLUSTER_IPS


@pytest.fixture
async def api_server() -> AsyncIterator[StandIn]:
    """A stand-in of a cluster's API server with the CRDs of the MCS API; ``running`` starts more of them."""
    async with running() as server:
        yield server


def found_assets() -> Path:
    """Where the programs are; the test is skipped, with the reason, where there are none."""
    programs = assets()
    if programs is None:
        pytest.skip(f"{ASSETS} names no directory with kube-apiserver and etcd")
    return programs


@pytest.fixture(scope="session")
def real_api_server() -> Iterator[RealServer]:
    """A real control plane with the CRDs, one for the whole run; the test is skipped, with the reason, where there is
    none."""
    with real_server(found_assets()) as server:
        for definition in multicluster_definitions():
            server.install(definition)
        server.start_controllers()
        yield server


@pytest.fixture(params=[STAND_IN, REAL])
async def dual_stack_plane(request: pytest.FixtureRequest) -> AsyncIterator[Plane]:
    """The same with Services of both families. A real one is started for each test that asks for it."""
    if request.param == STAND_IN:
        async with running(service_ranges=CLUSTER_IPS) as stand_in:
            yield plane_of(stand_in)
        return
    with real_server(found_assets(), service_ranges=CLUSTER_IPS) as server:
        for definition in multicluster_definitions():
            server.install(definition)
        yield plane_of(server)


@pytest.fixture(params=[STAND_IN, REAL])
async def kube_plane(request: pytest.FixtureRequest) -> AsyncIterator[Plane]:
    """The API server that a test runs on: each test twice, on the stand-in and on a real one where it is found."""
    if request.param == STAND_IN:
        async with running() as server:
            yield plane_of(server)
        return
    yield plane_of(request.getfixturevalue("real_api_server"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which API servers the tests ran on, and what was skipped for want of a real one."""
    outcomes = {
        name: [one.nodeid for one in terminalreporter.stats.get(name, ())] for name in ("passed", "failed", "skipped")
    }
    for line in told_servers(outcomes):
        terminalreporter.write_line(line)
