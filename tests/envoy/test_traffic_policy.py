"""What a TrafficPolicy does to calls on real Envoys: the policy of the cluster that calls, and the capacity that those
which are called state.

Three clusters, us-east and us-west in one region, each with one pod that serves and a sidecar that calls; us-east has a
second pod, which serves where a test says so. Calls are counted, never timed.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import aiohttp
import pytest

from support.clusterset import NAMESPACE, Cluster, ClusterSet, Pod, Sidecar, all_ready, get, port_name
from support.load import calls_reach, failures, steady_load, until
from support.manifests import exported_service
from support.processes import eventually

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(180)]

ECHO, BUSY, SLOW = 8080, 8081, 8082
"""Every pod answers the first at once, the second after 0.2 s, the third after 2 s."""
SERVICES = {"echo": ECHO, "busy": BUSY, "slow": SLOW}
MARKS = count(900_001)


@dataclass(frozen=True)
class Site:
    cluster: Cluster
    pod: Pod
    caller: Sidecar

    def url(self, port: int) -> str:
        return f"http://{self.caller.address}:{port}/"

    def policy(self, service: str, **spec: Any) -> None:
        """Make this the policy of calls to a service, and wait until the caller's Envoy goes by it."""
        mark = next(MARKS)
        spec["limits"] = {"connections": mark} | spec.get("limits", {})
        self.cluster.write(f"policy-{service}.yaml", _policy(service, spec))
        cluster = port_name(service, SERVICES[service])
        eventually(lambda: self._connections(cluster) == mark, f"{self.cluster.name} goes by the policy")

    def _connections(self, name: str) -> int:
        for entry in self.caller.admin.read("/clusters?format=json")["cluster_statuses"]:
            if entry["name"] == name:
                return int(entry["circuit_breakers"]["thresholds"][0]["max_connections"])
        return 0

    def hosts(self, service: str) -> dict[str, bool]:
        return self.caller.admin.hosts(port_name(service, SERVICES[service]))


def _policy(service: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "federation-gateway.dev/v1alpha1",
        "kind": "TrafficPolicy",
        "metadata": {"name": service, "namespace": NAMESPACE},
        "spec": {"targetRefs": [{"kind": "Service", "name": service}], **spec},
    }


@dataclass(frozen=True)
class Sites:
    set: ClusterSet
    east: Site
    west: Site
    europe: Site
    second: Pod
    """Another pod of us-east, whose echo is exported where a test says so."""

    @property
    def all(self) -> tuple[Site, Site, Site]:
        return self.east, self.west, self.europe

    def serve(self, *hosts: str, unready: int = 0) -> None:
        """Let us-east's echo be these endpoints, and as many more that are not ready."""
        service, export, endpoints = exported_service(NAMESPACE, "echo", {"http": ECHO}, hosts)
        spare = [self.east.cluster.host(200 + number) for number in range(unready)]
        more = [{"addresses": [host], "conditions": {"ready": False}} for host in spare]
        self.east.cluster.write(
            "echo.yaml", service, export, {**endpoints, "endpoints": [*endpoints["endpoints"], *more]}
        )
        expected = len(hosts) + unready + 2
        eventually(lambda: len(self.east.hosts("echo")) == expected, "the caller knows us-east's endpoints")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    with ClusterSet(tmp_path_factory.mktemp("policy")) as clusters:
        found = []
        for name, region in (("us-east", "us"), ("us-west", "us"), ("eu-west", "eu")):
            cluster = clusters.add(name, region)
            pod = cluster.pod(11, f"http:{ECHO}", f"busy:{BUSY}", f"slow:{SLOW}")
            here = cluster.host(21)
            outbound = [
                {"service": f"{NAMESPACE}/{service}", "port": port, "listen": f"{here}:{port}"}
                for service, port in SERVICES.items()
            ]
            found.append(Site(cluster, pod, cluster.sidecar("caller", here, "caller", outbound=outbound)))
        second = found[0].cluster.pod(12, f"http:{ECHO}")
        clusters.introduce()
        for site in found:
            for service, port in SERVICES.items():
                site.cluster.export(service, {"http": port}, [site.pod.sidecar.address])
            site.cluster.controller.start()
            site.cluster.gateway.start()
            site.pod.start()
            site.caller.start()
        second.start()
        all_ready(*(site.cluster for site in found))
        yield Sites(clusters, found[0], found[1], found[2], second)


