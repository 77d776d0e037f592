"""What a gateway does with more than it can hold: it stays up, calls go on, and what it refuses is counted.

us-east calls, eu-west serves behind two gateways. One may hold few connections, so that a test can fill it; the other
has less memory than it needs from the start.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from federation.model.names import ServiceKey, sni
from support.clusterset import GATEWAY_PORT, INBOUND_PORT, Admin, Cluster, ClusterSet, Pod, Sidecar, all_ready, get
from support.flood import ask_for_unknown, client_hello, held_open
from support.load import calls_reach, failures, report, steady_load, until
from support.processes import Child, eventually

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(120)]

HTTP = 8080
RATE = 100.0
"""Calls per second, beside the floods."""
CONNECTIONS = 500
"""That the gateway may hold."""
MEMORY_MIB = 128
"""Of its heap; a gateway at rest has about 8."""
TOO_LITTLE_MIB = 2
"""Of the other gateway: one at rest has more."""
BYTES_A_NAME = 4096
"""Of the gateway's heap, that an unknown name may cost at most; measured were 1.2 KiB."""


@dataclass(frozen=True)
class Sites:
    west: Cluster
    pod: Pod
    caller: Sidecar

    @property
    def url(self) -> str:
        return f"http://{self.caller.address}:{HTTP}/"

    @property
    def gateway(self) -> Admin:
        return self.west.gateway_admin


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """Two clusters that serve."""
    with ClusterSet(tmp_path_factory.mktemp("overload")) as clusters:
        east = clusters.add("us-east", "us")
        bounds = {"maxConnections": CONNECTIONS, "memoryMib": MEMORY_MIB}
        west = clusters.add("eu-west", "eu", gateway=bounds)
        short = west.second_gateway(memoryMib=TOO_LITTLE_MIB)
        clusters.introduce()
        pod = west.pod(11, f"http:{HTTP}")
        west.export("echo", {"http": HTTP}, [pod.sidecar.address])
        here = east.host(21)
        outbound = [{"service": "demo/echo", "port": HTTP, "listen": f"{here}:{HTTP}"}]
        caller = east.sidecar("caller", here, "caller", outbound=outbound)
        for child in (east.controller, west.controller, west.gateway, short):
            child.start()
        pod.start()
        caller.start()
        all_ready(east, west)
        eventually(lambda: get(here, HTTP)[0] == 200, "eu-west answers")
        yield Sites(west, pod, caller)


async def test_a_flood_of_silent_connections_is_bounded_and_ends(sites: Sites) -> None:
    """More connections than the gateway may hold, of which each says half of a hello: what is above the bound is
    refused, the others are closed after 5 s, and calls go on."""
    gateway, half = sites.gateway, client_hello(sni(ServiceKey("demo", "echo"), HTTP))[:100]
    async with steady_load({sites.url: RATE}) as outcomes:
        await calls_reach(outcomes[sites.url], 50)
        async with held_open(sites.west.host(1), GATEWAY_PORT, 2 * CONNECTIONS, half):
            await until(lambda: _counter(gateway, "downstream_global_cx_overflow") >= CONNECTIONS, "some are refused")
            assert await asyncio.to_thread(_counter, gateway, "downstream_cx_active") <= CONNECTIONS
            await until(lambda: _counter(gateway, "downstream_pre_cx_timeout") >= CONNECTIONS / 2, "the others end")
            await until(lambda: _counter(gateway, "downstream_pre_cx_active") == 0, "none waits")
        # New connections are taken again: one outside of the load's.
        await calls_reach(outcomes[sites.url], 50)
    report("silent connections", outcomes)
    assert failures(outcomes) == {}


