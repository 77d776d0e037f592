"""Two signals decide who lives, on real processes: what dies is withdrawn, what only seems dead is kept.

Three clusters. The caller is in us-east, which has no pod of its own: us-west, in the same region, is called first.
Every scenario lasts as long as it takes to be noticed.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from controllers.probes import answers
from federation.model.records import GatewayAddress
from support.clusterset import GATEWAY_PORT, Cluster, ClusterSet, Pod, Sidecar, get, port_name
from support.load import calls_reach, steady_load, until
from support.processes import eventually

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(180)]

ECHO = 8080
RATE = 100.0
LONGER_THAN_A_LEASE_AND_ITS_GRACE = int(RATE * 13)
"""Calls: 3 s of lease, 7 s of grace, and some."""
LOST_WITH_A_CLUSTER = 0.005


@dataclass(frozen=True)
class Sites:
    set: ClusterSet
    east: Cluster
    west: Cluster
    europe: Cluster
    west_pod: Pod
    europe_pod: Pod
    caller: Sidecar

    @property
    def clusters(self) -> tuple[Cluster, Cluster, Cluster]:
        return self.east, self.west, self.europe

    @property
    def url(self) -> str:
        return f"http://{self.caller.address}:{ECHO}/"

    def state(self, of: Cluster) -> str:
        """As us-east sees it."""
        return str(self.east.peer(of.name)["state"])

    def order(self) -> dict[str, int | None]:
        """The clusters behind the service, in the order in which they are called; None: not called."""
        return {each["cluster"]: each["priority"] for each in self.east.services()["echo"]["backends"]}

    def endpoints(self) -> set[str]:
        """The clusters that the caller's Envoy has endpoints of, whatever it thinks of their health."""
        return self.caller.admin.clusters(port_name("echo", ECHO))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """Three clusters that serve."""
    with ClusterSet(tmp_path_factory.mktemp("liveness")) as clusters:
        east = clusters.add("us-east", "us")
        west = clusters.add("us-west", "us")
        europe = clusters.add("eu-west", "eu")
        clusters.introduce()
        west_pod, europe_pod = (cluster.pod(11, f"http:{ECHO}") for cluster in (west, europe))
        for cluster, pod in ((west, west_pod), (europe, europe_pod)):
            cluster.export("echo", {"http": ECHO}, [pod.sidecar.address])
        here = east.host(21)
        outbound = [{"service": "demo/echo", "port": ECHO, "listen": f"{here}:{ECHO}"}]
        caller = east.sidecar("caller", here, "caller", outbound=outbound)
        sites = Sites(clusters, east, west, europe, west_pod, europe_pod, caller)
        for cluster in sites.clusters:
            cluster.controller.start()
            cluster.gateway.start()
        for pod in (west_pod, europe_pod):
            pod.start()
        caller.start()
        yield sites


@pytest.fixture
def sites(running: Sites) -> Sites:
    """The clusters with everything up, and us-east sure of it."""
    restore(running)
    return running


def restore(sites: Sites) -> None:
    """Start and thaw what a test left behind, and wait until all is as it was."""
    sites.set.revive(sites.west_pod, sites.europe_pod)
    for cluster in sites.clusters:
        eventually(lambda cluster=cluster: all_live(cluster), f"{cluster.name} finds all live")
    eventually(lambda: sites.order() == {"us-west": 0, "eu-west": 1}, "both are called, the near one first")
    eventually(
        lambda: (
            sites.endpoints() == {"us-west", "eu-west"}
            and all(sites.caller.admin.hosts(port_name("echo", ECHO)).values())
        ),
        "the caller takes both for healthy",
        seconds=60,
    )
    eventually(lambda: get(sites.caller.address, ECHO)[0] == 200, "calls are answered")


def all_live(cluster: Cluster) -> bool:
    return all(peer["state"] == "Live" and peer["trusted"] for peer in cluster.status()["peers"])


@pytest.fixture
async def frozen_redis(sites: Sites) -> AsyncIterator[int]:
    """SIGSTOP for the exchange, whose connections stay; thawed at the end."""
    redis = sites.set.redis
    assert redis is not None
    yield redis.pid
    os.kill(redis.pid, signal.SIGCONT)


async def test_a_probe_tells_a_living_gateway_from_a_frozen_one(sites: Sites) -> None:
    """A real gateway closes the probe's handshake at once and asks nobody; frozen, its kernel connects all the same."""
    address = GatewayAddress(sites.europe.host(1), GATEWAY_PORT)
    on_demand = r"tcp\.gateway\.on_demand_cluster_attempt"
    asked = sites.europe.gateway_admin.counter(on_demand)
    # One probe may be late on a busy machine, which is why a gateway counts as silent after three.
    async with asyncio.timeout(30):
        while not await answers(address):
            pass
    assert sites.europe.gateway_admin.counter(on_demand) == asked
    sites.europe.gateway.freeze()
    try:
        assert await answers(address) is False
        _, writer = await asyncio.open_connection(address.host, address.port)
        writer.transport.abort()
    finally:
        sites.europe.gateway.thaw()


