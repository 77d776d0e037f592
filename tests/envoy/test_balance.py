"""Requests are shared out by the request, though the gateway between caller and servers never decrypts.

A peer's gateway is one address, and a caller's sidecar has one HTTP/2 connection to a host. Were the gateway one host,
all requests of a caller would end at one endpoint.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import grpc.aio
import pytest

from support.apps import UNARY
from support.clusterset import Cluster, ClusterSet, Pod, Sidecar, all_ready, port_name
from support.processes import eventually

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(240)]

PORT = 8082
PODS = 5
CALLS = 10_000
# Few, for least request gives a busy endpoint less: here it is to be seen who may be chosen, not who is fast.
AT_ONCE = 2


@dataclass(frozen=True)
class Sites:
    east: Cluster
    west: Cluster
    caller: Sidecar
    pods: list[Pod]

    def export(self, pods: list[Pod]) -> None:
        self.west.export("echo", {"grpc": PORT}, [pod.sidecar.address for pod in pods])

    def hosts(self) -> dict[str, bool]:
        return self.caller.admin.hosts(port_name("echo", PORT))


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """East calls; in west five pods serve, and a sixth is there that is not in the service yet."""
    with ClusterSet(tmp_path_factory.mktemp("balance")) as clusters:
        east, west = clusters.add("east", "eu"), clusters.add("west", "us")
        clusters.introduce()
        pods = [west.pod(11 + number, f"grpc:{PORT}") for number in range(PODS + 1)]
        here = east.host(21)
        outbound = [{"service": "demo/echo", "port": PORT, "listen": f"{here}:{PORT}"}]
        found = Sites(east, west, east.sidecar("caller", here, "caller", outbound=outbound), pods)
        found.export(pods[:PODS])
        for child in (east.controller, west.controller, west.gateway, *pods, found.caller):
            child.start()
        all_ready(east, west)
        for pod in pods:
            eventually(lambda pod=pod: serving(pod), "a server serves", seconds=60)
        for pod in pods[:PODS]:
            eventually(pod.sidecar.listening, "a server's sidecar listens", seconds=60)
        eventually(lambda: len(found.hosts()) == PODS, "the caller knows all shards", seconds=60)
        yield found


def serving(pod: Pod) -> bool:
    """Whether the application takes connections."""
    with contextlib.suppress(OSError), socket.create_connection((pod.sidecar.address, PORT), 1):
        return True
    return False


async def shares(sites: Sites, calls: int = CALLS) -> Counter[str]:
    """Who answered how many of the calls of one client over one HTTP/2 connection."""
    answered: Counter[str] = Counter()
    async with grpc.aio.insecure_channel(f"{sites.caller.address}:{PORT}") as channel:
        call = channel.unary_unary(UNARY)

        async def some(count: int) -> None:
            for _ in range(count):
                answered[(await call(b"", timeout=30)).decode().partition(":")[0]] += 1

        await asyncio.gather(*(some(calls // AT_ONCE) for _ in range(AT_ONCE)))
    return answered


async def test_one_connection_of_a_client_reaches_all_endpoints_behind_a_gateway_equally(sites: Sites) -> None:
    """Five endpoints get a fifth each, within three points; the gateway has no certificate, and so no key."""
    answered = await shares(sites)
    total = sum(answered.values())
    assert sorted(answered) == [f"west-{11 + number}" for number in range(PODS)]
    assert all(abs(count / total - 1 / PODS) <= 0.03 for count in answered.values()), answered
    assert sites.west.gateway_admin.read("/certs")["certificates"] == []
    connections = sites.west.gateway_admin.counter(r"tcp\.gateway\.downstream_cx_total")
    # One of the caller for each shard, and the probes of the other cluster's controller, which end at once.
    assert connections >= PODS


async def test_an_endpoint_that_takes_anothers_place_gets_its_share(sites: Sites) -> None:
    """The connections of the callers to the others stay, and the new one has one as well."""
    gone, *others = sites.pods
    sites.export(others)
    gone.kill()
    eventually(others[-1].sidecar.listening, "the new endpoint's sidecar listens", seconds=60)
    async with asyncio.timeout(60):
        # A call may come before the far gateway has heard of the new endpoint; calls that follow find it.
        while len(answered := await shares(sites, 320)) < PODS:
            assert f"west-{11}" not in answered
    answered = await shares(sites, 3200)
    total = sum(answered.values())
    assert sorted(answered) == [f"west-{12 + number}" for number in range(PODS)]
    assert all(abs(count / total - 1 / PODS) <= 0.05 for count in answered.values()), answered
