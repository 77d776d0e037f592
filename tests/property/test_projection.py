"""Properties of passes: any history of partial ones ends where one whole pass ends, and a small change stays small."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.liveness import GRACE_SECONDS
from federation.membership.tokens import NodePrincipal
from federation.model.names import BUNDLE_KEY, GATEWAY_KEY, ServiceKey, endpoints_key, export_key, sni
from federation.model.records import EndpointAddress, ImportType
from federation.model.state import EndpointSlice, ServiceState
from federation.model.traffic_policy import (
    Capacity,
    ClusterShare,
    Failover,
    Limits,
    PolicySpec,
    Target,
    Tier,
    TrafficPolicy,
    Unlisted,
)
from gateway.nodes import Listen, LocalPort, Node, SidecarNode
from support.builders import (
    NORTH,
    WEST,
    after,
    endpoint,
    endpoint_port,
    endpoint_slice,
    endpoints_record,
    export_record,
    exported_state,
    gateway_record,
    key,
    port,
    service,
    service_export,
    spiffe_id,
)
from support.certificates import MemoryKeystore
from support.clock import ManualClock
from support.control import GATEWAY, SIDECAR, Changes, ControlLoop, FakePeers, bundle, ca_of, started_authority

KEYS = [key("demo/echo"), key("demo/web"), key("shop/echo")]
PEERS = [WEST, NORTH]
NODES: dict[str, Node] = {
    "gateway": GATEWAY,
    "proxy": SIDECAR,
    "local": SidecarNode(
        address="10.0.0.2",
        inbound_port=15006,
        outbound=(
            LocalPort("demo", "echo", 80, Listen("127.0.0.1", 8001)),
            LocalPort("shop", "echo", 90, Listen("127.0.0.1", 8002)),
        ),
    ),
    "redirect": SidecarNode(address="10.0.0.3", inbound_port=16006, redirect_port=15001),
}

SEQUENCE = count(1)

Action = Callable[[ControlLoop], None]

ports = st.lists(
    st.sampled_from([port(), port(90, "tcp-raw"), port(90, "grpc"), port(53, "dns", "UDP")]),
    min_size=1,
    max_size=3,
    unique_by=lambda each: (each.protocol, each.port),
)


@st.composite
def slices(draw: st.DrawFn, of: ServiceKey) -> EndpointSlice:
    addresses = draw(st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]), unique=True))
    return endpoint_slice(
        *(endpoint(one, ready=draw(st.booleans()), zone=draw(st.sampled_from(["", "a"]))) for one in addresses),
        of=of,
        ports=[endpoint_port(), endpoint_port(9090, "tcp-raw")],
        service_account=draw(st.sampled_from(["default", "web", "no account"])),
        inbound_port=draw(st.sampled_from([None, 16006])),
    )


@st.composite
def own_services(draw: st.DrawFn) -> Action:
    of = draw(st.sampled_from(KEYS))
    exports = st.builds(partial(service_export, of), created=st.sampled_from([None, after(0), after(7200)]))
    state = draw(
        st.none()
        | st.builds(
            ServiceState,
            st.none() | st.builds(partial(service, of), ports=ports, headless=st.booleans()),
            st.none() | exports,
            st.lists(slices(of), max_size=2).map(tuple),
        )
    )
    return lambda loop: loop.own({of: state})


@st.composite
def peer_services(draw: st.DrawFn) -> Action:
    of, peer = draw(st.sampled_from(KEYS)), draw(st.sampled_from(PEERS))
    match draw(st.sampled_from(["export", "endpoints", "withdraw export", "withdraw endpoints"])):
        case "export":
            ids = draw(st.sampled_from([(), (spiffe_id(peer),), (spiffe_id(peer, "web"),)]))
            kind = draw(st.sampled_from(ImportType))
            created = after(draw(st.integers(0, 2)))
            record = export_record(of, created=created, type=kind, ports=draw(ports), identities=ids)
            return lambda loop: loop.say(peer, record)
        case "endpoints":
            counts = draw(st.sampled_from([{}, {"": 1}, {"a": 2, "b": 1}]))
            hosts = draw(st.sampled_from([(), ("192.0.2.1",), ("192.0.2.1", "192.0.2.2")]))
            addresses = [EndpointAddress((host,)) for host in hosts]
            capacity = draw(st.sampled_from([0, 5]))
            told = replace(endpoints_record(of, zones=counts, addresses=addresses), capacity=capacity)
            return lambda loop: loop.say(peer, told)
        case "withdraw export":
            return lambda loop: loop.withdraw(peer, export_key(of))
        case _:
            return lambda loop: loop.withdraw(peer, endpoints_key(of))


SPECS = [
    PolicySpec(limits=Limits(requests=5)),
    PolicySpec(capacity=Capacity(10, 40)),
    PolicySpec(failover=Failover((Tier((ClusterShare(WEST, 80), ClusterShare(NORTH, 20))),), Unlisted.NEVER, 50)),
]


@st.composite
def policies(draw: st.DrawFn) -> Action:
    """The policies of a namespace, for one of its services or for all, as old as one another or not."""
    namespace = draw(st.sampled_from(["demo", "shop"]))
    targets = st.lists(st.sampled_from([Target("echo"), Target("web")]), max_size=2, unique=True).map(tuple)
    ages = st.sampled_from([None, after(0), after(60)])
    found = [
        TrafficPolicy(namespace, name, draw(st.sampled_from(SPECS)), draw(targets), draw(ages))
        for name in draw(st.sampled_from(["", "a", "ab", "abc"]))
    ]
    return lambda loop: loop.rule(namespace, *found)


@st.composite
def peer_standing(draw: st.DrawFn) -> Action:
    """A peer's gateway or bundle; sequences of bundles grow, as a member's do."""
    peer = draw(st.sampled_from(PEERS))
    match draw(st.sampled_from(["gateway", "bundle", "bundle", "withdraw gateway", "withdraw bundle"])):
        case "gateway":
            hosts = draw(st.sampled_from([("192.0.2.1",), ("192.0.2.1", "192.0.2.2")]))
            record = gateway_record(*hosts, region=draw(st.sampled_from(["eu", "us"])))
            return lambda loop: loop.say(peer, record)
        case "bundle":
            cas = [
                ca_of(peer, number, hours) for number, hours in draw(st.sampled_from([[(1, 24)], [(1, 24), (2, 3)]]))
            ]
            return lambda loop: loop.say(peer, bundle(peer, *cas, sequence=next(SEQUENCE)))
        case "withdraw gateway":
            return lambda loop: loop.withdraw(peer, GATEWAY_KEY)
        case _:
            return lambda loop: loop.withdraw(peer, BUNDLE_KEY)


def connect(loop: ControlLoop, node: str) -> None:
    principal = None if node == "gateway" else NodePrincipal("sidecar", "demo", node)
    loop.connect(node, NODES[node], principal)


def fail(loop: ControlLoop, part: str) -> None:
    """A pass that raises if it has anything to publish, or can't write down what it has come to."""
    getattr(loop, part).broken = True
    with suppress(RuntimeError):
        loop.step()
    getattr(loop, part).broken = False