@pytest.fixture
def sites(running: Sites) -> Sites:
    """The clusters with everything up and no policy, and all callers sure of it."""
    for site in running.all:
        for service in SERVICES:
            (site.cluster.directory / f"policy-{service}.yaml").unlink(missing_ok=True)
    running.set.revive(*(site.pod for site in running.all))
    running.serve(running.east.pod.sidecar.address)
    for site in running.all:
        for service, port in SERVICES.items():
            eventually(
                lambda site=site, service=service, port=port: (
                    get(site.caller.address, port)[0] == 200 and list(site.hosts(service).values()) == [True] * 3
                ),
                f"{site.cluster.name} calls all of {service}",
                seconds=60,
            )
    return running


async def test_weights_hold_and_fail_over(sites: Sites) -> None:
    """80 to 20 within 3 %; with the cluster of the 80 dead no call is lost: the other one of its tier answers, and the
    next tier a part, as less of the first is healthy than the usual threshold."""
    clusters = [{"name": "us-east", "weight": 80}, {"name": "us-west", "weight": 20}]
    sites.east.policy("echo", failover={"order": [{"clusters": clusters}]})
    url = sites.east.url(ECHO)
    async with steady_load({url: 300.0}) as weighed:
        await calls_reach(weighed[url], 2000, 60)
    outcome = weighed[url]
    assert abs(outcome.answered_by("us-west") / outcome.calls - 0.2) < 0.03, outcome.answers
    assert outcome.answered_by("us-east") + outcome.answered_by("us-west") == outcome.calls

    async with steady_load({url: 100.0}) as outcomes:
        await calls_reach(outcomes[url], 50)
        sites.east.pod.kill()
        await until(lambda: not all(sites.east.hosts("echo").values()), "the dead endpoint is ejected")
        before = outcomes[url].answers.copy()
        await calls_reach(outcomes[url], 200)
    assert failures(outcomes) == {}
    assert outcomes[url].answers["us-west-11"] - before["us-west-11"] > 100
    assert outcomes[url].answers["us-east-11"] == before["us-east-11"]


async def test_calls_keep_to_the_order_of_the_policy(sites: Sites) -> None:
    """The farthest cluster first where the policy says so, and the own one where that dies."""
    sites.east.policy("echo", failover={"order": [{"clusters": [{"name": "eu-west"}]}, {"scope": "OwnCluster"}]})
    url = sites.east.url(ECHO)
    async with steady_load({url: 100.0}) as outcomes:
        await calls_reach(outcomes[url], 100)
        assert set(outcomes[url].answers) == {"eu-west-11"}
        sites.europe.pod.kill()
        await until(lambda: outcomes[url].answered_by("us-east") > 50, "the own cluster answers")
    assert failures(outcomes) == {}
    assert outcomes[url].answered_by("us-west") == 0


async def test_below_its_threshold_a_cluster_gets_its_part_alone(sites: Sites) -> None:
    """With one of four endpoints ready and a threshold of half, half of the calls stay: the one is not toppled."""
    sites.east.policy("echo", failover={"threshold": 50})
    sites.serve(sites.east.pod.sidecar.address, unready=3)
    url = sites.east.url(ECHO)
    async with steady_load({url: 300.0}) as outcomes:
        await calls_reach(outcomes[url], 1500, 60)
    assert failures(outcomes) == {}
    assert abs(outcomes[url].answered_by("us-east") / outcomes[url].calls - 0.5) < 0.06, outcomes[url].answers
    assert outcomes[url].answered_by("eu-west") == 0


async def test_an_endpoint_that_comes_ramps_up(sites: Sites) -> None:
    """Of two endpoints, one of which is new, the new one begins with far less than half of the calls."""
    sites.east.policy("echo", loadBalancing={"algorithm": "RoundRobin", "ramp": "12s"})
    url = sites.east.url(ECHO)
    async with steady_load({url: 50.0}) as outcomes:
        # To a policy that is new all endpoints are: as many calls as take the first one over its ramp.
        await calls_reach(outcomes[url], 650, 60)
        await asyncio.to_thread(sites.serve, sites.east.pod.sidecar.address, sites.second.sidecar.address)
        before = outcomes[url].answers.copy()
        await calls_reach(outcomes[url], 100)
        after = outcomes[url].answers - before
    assert failures(outcomes) == {}
    assert 0 < after["us-east-12"] < 0.35 * after.total(), after


