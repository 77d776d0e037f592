"""What callers notice when parts die or freeze under load: nothing, where the product promises it.

Three clusters, us-east and us-west in one region. The caller is in us-east, whose own two pods answer while they can.
Every scenario counts calls and failures, never time: it lasts as long as the fault takes to happen and to be noticed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from support.clusterset import Cluster, ClusterSet, Pod, Sidecar, all_ready, get, port_name
from support.load import calls_reach, failed_share, failing_seconds, failures, report, steady_load, until
from support.processes import eventually

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(180)]

ECHO, SLOW, FAR, PROBED = 8080, 8081, 8082, 8083
RATES = {ECHO: 100.0, FAR: 40.0, SLOW: 10.0}
"""Calls per second: every pod answers the first at once, only eu-west the second, every pod the third after 2 s."""
LOST_WITH_A_CLUSTER = 0.001
"""Share of the calls in the time after: a fifth of what the product promises."""
SECONDS_WITH_FAILURES = 5


@dataclass(frozen=True)
class Sites:
    set: ClusterSet
    east: Cluster
    west: Cluster
    europe: Cluster
    local: tuple[Pod, Pod]
    west_pod: Pod
    europe_pod: Pod
    caller: Sidecar

    @property
    def clusters(self) -> tuple[Cluster, Cluster, Cluster]:
        return self.east, self.west, self.europe

    def url(self, port: int) -> str:
        return f"http://{self.caller.address}:{port}/"

    def targets(self) -> dict[str, float]:
        return {self.url(port): rate for port, rate in RATES.items()}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """Three clusters that serve."""
    with ClusterSet(tmp_path_factory.mktemp("failover")) as clusters:
        east = clusters.add("us-east", "us")
        west = clusters.add("us-west", "us")
        europe = clusters.add("eu-west", "eu")
        clusters.introduce()
        probe = {"port": ECHO, "path": "/healthz"}
        local = tuple(east.pod(number, f"http:{ECHO}", f"slow:{SLOW}", probe=probe) for number in (11, 12))
        west_pod, europe_pod = (cluster.pod(11, f"http:{ECHO}", f"slow:{SLOW}") for cluster in (west, europe))
        for cluster, pods in ((east, local), (west, [west_pod]), (europe, [europe_pod])):
            hosts = [pod.sidecar.address for pod in pods]
            cluster.export("echo", {"http": ECHO}, hosts)
            cluster.export("slow", {"http": SLOW}, hosts)
        europe.export("far", {"http": FAR}, [europe_pod.sidecar.address], targets={"http": ECHO})
        here = east.host(21)
        outbound = [
            {"service": f"demo/{name}", "port": port, "listen": f"{here}:{port}"}
            for name, port in (("echo", ECHO), ("slow", SLOW), ("far", FAR))
        ]
        caller = east.sidecar("caller", here, "caller", outbound=outbound)
        sites = Sites(clusters, east, west, europe, (local[0], local[1]), west_pod, europe_pod, caller)
        for cluster in sites.clusters:
            cluster.controller.start()
            cluster.gateway.start()
        for pod in (*local, west_pod, europe_pod):
            pod.start()
        caller.start()
        all_ready(*sites.clusters)
        yield sites


@pytest.fixture
def sites(running: Sites) -> Sites:
    """The clusters with everything up, and the caller sure of it."""
    restore(running)
    return running


def restore(sites: Sites) -> None:
    """Start and thaw what a test left behind, and wait until the caller takes every endpoint for healthy again."""
    sites.set.revive(*sites.local, sites.west_pod, sites.europe_pod)
    eventually(lambda: get(sites.caller.address, FAR)[0] == 200, "eu-west answers")
    for name, port, count in (("echo", ECHO, 4), ("slow", SLOW, 4), ("far", FAR, 1)):
        eventually(
            lambda name=name, port=port, count=count: (
                list(sites.caller.admin.hosts(port_name(name, port)).values()) == [True] * count
            ),
            f"the caller takes all of {name} for healthy",
            seconds=60,
        )


async def test_killed_local_endpoints_cost_no_call(sites: Sites) -> None:
    """kill -9 of every pod of the caller's own cluster: the calls go to the other cluster of the region."""
    echo = sites.url(ECHO)
    async with steady_load(sites.targets()) as outcomes:
        await calls_reach(outcomes[echo], 50)
        for pod in sites.local:
            pod.kill()
        await calls_reach(outcomes[echo], 300)
        await calls_reach(outcomes[sites.url(SLOW)], 30)
    report("killed endpoints", outcomes)
    assert failures(outcomes) == {}
    # Where this machine stalls for a second, us-west may be left for a while, too.
    assert outcomes[echo].answered_by("us-west") > 0
    assert outcomes[echo].answered_by("us-west") + outcomes[echo].answered_by("eu-west") > 200