async def test_a_killed_cluster_is_withdrawn_and_comes_back(sites: Sites) -> None:
    """kill -9 of all of us-west: called last at once, then not at all; import and identities stay; it returns."""
    vip = sites.east.services()["echo"]["vip"]
    async with steady_load({sites.url: RATE}) as outcomes:
        await calls_reach(outcomes[sites.url], 50)
        for child in (sites.west.controller, sites.west.gateway):
            child.kill()
        sites.west_pod.kill()
        await until(lambda: sites.state(sites.west) == "Dead", "us-west is dead")
        await until(lambda: sites.endpoints() == {"eu-west"}, "eu-west alone is called")
        assert sites.order() == {"eu-west": 0, "us-west": None}
        assert (sites.east.metric("peer_gateway_up", peer="us-west"), sites.east.services()["echo"]["vip"]) == (0, vip)
        assert sites.east.metric("peer_state", peer="us-west", state="Dead") == 1
        assert "withdrawn" in sites.east.peer("us-west")["reason"]
    outcome = outcomes[sites.url]
    print(f"killed cluster: {len(outcome.failures)} of {outcome.calls} failed {outcome.failures[:3]}")
    assert len(outcome.failures) <= LOST_WITH_A_CLUSTER * outcome.calls, outcome.failures[:5]
    # Its lease alone brings it back, to be called last; its gateway then to where it was.
    sites.west.controller.start()
    await until(
        lambda: sites.order() == {"eu-west": 0, "us-west": 1} and sites.state(sites.west) == "Unreachable",
        "west is last",
    )
    sites.west.gateway.start()
    await until(
        lambda: sites.order() == {"us-west": 0, "eu-west": 1} and sites.state(sites.west) == "Live",
        "west is first",
    )
    await until(lambda: sites.endpoints() == {"us-west", "eu-west"}, "both are called")


async def test_a_stopped_redis_withdraws_nobody_and_costs_no_call(sites: Sites) -> None:
    """Without exchange everybody is kept, also by a controller that starts from disk, for longer than a lease and its
    grace."""
    redis = sites.set.redis
    assert redis is not None
    known, order = sites.endpoints(), sites.order()
    async with steady_load({sites.url: RATE}) as outcomes:
        redis.kill()
        await until(lambda: {peer["state"] for peer in sites.east.status()["peers"]} == {"Unheard"}, "nobody is heard")
        await calls_reach(outcomes[sites.url], 100)
        assert (sites.endpoints(), sites.order()) == (known, order)
        sites.east.controller.kill()
        sites.east.controller.start()
        await until(sites.east.ready, "us-east is ready")
        await calls_reach(outcomes[sites.url], LONGER_THAN_A_LEASE_AND_ITS_GRACE)
        assert (sites.endpoints(), sites.order()) == (known, order)
        assert sites.state(sites.west) == "Unheard"
        redis.start()
        await until(lambda: all_live(sites.east), "us-east finds all live")
        assert (sites.endpoints(), sites.order()) == (known, order)
    assert outcomes[sites.url].failures == []


async def test_a_frozen_redis_and_gateway_withdraw_nobody_and_cost_no_call(sites: Sites, frozen_redis: int) -> None:
    """SIGSTOP: connections stay, and all leases are lost before the exchange is. Nobody is dead for it, not even who
    does not answer either: that one is called last."""
    known = sites.endpoints()
    async with steady_load({sites.url: RATE}) as outcomes:
        os.kill(frozen_redis, signal.SIGSTOP)
        sites.west.gateway.freeze()
        await calls_reach(outcomes[sites.url], LONGER_THAN_A_LEASE_AND_ITS_GRACE)
        assert (sites.state(sites.west), sites.state(sites.europe)) == ("Unheard", "Unheard")
        assert (sites.endpoints(), sites.order()) == (known, {"eu-west": 0, "us-west": 1})
        os.kill(frozen_redis, signal.SIGCONT)
        sites.west.gateway.thaw()
        await until(lambda: all_live(sites.east) and sites.order() == {"us-west": 0, "eu-west": 1}, "all live")
    assert outcomes[sites.url].failures == []


async def test_a_frozen_gateway_is_called_last(sites: Sites) -> None:
    """SIGSTOP of us-west's gateway: its lease is good, so it is kept, behind eu-west; the calls that waited are
    answered elsewhere."""
    async with steady_load({sites.url: RATE}) as outcomes:
        await calls_reach(outcomes[sites.url], 50)
        sites.west.gateway.freeze()
        await until(lambda: sites.state(sites.west) == "Unreachable", "us-west is unreachable")
        await until(lambda: sites.order() == {"eu-west": 0, "us-west": 1}, "us-west is last")
        assert sites.endpoints() == {"us-west", "eu-west"}
        await calls_reach(outcomes[sites.url], 100)
        sites.west.gateway.thaw()
        await until(lambda: sites.order() == {"us-west": 0, "eu-west": 1}, "us-west is first")
    assert outcomes[sites.url].failures == []


async def test_a_cluster_without_its_controller_is_kept(sites: Sites) -> None:
    """kill -9 of us-west's controller: its lease is lost, its gateway answers, and calls go there as before."""
    known, order = sites.endpoints(), sites.order()
    async with steady_load({sites.url: RATE}) as outcomes:
        sites.west.controller.kill()
        await until(lambda: sites.state(sites.west) == "Blind", "us-west is blind")
        before = outcomes[sites.url].answered_by("us-west")
        await calls_reach(outcomes[sites.url], LONGER_THAN_A_LEASE_AND_ITS_GRACE)
        assert sites.state(sites.west) == "Blind"
        assert (sites.endpoints(), sites.order()) == (known, order)
        assert outcomes[sites.url].answered_by("us-west") - before >= LONGER_THAN_A_LEASE_AND_ITS_GRACE * 0.9
    assert outcomes[sites.url].failures == []