async def test_equal_headers_go_to_one_endpoint(sites: Sites) -> None:
    """By a ring hash over the clusters of a tier: one user, one endpoint; many users, all endpoints."""
    tier = {"clusters": [{"name": name} for name in ("us-east", "us-west", "eu-west")]}
    sites.east.policy(
        "echo",
        failover={"order": [tier]},
        loadBalancing={"algorithm": "RingHash", "hashOn": {"header": "x-user"}},
    )
    users: dict[str, set[str]] = {}
    async with aiohttp.ClientSession() as session:

        async def spread() -> bool:
            users.clear()
            for number in range(60):
                user = f"user-{number % 20}"
                async with session.get(sites.east.url(ECHO), headers={"x-user": user}) as response:
                    users.setdefault(user, set()).add((await response.json())["app"])
            return all(len(apps) == 1 for apps in users.values())

        # The listener, which says what is hashed, comes after the cluster.
        async with asyncio.timeout(30):
            while not await spread():
                pass
    assert len({app for apps in users.values() for app in apps}) == 3


async def test_calls_end_in_time(sites: Sites) -> None:
    """With a 504, whether they may be repeated, are hedged for it, or not; what is in time is answered."""
    sites.east.policy("slow", timeouts={"request": "900ms"})
    sites.east.policy("busy", timeouts={"request": "20s", "backendRequest": "10s"})
    here = sites.east.caller.address
    for method in ("GET", "POST"):
        eventually(lambda method=method: get(here, SLOW, method=method)[0] == 504, f"a slow {method} ends")
        assert get(here, BUSY, method=method)[0] == 200


async def test_more_calls_at_a_time_than_the_limit_are_refused(sites: Sites) -> None:
    """At the caller's own sidecar, at once."""
    sites.east.policy("busy", limits={"requests": 3}, retries={"attempts": 0})

    async def statuses() -> Counter[int]:
        async with aiohttp.ClientSession() as session:

            async def call() -> int:
                async with session.get(sites.east.url(BUSY)) as response:
                    return response.status

            return Counter(await asyncio.gather(*(call() for _ in range(12))))

    async with asyncio.timeout(30):
        while (found := await statuses())[503] < 9:
            pass
    assert found == {200: 3, 503: 9}


async def test_ejection_can_be_switched_off(sites: Sites) -> None:
    """A dead endpoint stays, and its calls are tried elsewhere one by one."""
    sites.east.policy("echo", outlierDetection={"consecutiveFailures": 0})
    url = sites.east.url(ECHO)
    sites.east.pod.app.kill()
    async with steady_load({url: 50.0}) as outcomes:
        await calls_reach(outcomes[url], 100)
    assert failures(outcomes) == {}
    assert list(sites.east.hosts("echo").values()) == [True] * 3


# Capacity

CAPACITY, CALLERS = 10, 6
"""Calls that one endpoint of ``busy`` takes at a time, and those that callers of each cluster make: 60 %."""


@dataclass(slots=True)
class Calls:
    """What became of the calls of one cluster's callers, and how busy the endpoints were."""

    statuses: Counter[int] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    peaks: Counter[str] = field(default_factory=Counter)
    """The most calls that each application answered at a time."""
    shed: Counter[str] = field(default_factory=Counter)
    """Texts of the answers that say that no capacity was left."""


@asynccontextmanager
async def callers(*sites: Site, method: str = "GET") -> AsyncIterator[dict[str, Calls]]:
    """In each cluster six callers, each of which always waits for one call of ``busy``."""
    found = {site.cluster.name: Calls() for site in sites}
    stopping = asyncio.Event()
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as tasks:

        async def keep_calling(site: Site, calls: Calls) -> None:
            while not stopping.is_set():
                async with session.request(method, site.url(BUSY)) as response:
                    text = await response.text()
                calls.statuses[response.status] += 1
                if response.status == 200:
                    seen = json.loads(text)
                    calls.answers[seen["app"]] += 1
                    calls.peaks[seen["app"]] = max(calls.peaks[seen["app"]], seen["in_flight"])
                elif "x-federation-overloaded" in response.headers:
                    calls.shed[text] += 1
                    await asyncio.sleep(0.02)  # As a caller would who is told to come back.

        for site in sites:
            for _ in range(CALLERS):
                tasks.create_task(keep_calling(site, found[site.cluster.name]))
        try:
            yield found
        finally:
            stopping.set()


async def answered(calls: Calls, more: int) -> None:
    """Wait until so many more calls have ended."""
    wanted = calls.statuses.total() + more
    async with asyncio.timeout(60):
        while calls.statuses.total() < wanted:
            await asyncio.sleep(0.02)


