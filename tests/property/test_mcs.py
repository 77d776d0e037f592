"""Properties of the objects in Kubernetes: any history of exports, and of meddling by hand, settles and stays still."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.mcs.desired import KubernetesCluster, desired_objects
from controllers.mcs.endpoint_slices import ImportedEndpoint, distribute
from controllers.mcs.export_status import Delivery, Publication
from controllers.mcs.objects import Apply, derived_id, export_id, import_id, is_ours, section
from controllers.mcs.plan import plan_writes
from controllers.mcs.served_api import ServedApi, parse_served_api
from controllers.projection import meet, project_service
from controllers.sources.manifests import ObjectId
from federation.exchange.base import ExchangeSnapshot, MemberSnapshot
from federation.model.export import export_service
from federation.model.locality import Site
from federation.model.names import ClusterId
from federation.model.state import ServiceState
from support.builders import (
    CREATED,
    EAST,
    ECHO,
    NORTH,
    WEST,
    after,
    endpoint,
    endpoint_port,
    endpoint_slice,
    gateway_record,
    port,
    service,
    service_export,
)
from support.kube.server import multicluster_definitions
from support.mcs_cluster import McsCluster

ROUNDS = 5
"""At most so many writes in a row bring one service in order: delete what can't change, create, take over addresses."""

API = parse_served_api(multicluster_definitions()) or ServedApi()
FAMILIES = [("IPv4",), ("IPv6",), ("IPv4", "IPv6"), ("IPv6", "IPv4")]


@dataclass(slots=True)
class World:
    """The clusterset around cluster east, and the objects in east's API server."""

    kubernetes: McsCluster
    families: tuple[str, ...]
    exports: dict[ClusterId, ServiceState] = field(default_factory=dict)
    trusted: frozenset[ClusterId] = frozenset({WEST, NORTH})
    withdrawn: frozenset[ClusterId] = frozenset()
    seconds: int = 0

    def desired(self) -> tuple[Apply, ...]:
        self.seconds += 1
        local = self.exports.get(EAST, ServiceState())
        peers = ExchangeSnapshot(
            {cluster: _member(cluster, state) for cluster, state in self.exports.items() if cluster != EAST}
        )
        around = meet(Site(EAST, "eu", ""), "east.test", 15006, peers, self.trusted, withdrawn=self.withdrawn)
        return desired_objects(
            ECHO,
            project_service(ECHO, local, peers, around, CREATED),
            local,
            self.kubernetes.observe(),
            around=around,
            cluster=KubernetesCluster(frozenset({"demo"}), API, self.families),
            publication=Publication(Delivery.EXPORTED),
            now=after(self.seconds),
        ).applied

    def settle(self) -> int:
        """Observe, plan and write until nothing is left; returns in how many rounds."""
        for round_ in range(ROUNDS + 1):
            desired = self.desired()
            plan = plan_writes(self.kubernetes.observe(), desired, namespaces={"demo"})
            if plan.empty:
                return round_
            self.kubernetes.carry_out(plan)
            again = plan_writes(self.kubernetes.observe(), desired, namespaces={"demo"})
            assert again.empty, again
        raise AssertionError(f"not settled after {ROUNDS} rounds: {plan}")


def _member(cluster: ClusterId, state: ServiceState) -> MemberSnapshot:
    exported = export_service(ECHO, state, trust_domain=f"{cluster}.test", first_seen=CREATED)
    records = [gateway_record("192.0.2.1", "2001:db8::1"), exported.export, exported.endpoints]
    return MemberSnapshot(cluster, records={record.record_key: record for record in records if record is not None})


@st.composite
def states(draw: st.DrawFn) -> ServiceState:
    families = draw(st.sampled_from(FAMILIES))
    ports = draw(
        st.lists(
            st.sampled_from([port(), port(81), port(81, ""), port(53, "dns", "UDP"), port(80, "web", app="http")]),
            min_size=1,
            max_size=3,
            unique_by=(lambda one: one.name, lambda one: (one.protocol, one.port)),
        )
    )
    count = draw(st.sampled_from([0, 1, 3, 120]))
    pods = [endpoint(f"10.0.{number // 250}.{number % 250 + 1}", hostname=f"echo-{number}") for number in range(count)]
    return ServiceState(
        service(
            headless=draw(st.booleans()),
            ports=ports,
            ip_families=families,
            session_affinity=draw(st.sampled_from(["None", "ClientIP"])),
            traffic_distribution=draw(st.sampled_from([None, "PreferClose"])),
        ),
        service_export(
            created=after(draw(st.integers(0, 3))),
            labels=draw(st.dictionaries(st.sampled_from(["team", "no label"]), st.sampled_from(["a", "b"]))),
            annotations=draw(st.dictionaries(st.sampled_from(["note", "why"]), st.just("x"))),
        ),
        (
            endpoint_slice(
                *pods, ports=[endpoint_port(8080 + number, one.name, one.protocol) for number, one in enumerate(ports)]
            ),
        ),
    )


steps = st.one_of(
    st.tuples(st.just("export"), st.sampled_from([EAST, WEST, NORTH]), states()),
    st.tuples(st.just("unexport"), st.sampled_from([EAST, WEST, NORTH]), st.none()),
    st.tuples(st.just("trust"), st.sampled_from([WEST, NORTH]), st.none()),
    st.tuples(st.just("withdraw"), st.sampled_from([WEST, NORTH]), st.none()),
    st.tuples(st.just("delete"), st.integers(0, 5), st.none()),
    st.tuples(st.just("edit"), st.integers(0, 5), st.integers(0, 3)),
)