async def test_a_gateway_without_memory_refuses_and_callers_take_the_other(sites: Sites) -> None:
    """What connects is closed at once and counted, nobody is killed, and calls go through the other gateway."""
    short = sites.west.gateway_admin_of(2)
    async with steady_load({sites.url: RATE}) as outcomes:
        before = await asyncio.to_thread(_counter, short, "downstream_cx_overload_reject")
        async with held_open(short.host, GATEWAY_PORT, 50, b""):
            await until(
                lambda: _counter(short, "downstream_cx_overload_reject") >= before + 50, "all of them are refused"
            )
        await calls_reach(outcomes[sites.url], 50)
    report("a gateway without memory", outcomes)
    assert failures(outcomes) == {}
    assert await asyncio.to_thread(_counter, short, "downstream_cx_active") == 0


@pytest.mark.parametrize(
    ("count", "rate"), [(2000, 500.0), pytest.param(10_000, 1000.0, marks=pytest.mark.soak)], ids=["short", "long"]
)
async def test_unknown_names_cost_little_and_are_asked_for_once(sites: Sites, count: int, rate: float) -> None:
    """A flood of well-formed names that nobody exports, ``rate`` new ones a second: calls go on, the gateway's memory
    hardly grows, and each name is one answer of the control plane at most."""
    gateway, mark = sites.gateway, "00000000"
    name = sni(ServiceKey("demo", f"none-{rate:g}-{mark}"), HTTP)
    cpu, held = _spent(sites.west.controller)
    before, asked = await asyncio.to_thread(_memory, gateway), sites.west.metric_total("xds_responses_sent_total")
    async with steady_load({sites.url: RATE}) as outcomes:
        await ask_for_unknown(sites.west.host(1), GATEWAY_PORT, client_hello(name), mark.encode(), count, rate)
        await until(lambda: _counter(gateway, "downstream_cx_active") < CONNECTIONS / 10, "all of them are closed")
        await calls_reach(outcomes[sites.url], 100)
    after = await asyncio.to_thread(_memory, gateway)
    asked = sites.west.metric_total("xds_responses_sent_total") - asked
    report("unknown names", outcomes)
    cpu, held = (now - then for now, then in zip(_spent(sites.west.controller), (cpu, held), strict=True))
    print(
        f"{count} unknown names: {asked:g} answers, {(after - before) / count:.0f} bytes of the gateway's heap a name"
    )
    print(f"the controller: {cpu / count * 1e6:.0f} us of CPU and {held / count:.0f} bytes a name")
    assert failures(outcomes) == {}
    assert after - before < count * BYTES_A_NAME
    assert 0 < asked <= count


async def test_huge_headers_are_refused_and_calls_go_on(sites: Sites) -> None:
    """100 KiB of headers are answered with 431 by the caller's own sidecar."""
    async with steady_load({sites.url: RATE}) as outcomes, aiohttp.ClientSession() as session:
        for _ in range(20):
            async with session.get(sites.url, headers={"x-huge": "x" * 100_000}) as response:
                assert response.status == 431
        await calls_reach(outcomes[sites.url], 50)
    assert failures(outcomes) == {}
    assert sites.caller.admin.counter(r"http\.outbound\.downstream_rq_4xx") >= 20


async def test_handshakes_that_never_finish_end(sites: Sites) -> None:
    """Whole hellos after which nothing comes: the sidecar that they lead to gives up after 5 s, and counts them."""
    sidecar, hello = sites.pod.sidecar, client_hello(sni(ServiceKey("demo", "echo"), HTTP))
    async with steady_load({sites.url: RATE}) as outcomes:
        async with held_open(sidecar.address, INBOUND_PORT, 200, hello):
            name = r"listener\.inbound\.downstream_cx_transport_socket_connect_timeout"
            await until(lambda: sidecar.admin.counter(name) >= 200, "the sidecar gives them up")
        await calls_reach(outcomes[sites.url], 50)
    assert failures(outcomes) == {}


def _counter(admin: Admin, name: str) -> int:
    return admin.counter(rf"listener\.gateway\.{name}")


def _memory(admin: Admin) -> int:
    """Bytes of the heap in use."""
    return int(admin.read("/memory")["allocated"])


def _spent(child: Child) -> tuple[float, float]:
    """Seconds of CPU that a process had so far, and bytes of memory that it has."""
    fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds, int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
