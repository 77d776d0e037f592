"""What callers notice when one of a cluster's two gateways is killed, or accepts and never answers: no GET fails.

us-east calls, eu-west serves: a service that answers at once, and one whose every answer takes 2 s, with four pods
behind two gateways, so that half of the caller's connections are of the gateway that is lost.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from support.clusterset import GATEWAY_PORT, Cluster, ClusterSet, Pod, Sidecar, all_ready, get, port_name
from support.load import Outcome, calls_reach, failures, percentile, report, steady_load
from support.processes import Child, eventually

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(180)]

ECHO, SLOW = 8080, 8081
RATES = {ECHO: 500.0, SLOW: 10.0}
"""Calls per second."""
PODS = 4
SECONDS = 5
"""How long a lost gateway stays so; it is noticed and worked around within the first two of them."""
SLOWEST = 1.0
"""Seconds that 99 in 100 of the calls take at most that are made in the time after the loss."""


@dataclass(frozen=True)
class Sites:
    set: ClusterSet
    east: Cluster
    west: Cluster
    gateways: tuple[Child, Child]
    pods: tuple[Pod, ...]
    caller: Sidecar

    def url(self, port: int) -> str:
        return f"http://{self.caller.address}:{port}/"

    def targets(self) -> dict[str, float]:
        return {self.url(port): rate for port, rate in RATES.items()}

    def well(self) -> bool:
        """Whether the caller takes all shards of both services for healthy."""
        return all(
            list(self.caller.admin.hosts(port_name(name, port)).values()) == [True] * PODS
            for name, port in (("echo", ECHO), ("slow", SLOW))
        )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """Two clusters, the second with two gateways."""
    with ClusterSet(tmp_path_factory.mktemp("loss")) as clusters:
        east, west = clusters.add("us-east", "us"), clusters.add("eu-west", "eu")
        gateways = (west.gateway, west.second_gateway())
        clusters.introduce()
        pods = tuple(west.pod(number, f"http:{ECHO}", f"slow:{SLOW}") for number in range(11, 11 + PODS))
        hosts = [pod.sidecar.address for pod in pods]
        west.export("echo", {"http": ECHO}, hosts)
        west.export("slow", {"http": SLOW}, hosts)
        here = east.host(21)
        outbound = [
            {"service": f"demo/{name}", "port": port, "listen": f"{here}:{port}"}
            for name, port in (("echo", ECHO), ("slow", SLOW))
        ]
        sites = Sites(clusters, east, west, gateways, pods, east.sidecar("caller", here, "caller", outbound=outbound))
        for child in (east.controller, west.controller, *gateways):
            child.start()
        for pod in pods:
            pod.start()
        for pod in pods:
            eventually(pod.sidecar.listening, f"{pod.sidecar.address} listens")
        sites.caller.start()
        all_ready(east, west)
        yield sites


@pytest.fixture
def sites(running: Sites) -> Sites:
    """Both gateways up, the caller sure of all ways, and its connections made anew, so that each gateway has some."""
    if not running.gateways[1].running:
        running.gateways[1].start()
    running.set.revive(*running.pods)
    for number in (1, 2):
        gateway = running.west.host(number), GATEWAY_PORT
        eventually(lambda gateway=gateway: socket.create_connection(gateway, 1).close() is None, f"{gateway} listens")
    running.caller.child.kill()
    running.caller.start()
    for port in RATES:
        eventually(lambda port=port: get(running.caller.address, port)[0] == 200, "eu-west answers")
    eventually(running.well, "the caller takes all shards for healthy", seconds=60)
    return running


async def test_a_killed_gateway_costs_no_get(sites: Sites) -> None:
    """kill -9 of one gateway of two under load."""
    async with steady_load(sites.targets()) as outcomes:
        await _warm(sites, outcomes)
        since = asyncio.get_running_loop().time()
        sites.gateways[1].kill()
        await calls_reach(outcomes[sites.url(ECHO)], int(RATES[ECHO] * SECONDS))
    _judge("killed gateway", sites, outcomes, since)


async def test_a_black_holed_gateway_costs_no_get_and_no_second(sites: Sites) -> None:
    """SIGSTOP of one gateway of two under load: the kernel accepts for it, and nothing is ever answered."""
    async with steady_load(sites.targets()) as outcomes:
        await _warm(sites, outcomes)
        since = asyncio.get_running_loop().time()
        await asyncio.to_thread(sites.gateways[1].freeze)
        await calls_reach(outcomes[sites.url(ECHO)], int(RATES[ECHO] * SECONDS))
    _judge("black-holed gateway", sites, outcomes, since)


async def _warm(sites: Sites, outcomes: dict[str, Outcome]) -> None:
    """Have connections to all shards, by both gateways."""
    await calls_reach(outcomes[sites.url(ECHO)], 2 * int(RATES[ECHO]))
    for number in (1, 2):
        admin = sites.west.gateway_admin_of(number)
        assert await asyncio.to_thread(admin.counter, r"listener\.gateway\.downstream_cx_active") > 0


def _judge(what: str, sites: Sites, outcomes: dict[str, Outcome], since: float) -> None:
    report(what, outcomes)
    p99 = percentile(outcomes[sites.url(ECHO)], 0.99, since, since + SECONDS)
    before = percentile(outcomes[sites.url(ECHO)], 0.99, 0, since)
    print(f"{what}: p99 {before * 1000:.0f} ms before, {p99 * 1000:.0f} ms in the {SECONDS} s after")
    assert failures(outcomes) == {}
    assert p99 <= SLOWEST
