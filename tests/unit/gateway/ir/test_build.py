"""From the merged view and the own state to imported, exported and inbound ports."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from federation.model.locality import Site
from federation.model.names import ClusterId
from federation.model.records import GatewayAddress
from federation.model.state import ServiceState
from federation.model.view import MergedService
from gateway.ir.build import app_protocol, build_exports, build_imports, build_inbound
from gateway.ir.model import AppProtocol, ExportedPort, ImportedPort, InboundPort, Upstream
from support.builders import (
    EAST,
    ECHO,
    NORTH,
    WEST,
    backend,
    endpoint,
    endpoint_port,
    endpoint_slice,
    exported_state,
    merged_port,
    merged_service,
    port,
    service,
    service_export,
    spiffe_id,
)

OWN = Site(EAST, "eu", "east")
SITES = {WEST: Site(WEST, "eu", "west"), NORTH: Site(NORTH, "us", "north")}
GATEWAYS = {
    WEST: (GatewayAddress("192.0.2.2", 15443), GatewayAddress("192.0.2.1", 15443)),
    NORTH: (GatewayAddress("192.0.2.9", 15443),),
}


def imports(
    merged: MergedService,
    local: ServiceState | None = None,
    *,
    sites: Mapping[ClusterId, Site] = SITES,
    gateways: Mapping[ClusterId, tuple[GatewayAddress, ...]] = GATEWAYS,
    shards: Mapping[ClusterId, int] | None = None,
) -> tuple[ImportedPort, ...]:
    return build_imports(
        merged,
        own=OWN,
        sites=sites,
        gateways=gateways,
        shards=shards or {},
        local=local or ServiceState(),
        sidecar_port=15006,
    )


def exported(*clusters: ClusterId, **zones: Mapping[str, int]) -> MergedService:
    """The sample service, exported by these clusters."""
    return merged_service(
        ports=[merged_port(*clusters)], backends=[backend(cluster, zones=zones.get(cluster)) for cluster in clusters]
    )


@pytest.mark.parametrize(
    ("name", "declared", "expected"),
    [
        ("http", None, "http"),
        ("http-admin", None, "http"),
        ("grpc-api", None, "http2"),
        ("http2", None, "http2"),
        ("h2c", None, "http2"),
        ("web", "http", "http"),
        ("web", "HTTP", "http"),
        ("web", "kubernetes.io/ws", "http"),
        ("web", "kubernetes.io/h2c", "http2"),
        ("web", "grpc", "http2"),
        ("http", "tcp", "tcp"),
        ("http", "example.com/own", "tcp"),
        ("https", None, "tcp"),
        ("httpbin", None, "tcp"),
        ("mysql", None, "tcp"),
        ("web", "https", "tcp"),
        ("", None, "tcp"),
        ("http", "", "http"),
    ],
)
def test_the_protocol_of_a_port(name: str, declared: str | None, expected: str) -> None:
    """What is declared counts, else the first word of the name; whatever names no HTTP is opaque."""
    assert app_protocol(name, declared) == AppProtocol(expected)


# Imports


def test_own_pods_come_before_gateways_and_the_region_before_the_rest() -> None:
    """Own endpoints by address, then the region's gateways, then the others', as contiguous priorities."""
    local = exported_state(endpoint_slice(endpoint("10.0.0.1")))
    (found,) = imports(exported(EAST, WEST, NORTH), local)
    assert [(each.priority, each.cluster, [one.address for one in each.upstreams]) for each in found.localities] == [
        (0, EAST, ["10.0.0.1"]),
        (1, WEST, ["192.0.2.1", "192.0.2.2"]),
        (2, NORTH, ["192.0.2.9"]),
    ]


def test_the_shards_of_a_peer_are_hosts_with_a_name_each() -> None:
    """They weigh what they hold, and are tried at another gateway first in turn."""
    (found,) = imports(exported(WEST, west={"a": 2, "b": 1}), shards={WEST: 2})
    first, second = found.localities[0].upstreams
    assert [(one.server_name, one.weight) for one in (first, second)] == [
        (f"s0.{found.name}", 240),
        (f"s1.{found.name}", 120),
    ]
    ways = [[one.address, *(way.address for way in one.others)] for one in (first, second)]
    assert sorted(ways) == [["192.0.2.1", "192.0.2.2"], ["192.0.2.2", "192.0.2.1"]]


def test_gateways_share_the_weight_of_their_cluster() -> None:
    """Each ready endpoint counts 120, spread over the gateway's addresses."""
    (found,) = imports(exported(WEST, west={"a": 2, "b": 1}))
    assert [(one.address, one.weight) for one in found.localities[0].upstreams] == [
        ("192.0.2.1", 180),
        ("192.0.2.2", 180),
    ]