def take(world: World, step: tuple[str, object, object]) -> None:
    match step:
        case ("export", str() as cluster, ServiceState() as state):
            world.exports[ClusterId(cluster)] = state
            if cluster == EAST and export_id(ECHO) not in world.kubernetes.observe():
                world.kubernetes.create("ServiceExport", "demo", {"metadata": {"name": "echo"}})
        case ("unexport", str() as cluster, _):
            world.exports.pop(ClusterId(cluster), None)
            if cluster == EAST and export_id(ECHO) in world.kubernetes.observe():
                world.kubernetes.delete(export_id(ECHO))
        case ("trust", str() as cluster, _):
            world.trusted ^= {ClusterId(cluster)}
        case ("withdraw", str() as cluster, _):
            world.withdrawn ^= {ClusterId(cluster)}
        case ("delete", int() as number, _):
            if target := _ours(world, number):
                world.kubernetes.delete(target)
        case ("edit", int() as number, int() as how):
            if target := _ours(world, number):
                world.kubernetes.edit(target, _edits(target, world.kubernetes.observe()[target])[how])


def _ours(world: World, number: int) -> ObjectId | None:
    found = sorted(id_ for id_, body in world.kubernetes.observe().items() if is_ours(id_.kind, body))
    return found[number % len(found)] if found else None


def _edits(target: ObjectId, body: Mapping[str, object]) -> list[dict[str, object]]:
    """What somebody may do to an object: take labels, add one, drop what belongs there, change what we state."""
    address = "fd00::99" if body.get("addressType") == "IPv6" else "10.9.9.9"
    changed: dict[str, dict[str, object]] = {
        "EndpointSlice": {"endpoints": [{"addresses": [address]}], "ports": []},
        "Service": {"spec": {"ports": [{"name": "other", "port": 9}]}},
        "ServiceImport": {"spec": {"ips": ["10.9.9.9"], "sessionAffinity": "ClientIP", "trafficDistribution": "x"}},
    }
    return [
        {"metadata": {"labels": None}},
        {"metadata": {"labels": {"somebody": "else"}}},
        {"metadata": {"ownerReferences": None, "annotations": None}},
        changed[target.kind],
    ]


@given(st.lists(steps, max_size=6), st.sampled_from([("IPv4",), ("IPv4", "IPv6")]))
@settings(max_examples=60)
def test_any_history_settles_and_is_then_still(
    history: list[tuple[str, object, object]], families: tuple[str, ...]
) -> None:
    """After each step a few rounds of writes are accepted and then none is left; applying a plan leaves it empty; what
    is not exported has no object, what is has its import, and objects of others stay."""
    world = World(McsCluster("demo", dual_stack=len(families) == 2), families)
    world.kubernetes.create("Service", "demo", {"metadata": {"name": "echo"}, "spec": {"ports": [{"port": 80}]}})
    others = world.kubernetes.observe()[ObjectId("Service", "demo", "echo")]
    for step in history:
        take(world, step)
        world.settle()
        observed = world.kubernetes.observe()

        assert (import_id(ECHO) in observed) == bool(world.exports)
        assert world.exports or not any(is_ours(id_.kind, body) for id_, body in observed.items())
        assert observed[ObjectId("Service", "demo", "echo")] == others
        assert world.settle() == 0


@given(states(), st.lists(st.tuples(st.just("delete"), st.integers(0, 5), st.none()), max_size=4), states())
@settings(max_examples=40)
def test_the_clusterset_ip_outlives_whatever_is_deleted_by_hand(
    state: ServiceState, deletions: list[tuple[str, int, None]], younger: ServiceState
) -> None:
    """One object after the other may be deleted, and others may export: the import has the address that it had."""
    assert state.service is not None
    state = replace(state, service=replace(state.service, headless=False, ip_families=("IPv4",)))
    world = World(McsCluster("demo"), ("IPv4",), {WEST: state})
    world.settle()
    before = section(world.kubernetes.observe()[import_id(ECHO)], "spec")["ips"]
    for step in deletions:
        take(world, step)
        world.settle()
    world.exports[NORTH] = replace(younger, export=service_export(created=after(10)))
    world.settle()
    observed = world.kubernetes.observe()

    assert section(observed[import_id(ECHO)], "spec")["ips"] == before
    assert section(observed[derived_id(ECHO)], "spec")["clusterIPs"] == before


endpoints = st.sets(st.integers(0, 40)).map(
    lambda found: frozenset(ImportedEndpoint((f"10.0.0.{number}",)) for number in found)
)


@given(st.lists(endpoints, min_size=2, max_size=5), st.integers(1, 7))
def test_an_endpoint_stays_in_its_slice(wanted: list[frozenset[ImportedEndpoint]], limit: int) -> None:
    """Through every change each endpoint is in exactly one lot, no lot is too large or empty, and none moves."""
    lots: dict[int, tuple[ImportedEndpoint, ...]] = {}
    for now in wanted:
        before = {one: number for number, lot in lots.items() for one in lot}
        lots = distribute(lots, now, limit)
        placed = [one for lot in lots.values() for one in lot]

        assert sorted(placed) == sorted(now)
        assert all(0 < len(lot) <= limit and list(lot) == sorted(lot) for lot in lots.values())
        assert all(before[one] == number for number, lot in lots.items() for one in lot if one in before)
