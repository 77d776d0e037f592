"""What befalls controllers, API servers and objects in Kubernetes: all of it heals, and nothing is emptied on the way.

One clusterset for all tests, cluster west with two controllers: each test leaves it as it found it. On the stand-in
and, where they are found, on real API servers, one for each cluster.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import redis

from controllers.mcs.objects import derived_id
from controllers.trust_report import TrustReport
from federation.cli.owner import ask
from federation.model.names import ServiceKey
from support.exchange import until
from support.kube.faults import Failure
from support.kube.fixtures import found_assets
from support.kube.plane import REAL, STAND_IN
from support.kube.real import RealServer, real_server
from support.kube.server import StandIn, multicluster_definitions
from support.kube_members import CLUSTERSET, SECONDS, KubeClusters, KubeMember, Replica, exported, kube_clusters

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

DERIVED = derived_id(ServiceKey("demo", "echo")).name


class Set:
    """East imports what west exports, and the other way round."""

    def __init__(self, clusters: KubeClusters) -> None:
        self.east, self.west = clusters.members["east"], clusters.members["west"]
        self._url = clusters.redis.url

    def imported(self) -> dict[str, Any]:
        """What each cluster has of the service that is imported, as far as it matters to callers."""
        return {member.name: facts(member) for member in (self.east, self.west)}

    async def in_order(self) -> dict[str, Any]:
        """Until both clusters have all there is to have, and nothing is left to write."""
        await until(lambda: all(_whole(member) for member in (self.east, self.west)), seconds=SECONDS)
        await until(lambda: all(_in_order(member) for member in (self.east, self.west)), seconds=SECONDS)
        return self.imported()

    def peer_states(self) -> list[str]:
        """What west is to east."""
        return [peer.state for peer in self.east.replicas[0].status().peers]

    def last_beat(self) -> bytes | None:
        """The lease of west as the exchange has it."""
        with redis.Redis.from_url(self._url) as client:
            (key,) = client.keys("*west*:lease") or [b""]
            found: bytes | None = client.get(key)
        return found

    def bundle_of_west(self) -> int | None:
        """Its sequence, by which east verifies."""
        report = ask(self.east.replicas[0].directory, "/v1/trust", TrustReport)
        return next((one.sequence for one in report.domains if one.cluster == "west"), None)

    async def leader(self) -> Replica:
        """The controller of west that leads, as its lease says."""
        pod = (await self.west.leader()).rpartition("_")[0]
        return self.west.replicas[int(pod.rpartition("-")[2])]


def real_plane(stack: AsyncExitStack) -> RealServer:
    """A control plane with the definitions, until the stack ends; the test is skipped where there is none."""
    server = stack.enter_context(real_server(found_assets()))
    for definition in multicluster_definitions():
        server.install(definition)
    server.start_controllers()
    return server


def _whole(member: KubeMember) -> bool:
    found = member.objects("ServiceImport").get("echo")
    slices = member.objects("EndpointSlice").values()
    ours = [one for one in slices if "multicluster.kubernetes.io/service-name" in one["metadata"]["labels"]]
    return bool(found and found["spec"].get("ips") and DERIVED in member.objects("Service") and ours)


def facts(member: KubeMember) -> tuple[Any, ...]:
    found = member.objects("ServiceImport")["echo"]
    return (found["spec"]["ips"], found["spec"]["ports"], [one["cluster"] for one in found["status"]["clusters"]])


def _in_order(member: KubeMember) -> bool:
    """Whether the controller that leads has nothing left to write."""
    reports = [replica.status() for replica in member.replicas if replica.ready]
    return any(report.kubernetes is not None and report.kubernetes.in_order for report in reports)


def _leads(replica: Replica) -> bool:
    kubernetes = replica.status().kubernetes if replica.ready else None
    return kubernetes is not None and kubernetes.leads


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[STAND_IN, REAL])
async def clusterset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Set]:
    root: Path = tmp_path_factory.mktemp("healing")
    async with AsyncExitStack() as stack:
        # Of their own: these are killed, and their definitions deleted.
        servers = [real_plane(stack) if request.param == REAL else None for _ in range(2)]
        clusters = await stack.enter_async_context(kube_clusters(root))
        east = await clusters.add("east", "eu", server=servers[0], gateway={"addresses": ["192.0.2.1:15443"]})
        west = await clusters.add("west", "us", server=servers[1], gateway={"addresses": ["192.0.2.2:15443"]})
        for member in (east, west):
            member.settings["kubernetes"]["leaseSeconds"] = 4
            member.namespace()
        await clusters.found(east, west)
        west.start(1)
        for document in exported():
            west.create(document)
        found = Set(clusters)
        await found.in_order()
        await until(lambda: west.replicas[1].ready, seconds=SECONDS)
        yield found


async def test_a_leader_that_dies_is_replaced_by_one_that_changes_nothing(clusterset: Set) -> None:
    """The one that stood by knows all; its objects are in order, so that it writes none, and peers see no gap."""
    before = await clusterset.in_order()
    dead = await clusterset.leader()
    (other,) = [one for one in clusterset.west.replicas if one is not dead]
    writes, bundle = len(clusterset.west.writes()), dead.status().authority
    dead.child.kill()
    await until(lambda: _leads(other), seconds=SECONDS)
    for document in exported("web", "10.0.0.2"):
        clusterset.west.create(document)
    await until(lambda: "web" in clusterset.east.objects("ServiceImport"), seconds=SECONDS)
    seen = clusterset.imported()
    touched = {name for _, verb, plural, name in _named_writes(clusterset.west)[writes:] if "echo" in name}
    for kind, name in (("ServiceExport", "web"), ("Service", "web"), ("EndpointSlice", "web-1")):
        clusterset.west.delete(kind, name)
    await until(lambda: "web" not in clusterset.east.objects("ServiceImport"), seconds=SECONDS)
    dead.child.start()
    await until(lambda: dead.ready, seconds=SECONDS)

    assert seen == before
    assert touched == set()
    assert bundle is not None
    assert other.status().authority.sequence == bundle.sequence  # type: ignore[union-attr]


async def test_a_ca_that_dies_with_its_leader_was_seen_by_nobody(clusterset: Set) -> None:
    """A leader is killed before the Secret has the CA that it made: the next one makes another, and peers take it."""
    if not isinstance(clusterset.west.server, StandIn):
        pytest.skip("a real API server does not refuse one object's writes on demand")
    await clusterset.in_order()
    dead = await clusterset.leader()
    (other,) = [one for one in clusterset.west.replicas if one is not dead]
    ledger = dead.directory / "state/ca/journal.json"
    clusterset.west.server.faults.fail(Failure(500, 10**6, verbs=("update",), plural="secrets"))
    before, sequence = ledger.read_bytes(), clusterset.bundle_of_west()
    ask(dead.directory, "/v1/rotations/ca?now=true", dict[str, object], method="POST")
    await until(lambda: ledger.read_bytes() != before, seconds=SECONDS)
    await until(lambda: any("NotShared" in one for one in dead.status().problems), seconds=SECONDS)
    # Whatever is offered is taken by then: the beat goes by the same connection.
    beat = clusterset.last_beat()
    await until(lambda: clusterset.last_beat() != beat, seconds=SECONDS)
    seen = clusterset.bundle_of_west()
    dead.child.kill()
    clusterset.west.server.faults.clear_failures()
    await until(lambda: _leads(other), seconds=SECONDS)
    said = await clusterset.west.run("rotate", "ca", "--now")
    await until(lambda: clusterset.bundle_of_west() == other.status().authority.sequence, seconds=SECONDS)  # type: ignore[union-attr]
    problems = clusterset.east.replicas[0].status().problems
    dead.child.start()
    await until(lambda: dead.ready, seconds=SECONDS)

    assert seen == sequence
    assert "signs, bundle" in said
    assert not [one for one in problems if "bundle" in one]


async def test_a_pod_that_is_replaced_begins_with_what_is_shared(clusterset: Set) -> None:
    """An empty disk is no loss: membership, CA and objects are as they were, and nothing is written."""
    before = await clusterset.in_order()
    (replica,) = clusterset.east.replicas
    sequence, writes = replica.status().authority.sequence, len(clusterset.east.writes())  # type: ignore[union-attr]
    replica.child.kill()
    for path in sorted(replica.directory.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    replica.child.start()
    await until(lambda: _leads(replica), seconds=SECONDS)
    after = await clusterset.in_order()

    assert after == before
    assert replica.status().authority.sequence == sequence  # type: ignore[union-attr]
    assert clusterset.east.writes()[writes:] == []


async def test_an_api_server_that_is_away_takes_nothing_away(clusterset: Set) -> None:
    """The controllers go on with what they know, and speak for their cluster; back, it is found as it was."""
    before = await clusterset.in_order()
    writes, states = len(clusterset.west.writes()), clusterset.peer_states()
    await clusterset.west.cluster.vanish()
    leader = next(one for one in clusterset.west.replicas if one.child.running)
    await until(lambda: any("LeaseUnavailable" in one for one in leader.status().problems), seconds=SECONDS)
    # Nobody leads, and nobody could.
    await until(lambda: not any(map(_leads, clusterset.west.replicas)), seconds=SECONDS)
    for _ in range(2):
        beat = clusterset.last_beat()
        await until(lambda beat=beat: clusterset.last_beat() != beat, seconds=SECONDS)
    # What is stored in west nobody can see now.
    seen = facts(clusterset.east), clusterset.peer_states()
    await clusterset.west.cluster.come_back()
    after = await clusterset.in_order()
    await until(lambda: all("Unavailable" not in one for one in leader.status().problems), seconds=SECONDS)

    assert (seen, after) == ((before["east"], states), before)
    assert clusterset.west.writes()[writes:] == []


@pytest.mark.parametrize("plural", ["serviceimports", "serviceexports"])
async def test_a_definition_that_goes_and_comes_back_takes_no_address_along(clusterset: Set, plural: str) -> None:
    """Its objects go with it. Imports come back with the addresses that they had; exports are the users' to make."""
    before = await clusterset.in_order()
    cluster = clusterset.west.cluster
    removed = await cluster.delete_definition(f"{plural}.multicluster.x-k8s.io")
    await until(
        lambda: any(plural in one for replica in clusterset.west.replicas for one in replica.status().problems),
        seconds=SECONDS,
    )
    held = DERIVED in clusterset.west.objects("Service")
    await cluster.restore_definition(removed)
    if plural == "serviceexports":
        await until(lambda: not clusterset.east.objects("ServiceImport"), seconds=SECONDS)
        clusterset.west.create(exported()[-1])
    after = await clusterset.in_order()

    assert held
    assert plural == "serviceexports" or after == before


