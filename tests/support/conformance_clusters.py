"""Two clusters of one clusterset for the mirror of the conformance suite, on stand-ins or on real API servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from support.conformance import Site
from support.kube.plane import REAL
from support.kube.real import RealServer, real_server
from support.kube.server import StandIn, multicluster_definitions, running
from support.kube.services import CLUSTER_IPS
from support.kube_members import kube_clusters
from support.ports import free_port

NAMES = ("east", "west")
LOOPBACK = "127.0.0.1"


@asynccontextmanager
async def conformance_clusters(root: Path, plane: str, programs: Path | None) -> AsyncIterator[list[Site]]:
    """The clusters once each has a controller that is ready; ``programs`` are needed for real API servers only.

    Both have Services of two families, and gateways that others would reach over either: addresses of documentation,
    since nothing is called.
    """
    async with AsyncExitStack() as stack:
        servers = await _servers(plane, programs, stack)
        clusters = await stack.enter_async_context(kube_clusters(root))
        sites, members = [], []
        for number, (name, server) in enumerate(zip(NAMES, servers, strict=True)):
            port = free_port(LOOPBACK)
            addresses = [f"192.0.2.{number + 1}:15443", f"[2001:db8::{number + 1}]:15443"]
            member = await clusters.add(
                name,
                name,
                server=server,
                gateway={"addresses": addresses},
                dns={"listen": f"{LOOPBACK}:{port}"},
            )
            members.append(member)
            caller = await stack.enter_async_context(member.caller())
            sites.append(Site(name, caller, (LOOPBACK, port), number))
        await clusters.found(*members)
        yield sites


async def _servers(plane: str, programs: Path | None, stack: AsyncExitStack) -> list[StandIn] | list[RealServer]:
    if plane != REAL:
        started = [running(name, service_ranges=CLUSTER_IPS) for name in NAMES]
        return [await stack.enter_async_context(one) for one in started]
    assert programs is not None
    opened = [stack.enter_context(ended_with(programs)) for _ in NAMES]
    return await asyncio.gather(*(asyncio.to_thread(next, one) for one in opened))


@contextmanager
def ended_with(programs: Path) -> Iterator[Generator[RealServer]]:
    """What gives a real control plane with the CRDs when it is asked for one; it ends with the block."""

    def started() -> Generator[RealServer]:
        with real_server(programs, service_ranges=CLUSTER_IPS) as server:
            for definition in multicluster_definitions():
                server.install(definition)
            server.start_controllers()
            yield server

    whole = started()
    try:
        yield whole
    finally:
        whole.close()