def test_an_untrusted_backend_gives_neither_identity_nor_endpoint() -> None:
    """A cluster that is missing among the sites is called by nobody, and its identities are not accepted."""
    (found,) = imports(exported(WEST, NORTH), sites={WEST: SITES[WEST]})
    assert found.identities == (spiffe_id(WEST),)
    assert {each.cluster for each in found.localities} == {WEST}


def test_a_port_without_a_trusted_backend_is_left_out() -> None:
    """No identity to expect means that nothing would be verified: there is no such import."""
    assert imports(exported(WEST), sites={}) == ()


def test_a_backend_without_identities_is_left_out() -> None:
    """A trusted peer that states no identity for its service can't be verified either."""
    assert imports(merged_service(ports=[merged_port(WEST)], backends=[backend(WEST, identities=())])) == ()


def test_a_cluster_that_does_not_back_the_port_gives_it_nothing() -> None:
    """Identities and endpoints of a port come from the clusters that export this very port."""
    merged = merged_service(
        ports=[merged_port(WEST), merged_port(NORTH, number=90, name="http-b")],
        backends=[backend(WEST), backend(NORTH)],
    )
    assert [
        (each.port, each.identities, {locality.cluster for locality in each.localities}) for each in imports(merged)
    ] == [(80, (spiffe_id(WEST),), {WEST}), (90, (spiffe_id(NORTH),), {NORTH})]


def test_a_cluster_without_gateway_address_gives_no_endpoint() -> None:
    """A gateway record without addresses is no way in."""
    (found,) = imports(exported(WEST), gateways={WEST: ()})
    assert found.localities == ()


def test_ports_that_are_not_tcp_are_not_imported() -> None:
    """Sidecars carry TCP only."""
    assert imports(merged_service(ports=[merged_port(WEST, protocol="UDP")], backends=[backend(WEST)])) == ()


def test_own_endpoints_that_are_not_exported_take_no_part() -> None:
    """A local service that is not exported is not of the clusterset, though it has the same name (KEP-1645)."""
    local = ServiceState(service(), None, (endpoint_slice(endpoint("10.0.0.1")),))
    (found,) = imports(exported(WEST), local)
    assert {each.cluster for each in found.localities} == {WEST}


def test_own_endpoints_are_by_zone_ready_once_and_by_their_first_address() -> None:
    """Unready ones are left out, one in two slices counts once, addresses of one endpoint are fungible (KEP-0752)."""
    slices = (
        endpoint_slice(
            endpoint("10.0.0.2", "10.0.0.3", zone="b"),
            endpoint("10.0.0.1", zone="a"),
            endpoint("10.0.0.9", zone="a", ready=False),
        ),
        endpoint_slice(endpoint("10.0.0.1", zone="a"), name="echo-2"),
        endpoint_slice(endpoint("10.0.0.1", zone="a"), name="echo-3", inbound_port=16006),
        endpoint_slice(endpoint("10.0.0.4", zone="a"), name="echo-4", ports=[endpoint_port(9, "other")]),
        endpoint_slice(endpoint("10.0.0.5", zone="a"), name="echo-5", ports=[endpoint_port(9, "http", "UDP")]),
    )
    (found,) = imports(exported(EAST), exported_state(*slices))
    assert [(each.zone, each.upstreams) for each in found.localities] == [
        ("a", (Upstream("10.0.0.1", 15006), Upstream("10.0.0.1", 16006))),
        ("b", (Upstream("10.0.0.2", 15006),)),
    ]


def test_a_service_with_nothing_ready_is_imported_without_endpoints() -> None:
    """Callers get a prompt refusal from their own proxy, and endpoints as soon as there are some."""
    (found,) = imports(exported(EAST), exported_state(endpoint_slice(endpoint("10.0.0.1", ready=False))))
    assert (found.localities, found.identities) == ((), (spiffe_id(EAST),))