@pytest.mark.parametrize(
    "seconds", [pytest.param(10, id="a while"), pytest.param(60, id="a minute", marks=pytest.mark.soak)]
)
async def test_a_whole_killed_cluster_costs_few_calls_for_few_seconds(sites: Sites, seconds: int) -> None:
    """With the local pods gone, kill -9 of us-west, its controller and gateway too: eu-west answers. In at most 5 s any
    call fails, and at most one in a thousand of those in the time after."""
    echo, far = sites.url(ECHO), sites.url(FAR)
    for pod in sites.local:
        pod.kill()
    async with steady_load({echo: 200.0, far: 40.0}) as outcomes:
        await until(lambda: outcomes[echo].answered_by("us-west") > 100, "us-west answers")
        killed_at, calls = asyncio.get_running_loop().time(), outcomes[echo].calls
        sites.west.controller.kill()
        sites.west.gateway.kill()
        sites.west_pod.kill()
        await calls_reach(outcomes[echo], seconds * 200, 3 * seconds)
    report("killed cluster", outcomes)
    outcome = outcomes[echo]
    assert failing_seconds(outcomes, killed_at) <= SECONDS_WITH_FAILURES, outcome.failed_at
    assert failed_share({echo: outcome}, killed_at, calls) <= LOST_WITH_A_CLUSTER, outcome.failures[:5]
    assert outcomes[far].failures == []
    assert outcome.answered_by("eu-west") > seconds * 200 * 0.8


async def test_frozen_local_endpoints_cost_no_call(sites: Sites) -> None:
    """SIGSTOP of every local pod, which accepts connections and answers nothing: calls that wait there are answered
    elsewhere, and a service that always takes 2 s loses none, neither to the fault nor to its cure."""
    echo = sites.url(ECHO)
    async with steady_load(sites.targets()) as outcomes:
        await calls_reach(outcomes[echo], 50)
        for pod in sites.local:
            pod.freeze()
        await calls_reach(outcomes[echo], 400)
        await calls_reach(outcomes[sites.url(SLOW)], 20)
        for pod in sites.local:
            pod.thaw()
    report("frozen endpoints", outcomes)
    assert failures(outcomes) == {}
    assert outcomes[echo].answered_by("us-west") + outcomes[echo].answered_by("eu-west") > 200


async def test_frozen_applications_with_a_probe_cost_no_call(sites: Sites) -> None:
    """SIGSTOP of the applications alone: their sidecars answer pings as before, but notice, and say so."""
    echo = sites.url(ECHO)
    async with steady_load(sites.targets()) as outcomes:
        await calls_reach(outcomes[echo], 50)
        for pod in sites.local:
            pod.app.freeze()
        await calls_reach(outcomes[echo], 400)
        await calls_reach(outcomes[sites.url(SLOW)], 20)
        for pod in sites.local:
            pod.app.thaw()
    report("frozen applications", outcomes)
    assert failures(outcomes) == {}
    assert outcomes[echo].answered_by("us-west") + outcomes[echo].answered_by("eu-west") > 200


async def test_slow_answers_are_not_taken_for_failures(sites: Sites) -> None:
    """A service whose every answer takes 2 s stays with its local endpoints: none is ejected, none is cut.

    There are more calls than a sidecar would let peers abandon (500, of which half) if it took lost hedges for a flood.
    """
    slow = sites.url(SLOW)
    before = _ejections(sites, "slow", SLOW)
    async with steady_load({slow: 80.0}) as outcomes:
        await calls_reach(outcomes[slow], 320)
    report("slow answers", outcomes)
    assert failures(outcomes) == {}
    assert outcomes[slow].answered_by("us-east") == outcomes[slow].calls
    assert _ejections(sites, "slow", SLOW) == before


async def test_killed_controllers_that_return_cost_no_call(sites: Sites) -> None:
    """kill -9 of all controllers at once: Envoys keep what they have, and are served again."""
    async with steady_load(sites.targets()) as outcomes:
        await calls_reach(outcomes[sites.url(ECHO)], 50)
        hosts = _known(sites)
        for cluster in sites.clusters:
            cluster.controller.kill()
        await calls_reach(outcomes[sites.url(ECHO)], 100)
        for cluster in sites.clusters:
            cluster.controller.start()
        await until(lambda: _nodes_are_back(sites.clusters), "the nodes are back")
        await calls_reach(outcomes[sites.url(ECHO)], 50)
        assert _known(sites) == hosts
    report("killed controllers", outcomes)
    assert failures(outcomes) == {}


def _ejections(sites: Sites, service: str, port: int) -> int:
    name = port_name(service, port).replace(".", r"\.")
    return sites.caller.admin.counter(rf"cluster\.{name}\.outlier_detection\.ejections_enforced_total")


def _known(sites: Sites) -> list[set[str]]:
    """The endpoints that the caller's Envoy has, whatever it thinks of their health."""
    return [
        set(sites.caller.admin.hosts(port_name(name, port)))
        for name, port in (("echo", ECHO), ("slow", SLOW), ("far", FAR))
    ]


def _all_live(cluster: Cluster) -> bool:
    peers = cluster.status()["peers"]
    return all(peer["state"] == "Live" and peer["trusted"] for peer in peers)


def _nodes_are_back(clusters: Sequence[Cluster]) -> bool:
    """Whether every Envoy has its stream again: the gateways, the pods' sidecars, the caller's."""
    return [cluster.ready() and len(cluster.status()["nodes"]) for cluster in clusters] == [4, 2, 2]
