"""Every way of a call between clusters carries every protocol: the matrix of paths and protocols, on real Envoys."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator

import pytest

from federation.app.admissions import opened_authority
from federation.app.sites import load_cluster
from federation.model.names import ClusterId
from support.paths import (
    Paths,
    Way,
    bodies,
    ended,
    grpc_stream,
    grpc_unary,
    half_closed,
    http1,
    http2,
    idle,
    paths,
    tcp_bodies,
    websocket,
)

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(180)]

WAYS = [
    "local mesh",
    "sidecar to sidecar",
    "unmeshed caller",
    "terminated",
    "unmeshed caller and terminated",
    "flat",
    "unmeshed caller and flat",
]
PROTOCOLS = [http1, http2, grpc_unary, grpc_stream, websocket, half_closed]

MEGABYTES, SOAK_MEGABYTES = 16, 1024
# Longer than pings, their timeouts and the drain time; the soak's is longer than Envoy's default for a stream (5 min).
IDLE_SECONDS, SOAK_IDLE_SECONDS = 6.0, 330.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paths]:
    with paths(tmp_path_factory.mktemp("paths")) as found:
        yield found


@pytest.fixture(params=WAYS)
def way(served: Paths, request: pytest.FixtureRequest) -> Way:
    return served.ways[request.param]


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda call: call.__name__)
async def test_the_way_carries_the_protocol(way: Way, protocol: Callable[[Way], Awaitable[None]]) -> None:
    """What the protocol promises to an application holds on this way."""
    await protocol(way)


@pytest.mark.parametrize("call", [bodies, tcp_bodies], ids=lambda call: call.__name__)
async def test_large_bodies_arrive_whole(way: Way, call: Callable[[Way, int], Awaitable[None]]) -> None:
    """More than all buffers on the way hold."""
    await call(way, MEGABYTES)


async def test_idle_connections_live_on(way: Way) -> None:
    """Nothing on the way ends what says nothing."""
    await idle(way, IDLE_SECONDS)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("call", [bodies, tcp_bodies], ids=lambda call: call.__name__)
async def test_bodies_of_a_gigabyte_arrive_whole(way: Way, call: Callable[[Way, int], Awaitable[None]]) -> None:
    """1 GB there and 1 GB back."""
    await call(way, SOAK_MEGABYTES)


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_connections_that_are_idle_for_minutes_live_on(way: Way) -> None:
    """Longer than Envoy's own default for a stream."""
    await idle(way, SOAK_IDLE_SECONDS)


async def test_trust_that_is_withdrawn_ends_what_callers_without_a_sidecar_have_open(served: Paths) -> None:
    """West is evicted: connections to it end, whoever ends TLS there, and others are called as before.

    The last test, for west does not come back.
    """
    lines = []
    for name in ("unmeshed caller", "unmeshed caller and terminated"):
        way = served.ways[name]
        lines.append(await asyncio.open_connection(way.host, way.ports["tcp"]))
        assert await said(*lines[-1]) == b"word"
    async with opened_authority(load_cluster(served.east.directory)) as (authority, _):
        await authority.evict(ClusterId("west"))
    async with asyncio.timeout(60):
        for reader, writer in lines:
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            await ended(writer)
    await half_closed(served.ways["unmeshed caller and flat"])


async def said(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """What comes back of a word."""
    writer.write(b"word")
    return await asyncio.wait_for(reader.readexactly(4), 20)