def state_capacity(sites: Sites, others: int) -> None:
    """Let every cluster state what its endpoints take, and wait until the callers count on it."""
    for site in sites.all:
        # Hedges would be calls of their own, on a machine that takes its time.
        site.policy(
            "busy",
            capacity={"requestsPerEndpoint": CAPACITY, "othersPercent": others},
            retries={"hedgeAfter": "0s"},
        )
    for site in sites.all:
        eventually(
            lambda site=site: _others_limit(site.pod.sidecar) == CAPACITY * others // 100,
            f"{site.cluster.name} limits the others",
        )
        eventually(lambda site=site: "retriable-headers" in _listeners(site), f"{site.cluster.name} tries elsewhere")


def _others_limit(sidecar: Sidecar) -> int:
    """Calls that the sidecar lets through to ``busy`` with the high priority, which has no limit but Envoy's usual."""
    for entry in sidecar.admin.read("/clusters?format=json")["cluster_statuses"]:
        if entry["name"].startswith("app|") and f"|{BUSY}|" in entry["name"]:
            return int(entry["circuit_breakers"]["thresholds"][1]["max_requests"])
    return 0


def _listeners(site: Site) -> str:
    listeners = site.caller.admin.read("/config_dump?resource=dynamic_listeners")["configs"]
    return json.dumps([one for one in listeners if str(BUSY) in one["name"]])


async def test_a_killed_cluster_at_60_percent_load_topples_none_of_the_others(sites: Sites) -> None:
    """The calls of its callers go to the others as far as those can take them; nobody is busier than it can be, and
    whoever calls at home there notices nothing. Calls that can't be repeated are placed just as well."""
    state_capacity(sites, others=40)
    async with callers(*sites.all) as found:
        for calls in found.values():
            await answered(calls, 60)
        sites.east.pod.kill()
        await until(lambda: not all(sites.east.hosts("busy").values()), "the dead endpoint is ejected")
        for calls in found.values():
            await answered(calls, 300)
    east, west, europe = (found[site.cluster.name] for site in sites.all)
    assert east.statuses == {200: east.statuses.total()}
    assert (set(west.statuses), set(west.answers)) == ({200}, {"us-west-11"})
    assert (set(europe.statuses), set(europe.answers)) == ({200}, {"eu-west-11"})
    assert east.answers["us-west-11"] > 0
    assert east.answers["eu-west-11"] > 0
    peaks = [max(calls.peaks[app] for calls in found.values()) for app in ("us-west-11", "eu-west-11")]
    assert max(peaks) <= CAPACITY, peaks
    # Whoever refused was not taken for ill.
    assert list(sites.east.hosts("busy").values()).count(True) == 2

    async with callers(sites.east, method="POST") as posts:
        await answered(posts["us-east"], 100)
    assert set(posts["us-east"].statuses) == {200}
    assert set(posts["us-east"].answers) == {"us-west-11", "eu-west-11"}


async def test_what_nobody_can_take_is_shed_and_says_so(sites: Sites) -> None:
    """Where the others spare less than the dead cluster's callers need, the rest fails at once, with the reason; what
    is spared is used, and callers of the others notice nothing."""
    state_capacity(sites, others=10)
    async with callers(*sites.all) as found:
        for calls in found.values():
            await answered(calls, 60)
        sites.east.pod.kill()
        await until(lambda: not all(sites.east.hosts("busy").values()), "the dead endpoint is ejected")
        await answered(found["us-west"], 60)
        for calls in found.values():
            calls.peaks.clear()
            calls.answers.clear()
        for calls in found.values():
            await answered(calls, 300)
    east, west, europe = (found[site.cluster.name] for site in sites.all)
    assert set(east.statuses) == {200, 503}
    # All but those whose last try was the dead endpoint: while it dies, and when its ejection ends.
    assert set(east.shed) == {"no capacity left for calls of other clusters"}
    assert east.shed.total() > 0.95 * east.statuses[503]
    assert east.answers["us-west-11"] > 0
    assert east.answers["eu-west-11"] > 0
    assert set(west.statuses) == set(europe.statuses) == {200}
    # What is spared is one call at a time: the part of one caller, beside the six at home.
    for home, name in ((west, "us-west-11"), (europe, "eu-west-11")):
        assert east.answers[name] * CALLERS < 1.3 * home.answers[name], (east.answers, home.answers)
        assert max(home.peaks[name], east.peaks[name]) < CAPACITY
    assert list(sites.east.hosts("busy").values()).count(True) == 2