def begin(loop: ControlLoop) -> None:
    """Everything is in place: both peers are trusted and export a service, nodes are connected, a pass is done."""
    of = KEYS[0]
    for peer in PEERS:
        export = export_record(of, identities=[spiffe_id(peer)])
        loop.say(peer, export, endpoints_record(of), gateway_record("192.0.2.1"), bundle(peer, sequence=next(SEQUENCE)))
    loop.own({of: exported_state(endpoint_slice(endpoint("10.0.0.1"), of=of), of=of)})
    for node in NODES:
        connect(loop, node)
    loop.step()


@st.composite
def judgements(draw: st.DrawFn) -> Action:
    """West is judged by both signals. North keeps its lease: with both lost, history would count besides the moment."""
    leased, gateway = draw(st.booleans()), draw(st.sampled_from([True, False, None]))
    return lambda loop: loop.judge(WEST, leased=leased, gateway=gateway)


def wait(loop: ControlLoop) -> None:
    """An hour passes, and the trust is looked at anew."""
    loop.clock.advance(timedelta(hours=1))
    loop.controller.on_trust()


connections = st.sampled_from([connect, connect, lambda loop, node: loop.dataplane.disconnect(node)])
events = (
    own_services()
    | peer_services()
    | peer_standing()
    | judgements()
    | policies()
    | st.builds(lambda act, node: partial(act, node=node), connections, st.sampled_from(sorted(NODES)))
    | st.just(wait)
)
passes = st.sampled_from(
    [ControlLoop.step, lambda loop: None, partial(fail, part="peers"), partial(fail, part="journal")]
)
histories = st.lists(st.tuples(events, passes), min_size=4, max_size=14)

AUTHORITY = started_authority(MemoryKeystore())


def _lasting(loop: ControlLoop, node: str) -> dict[tuple[str, str], object]:
    """What a node may see, but for what has a past: keys of tickets, and who of a service's endpoints came first."""
    seen: dict[tuple[str, str], object] = {
        key: version for key, version in loop.seen(node).items() if key[1] != "tickets"
    }
    for kind, name in seen:
        if kind == "EDS" and node == "gateway":
            hosts = (host for part in loop.message(node, kind, name).endpoints for host in part.lb_endpoints)
            seen[kind, name] = sorted(str(host) for host in hosts)
    return seen


