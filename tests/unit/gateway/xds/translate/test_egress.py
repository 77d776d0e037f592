"""Callers without a sidecar: what a gateway makes of the sidecars' upstreams, and where it listens."""

from __future__ import annotations

import pytest

from gateway.ir.model import AppProtocol, ImportedPort, Upstream, UpstreamLocality
from gateway.xds import protos as pb
from gateway.xds.references import Reference
from gateway.xds.resources import make_resource, message_of
from gateway.xds.translate.clusters import import_assignment, import_cluster
from gateway.xds.translate.egress import egress_listener, egress_name, egress_upstreams
from gateway.xds.translate.services import import_resources
from support.builders import ECHO, WEST, spiffe_id

VIP = "240.96.0.1"


def imported(protocol: str, generation: int = 0) -> ImportedPort:
    localities = (UpstreamLocality(0, WEST, "us", "", (Upstream("192.0.2.1", 15443, 120),)),)
    return ImportedPort(ECHO, 80, AppProtocol(protocol), (spiffe_id(WEST),), localities, generation)


def last_filter(listener: pb.Message, kind: pb.Message) -> pb.Message:
    (chain,) = listener.filter_chains
    return pb.unpack(chain.filters[-1].typed_config, kind)


@pytest.mark.parametrize("protocol", ["http", "http2", "tcp"])
def test_upstreams_are_the_sidecars_under_another_name(protocol: str) -> None:
    """Byte for byte the same settings: order, pings, ejection, the identities and the SNI."""
    port = imported(protocol)
    cluster, endpoints = egress_upstreams(import_resources(port))
    wanted = import_cluster(port)
    wanted.name = egress_name(port.name)
    assert message_of(cluster) == wanted
    placed = import_assignment(port)
    placed.cluster_name = egress_name(port.name)
    assert message_of(endpoints) == placed
    assert (cluster.name, endpoints.name) == (wanted.name, wanted.name)
    assert cluster.references == (Reference(pb.ENDPOINT, wanted.name),)


def test_what_is_no_upstream_is_left_out() -> None:
    """A gateway has a listener of its own where sidecars have routes."""
    assert egress_upstreams([make_resource(pb.ROUTE, "outbound", pb.RouteConfiguration(name="outbound"))]) == ()


def test_an_http_port_is_served_whatever_host_is_named() -> None:
    """The address says which service is meant; an upstream that isn't there yet is asked for."""
    resource = egress_listener(VIP, imported("http"))
    listener = message_of(resource)
    assert (listener.address.socket_address.address, listener.address.socket_address.port_value) == (VIP, 80)
    manager = last_filter(listener, pb.HttpConnectionManager)
    (host,) = manager.route_config.virtual_hosts
    assert list(host.domains) == ["*"]
    assert {route.route.cluster for route in host.routes} == {egress_name(imported("http").name)}
    assert [each.name for each in manager.http_filters][0::2] == [
        "envoy.filters.http.on_demand",
        "envoy.filters.http.router",
    ]
    assert not manager.route_config.validate_clusters.value


def test_a_tcp_port_asks_for_its_upstream_and_tries_again() -> None:
    """As a sidecar does, and on demand."""
    resource = egress_listener(VIP, imported("tcp"))
    proxy = last_filter(message_of(resource), pb.TcpProxy)
    assert (proxy.cluster, proxy.HasField("on_demand")) == (egress_name(imported("tcp").name), True)
    assert proxy.max_connect_attempts.value > 1


def test_an_address_that_the_host_lacks_keeps_no_other_back() -> None:
    """Bound before it is there."""
    assert message_of(egress_listener(VIP, imported("tcp"))).freebind.value


def test_trust_that_is_withdrawn_ends_connections() -> None:
    """A new generation is another filter chain."""
    before, after = (message_of(egress_listener(VIP, imported("tcp", number))) for number in (0, 1))
    assert before.filter_chains[0].metadata != after.filter_chains[0].metadata