# Exports


def test_a_gateway_passes_on_to_the_sidecars() -> None:
    """Upstreams are the ready endpoints of every zone, by the port of their sidecars."""
    state = exported_state(
        endpoint_slice(
            endpoint("10.0.0.2", zone="b"), endpoint("10.0.0.1", zone="c"), endpoint("10.0.0.3", ready=False)
        )
    )
    assert build_exports(ECHO, state, sidecar_port=15006) == (
        ExportedPort(ECHO, 80, (Upstream("10.0.0.2", 15006), Upstream("10.0.0.1", 15006))),
    )


def test_without_a_sidecar_port_workloads_are_reached_where_they_listen() -> None:
    """So it is where the mesh redirects; a slice that names a port of its own keeps it."""
    state = exported_state(
        endpoint_slice(endpoint("10.0.0.1")),
        endpoint_slice(endpoint("10.0.0.2"), name="echo-2", ports=[endpoint_port(8081)]),
        endpoint_slice(endpoint("10.0.0.3"), name="echo-3", inbound_port=16006),
    )
    (found,) = build_exports(ECHO, state, sidecar_port=0)
    assert found.upstreams == (Upstream("10.0.0.1", 8080), Upstream("10.0.0.2", 8081), Upstream("10.0.0.3", 16006))


@pytest.mark.parametrize(
    "state",
    [ServiceState(), ServiceState(service()), ServiceState(export=service_export())],
    ids=["none", "no export", "no service"],
)
def test_what_is_not_exported_is_neither_served_nor_taken_in(state: ServiceState) -> None:
    """Without both a Service and a ServiceExport, the gateway and the sidecars know nothing of it."""
    state = ServiceState(state.service, state.export, (endpoint_slice(endpoint("10.0.0.1")),))
    assert build_exports(ECHO, state, sidecar_port=15006) == ()
    assert inbound(state) == ()


def test_a_udp_port_is_not_served() -> None:
    """An exported UDP port has no gateway port; the TCP port beside it has."""
    state = ServiceState(service(ports=[port(53, "dns", "UDP"), port(53, "dns-tcp")]), service_export())
    assert [each.port for each in build_exports(ECHO, state, sidecar_port=15006)] == [53]


# Inbound


def inbound(state: ServiceState, address: str = "10.0.0.1", inbound_port: int = 15006) -> tuple[InboundPort, ...]:
    return build_inbound(ECHO, state, address=address, inbound_port=inbound_port, sidecar_port=15006)


def test_inbound_leads_to_the_port_of_the_application() -> None:
    """Each exported port leads to the target port of the workload's slice, ready or not."""
    state = ServiceState(
        service(ports=[port(80), port(90, "grpc"), port(53, "dns", "UDP"), port(99, "absent")]),
        service_export(),
        (
            endpoint_slice(
                endpoint("10.0.0.1", ready=False),
                ports=[endpoint_port(8080), endpoint_port(9090, "grpc"), endpoint_port(53, "dns", "UDP")],
            ),
        ),
    )
    assert inbound(state) == (
        InboundPort(ECHO, 80, AppProtocol.HTTP, "10.0.0.1", 8080),
        InboundPort(ECHO, 90, AppProtocol.HTTP2, "10.0.0.1", 9090),
    )


@pytest.mark.parametrize(
    ("address", "inbound_port", "taken"),
    [("10.0.0.1", 15006, True), ("10.0.0.9", 15006, True), ("10.0.0.2", 15006, False), ("10.0.0.1", 16006, False)],
)
def test_a_workload_is_found_by_address_and_inbound_port(address: str, inbound_port: int, taken: bool) -> None:
    """Any address of an endpoint names the workload; another sidecar port is another workload."""
    state = exported_state(endpoint_slice(endpoint("10.0.0.1", "10.0.0.9")))
    assert bool(inbound(state, address, inbound_port)) is taken


def test_a_slice_may_name_the_port_of_its_sidecars() -> None:
    """The slice's own inbound port counts, not the cluster's default."""
    state = exported_state(endpoint_slice(endpoint("10.0.0.1"), inbound_port=16006))
    assert (inbound(state, inbound_port=15006), len(inbound(state, inbound_port=16006))) == ((), 1)