@pytest.mark.parametrize("kind", ["ServiceImport", "Service", "EndpointSlice"])
async def test_a_derived_object_that_somebody_edits_or_deletes_is_as_it_was(clusterset: Set, kind: str) -> None:
    """What is ours in it comes back, the address with it; nothing else of the service is written."""
    before = await clusterset.in_order()
    east = clusterset.east
    name = next(
        name
        for name, one in east.objects(kind).items()
        if name in {"echo", DERIVED} or "multicluster.kubernetes.io/service-name" in one["metadata"].get("labels", {})
    )
    edits: dict[str, dict[str, Any]] = {
        "ServiceImport": {"spec": {"sessionAffinity": "ClientIP", "ports": []}},
        "Service": {"spec": {"ports": [{"name": "other", "port": 1}]}},
        "EndpointSlice": {"ports": []},
    }
    original = east.objects(kind)[name]
    east.edit(kind, name, edits[kind])
    await until(lambda: _ours(kind, east.objects(kind)[name]) == _ours(kind, original), seconds=SECONDS)
    edited = await clusterset.in_order()
    east.delete(kind, name)
    await until(
        lambda: any(_ours(kind, one) == _ours(kind, original) for one in east.objects(kind).values()), seconds=SECONDS
    )
    deleted = await clusterset.in_order()

    assert (edited, deleted) == (before, before)


def _ours(kind: str, document: Mapping[str, Any]) -> tuple[Any, ...]:
    """What of an object is as it was computed."""
    spec = document.get("spec", {})
    if kind == "Service":
        # A port that somebody added is theirs, and harms nobody.
        return spec["clusterIPs"], [port for port in spec["ports"] if port["port"] == 80]
    return spec, document.get("ports"), document.get("endpoints")


def _named_writes(member: KubeMember) -> list[tuple[str, str, str, str]]:
    return [
        (one.user, one.asked.verb, one.asked.plural, one.asked.name)
        for one in member.server.audit
        if one.asked.verb not in {"get", "list", "watch"} and one.asked.namespace == "demo"
    ]


async def test_the_clusterset_is_as_it_was(clusterset: Set) -> None:
    """After all of that both clusters are members, and trust each other."""
    await clusterset.in_order()
    for member in (clusterset.east, clusterset.west):
        report = member.replicas[0].status()
        assert (report.clusterset, [peer.trusted for peer in report.peers]) == (CLUSTERSET, [True])