@settings(max_examples=100)
@given(st.booleans(), histories)
def test_any_history_of_passes_ends_where_one_whole_pass_ends(
    tmp_path_factory: pytest.TempPathFactory, established: bool, history: list[tuple[Action, Action]]
) -> None:
    """Results, records, trust, clusterset IPs, names and each node's view are those of a controller that started now.

    In the history the own services and policies, the peers' records, gateways and bundles change, authorities expire, a
    peer falls silent or dies, nodes come and go, and passes fail half way.
    """
    directory = tmp_path_factory.mktemp("state")
    clock, peers = ManualClock(), FakePeers(*PEERS)
    lived = ControlLoop(directory, clock=clock, peers=peers, authority=AUTHORITY)
    lived.own({})
    if established:
        begin(lived)
    for event, passing in history:
        event(lived)
        passing(lived)
    # The disk can be written again, for long enough that it was tried.
    clock.advance(timedelta(seconds=5))
    lived.step()
    nodes = lived.dataplane.nodes

    fresh = ControlLoop(directory, clock=clock, peers=FakePeers(*PEERS), authority=AUTHORITY)
    fresh.peers.members = peers.members
    for node in nodes:
        connect(fresh, node)
    fresh.policies = lived.policies
    fresh.own(lived.services)
    # Who lives is judged over time: both have seen the same for as long as it takes to count.
    fresh.gateways.followed, fresh.gateways.up = lived.gateways.followed, lived.gateways.up
    for loop in (lived, fresh):
        loop.controller.on_time()
    clock.advance(timedelta(seconds=GRACE_SECONDS))
    for loop in (lived, fresh):
        loop.controller.on_time()
        loop.controller.on_trust()
        loop.step()

    assert fresh.controller.projection.results == lived.controller.projection.results
    assert fresh.peers.published[-1] == lived.peers.published[-1]
    assert (fresh.controller.trusted, fresh.controller.trust) == (lived.controller.trusted, lived.controller.trust)
    assert (fresh.journal.vips, fresh.journal.first_seen) == (lived.journal.vips, lived.journal.first_seen)
    assert fresh.controller.zone == lived.controller.zone
    assert {node: _lasting(fresh, node) for node in nodes} == {node: _lasting(lived, node) for node in nodes}


# A small change among many services

MANY = [key(f"demo/s{number}") for number in range(500)]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> ControlLoop:
    """500 services, each exported by us and by a peer, and a node of each kind."""
    loop = ControlLoop(tmp_path_factory.mktemp("state"), authority=AUTHORITY)
    for node in NODES:
        connect(loop, node)
    loop.own({of: exported_state(endpoint_slice(endpoint("10.1.0.1"), of=of), of=of) for of in MANY})
    records = [
        record
        for of in MANY
        for record in (export_record(of, identities=[spiffe_id(WEST)]), endpoints_record(of, zones={"a": 3}))
    ]
    loop.say(WEST, *records, gateway_record("192.0.2.1"), bundle(WEST))
    loop.step()
    assert len(loop.names("proxy", "CDS")) == len(MANY)
    return loop


@given(st.sampled_from(MANY), st.integers(1, 9))
@settings(max_examples=20)
def test_one_changed_endpoint_of_a_peer_changes_one_eds_resource(
    crowd: ControlLoop, of: ServiceKey, ready: int
) -> None:
    """A count that moved sends one endpoint assignment to every sidecar, and nothing to the gateway."""
    crowd.say(WEST, endpoints_record(of, zones={"a": ready, "b": 10}))
    crowd.step()
    changes = Changes(crowd, *NODES)
    crowd.say(WEST, endpoints_record(of, zones={"a": ready, "b": 11}))
    crowd.step()

    one = [("EDS", sni(of, 80))]
    assert {"gateway": [], "local": one, "proxy": one, "redirect": one} == {node: changes.of(node) for node in NODES}


@given(st.sampled_from(MANY), st.sampled_from(["10.1.0.2", "10.1.0.3"]))
@settings(max_examples=20)
def test_one_changed_endpoint_of_our_own_changes_one_eds_resource_each(
    crowd: ControlLoop, of: ServiceKey, address: str
) -> None:
    """A pod that came sends one endpoint assignment to every sidecar and one to the gateway."""
    pods = [endpoint("10.1.0.1")]
    crowd.own({of: exported_state(endpoint_slice(*pods, of=of), of=of)})
    crowd.step()
    changes = Changes(crowd, *NODES)
    crowd.own({of: exported_state(endpoint_slice(*pods, endpoint(address), of=of), of=of)})
    crowd.step()

    assert {node: [("EDS", sni(of, 80))] for node in NODES} == {node: changes.of(node) for node in NODES}


def test_the_gateways_listener_is_the_same_for_none_and_for_500_services(
    crowd: ControlLoop, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The listener of a gateway does not grow: its content is byte for byte that of a cluster without exports."""
    empty = ControlLoop(tmp_path_factory.mktemp("state"), authority=AUTHORITY)
    empty.own({})
    empty.connect("gateway", GATEWAY)
    empty.step()

    assert len(crowd.names("gateway", "CDS")) == len(MANY)
    assert crowd.message("gateway", "LDS", "gateway").SerializeToString(deterministic=True) == empty.message(
        "gateway", "LDS", "gateway"
    ).SerializeToString(deterministic=True)
