"""Listeners: who is let in, and where calls come out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from federation.model.names import ClusterId, sni
from gateway.ir.model import AppProtocol, ImportedPort, InboundPort
from gateway.telemetry import Telemetry
from gateway.xds import protos as pb
from gateway.xds.translate.listeners import (
    PASSTHROUGH_CLUSTER,
    Address,
    gateway_listener,
    http_proxy_listener,
    inbound_listener,
    local_listener,
    passthrough_cluster,
    redirect_listener,
    vip_listener,
)
from gateway.xds.translate.routes import CALLER_OVERRIDES, OUTBOUND_ROUTES
from gateway.xds.translate.tls import caller_filter
from support.builders import ECHO

HERE = Address("127.0.0.1", 8001)
NAME = sni(ECHO, 80)
TELEMETRY = Telemetry(ClusterId("east"))


def imported(protocol: str) -> ImportedPort:
    return ImportedPort(ECHO, 80, AppProtocol(protocol), (), ())


def inbound(protocol: str, port: int = 80) -> InboundPort:
    return InboundPort(ECHO, port, AppProtocol(protocol), "10.0.0.1", 8080)


def manager_of(listener: pb.Message, chain: int = 0) -> pb.Message:
    return pb.unpack(listener.filter_chains[chain].filters[-1].typed_config, pb.HttpConnectionManager)


def proxy_of(listener: pb.Message, chain: int = 0) -> pb.Message:
    return pb.unpack(listener.filter_chains[chain].filters[-1].typed_config, pb.TcpProxy)


# Gateway


def test_a_gateway_takes_tls_of_the_clusterset_only() -> None:
    """One chain, for TLS whose SNI is of our domain: plaintext and foreign names match nothing and are cut."""
    listener = gateway_listener(HERE, TELEMETRY)
    (chain,) = listener.filter_chains
    assert chain.filter_chain_match.transport_protocol == "tls"
    assert list(chain.filter_chain_match.server_names) == ["*.clusterset.local"]
    assert not listener.HasField("default_filter_chain")
    assert [item.name for item in listener.listener_filters] == ["envoy.filters.listener.tls_inspector"]


def test_a_gateway_never_decrypts() -> None:
    """The chain has no transport socket: bytes are passed on as they came, to the cluster that the SNI names."""
    (chain,) = gateway_listener(HERE, TELEMETRY).filter_chains
    assert not chain.HasField("transport_socket")
    assert [item.name for item in chain.filters] == [
        "envoy.filters.network.sni_cluster",
        "envoy.filters.network.tcp_proxy",
    ]


def test_a_gateway_asks_for_clusters_when_they_are_called() -> None:
    """On demand, on the ADS stream, and a caller with an unknown name waits a bounded time."""
    on_demand = proxy_of(gateway_listener(HERE, TELEMETRY)).on_demand
    assert on_demand.odcds_config.HasField("ads")
    assert on_demand.timeout.ToMilliseconds() == 1000


# Inbound


def test_inbound_has_a_chain_per_port_by_sni_and_no_other_way_in() -> None:
    """Every chain demands TLS with the port's own SNI, or that of one of its shards, and mutual authentication."""
    listener = inbound_listener(Address("10.0.0.1", 15006), [inbound("tcp", 90), inbound("http", 80)], TELEMETRY)
    assert [list(chain.filter_chain_match.server_names) for chain in listener.filter_chains] == [
        [sni(ECHO, 80), f"*.{sni(ECHO, 80)}"],
        [sni(ECHO, 90), f"*.{sni(ECHO, 90)}"],
    ]
    assert {chain.filter_chain_match.transport_protocol for chain in listener.filter_chains} == {"tls"}
    assert not listener.HasField("default_filter_chain")
    for chain in listener.filter_chains:
        context = pb.unpack(chain.transport_socket.typed_config, pb.DownstreamTlsContext)
        assert context.require_client_certificate.value is True


@pytest.mark.parametrize("protocol", list(AppProtocol))
def test_a_caller_is_judged_before_anything_else(protocol: AppProtocol) -> None:
    """The filter for callers with anything but one SPIFFE ID stands before whatever speaks with the application."""
    (chain,) = inbound_listener(HERE, [inbound(protocol)], TELEMETRY).filter_chains
    first, *others = chain.filters
    assert (first, len(others)) == (caller_filter(), 1)


def test_the_application_learns_the_verified_identity_of_its_caller() -> None:
    """The header with the caller's URI is made by us; one that the caller sent is thrown away."""
    manager = manager_of(inbound_listener(HERE, [inbound("http")], TELEMETRY))
    assert manager.forward_client_cert_details == pb.HttpConnectionManager.SANITIZE_SET
    assert manager.set_current_client_cert_details.uri is True


def test_inbound_calls_are_neither_cut_nor_repeated() -> None:
    """The server's side adds no timeout and no retry: that is the caller's side alone."""
    (route,) = manager_of(inbound_listener(HERE, [inbound("http")], TELEMETRY)).route_config.virtual_hosts[0].routes
    assert (route.route.cluster, route.route.timeout.ToMilliseconds()) == ("app|10.0.0.1|8080|http", 0)
    assert not route.route.HasField("retry_policy")


def test_opaque_ports_are_passed_on_byte_by_byte() -> None:
    """A TCP port's chain has a TCP proxy to the application."""
    assert proxy_of(inbound_listener(HERE, [inbound("tcp")], TELEMETRY)).cluster == "app|10.0.0.1|8080|tcp"


# Outbound


def test_the_proxy_port_routes_by_table() -> None:
    """One listener for all imports; its routes come by RDS on the same stream."""
    rds = manager_of(http_proxy_listener(HERE, TELEMETRY)).rds
    assert rds.route_config_name == OUTBOUND_ROUTES
    assert rds.config_source.HasField("ads")


@pytest.mark.parametrize(
    "listener",
    [
        http_proxy_listener(HERE, TELEMETRY),
        local_listener(HERE, imported("http"), TELEMETRY),
        vip_listener("240.96.0.1", imported("http"), TELEMETRY),
    ],
)
def test_callers_cannot_override_the_policy(listener: pb.Message) -> None:
    """Headers by which a caller would tell Envoy how to retry or time out are taken away before the router."""
    mutation, router = manager_of(listener).http_filters
    removed = pb.unpack(mutation.typed_config, pb.HeaderMutation).mutations.request_mutations
    assert [each.remove for each in removed] == list(CALLER_OVERRIDES)
    assert pb.unpack(router.typed_config, pb.Router).suppress_envoy_headers is True


@pytest.mark.parametrize("protocol", ["http", "http2"])
def test_a_local_http_port_leads_any_host_to_its_service(protocol: str) -> None:
    """The caller may call it by whatever name: the port says which service is meant."""
    (host,) = manager_of(local_listener(HERE, imported(protocol), TELEMETRY)).route_config.virtual_hosts
    assert list(host.domains) == ["*"]
    assert {route.route.cluster for route in host.routes} == {NAME}


def test_a_local_tcp_port_tries_other_hosts() -> None:
    """A TCP call is connected to the next host where one refuses."""
    proxy = proxy_of(local_listener(HERE, imported("tcp"), TELEMETRY))
    assert (proxy.cluster, proxy.max_connect_attempts.value) == (NAME, 10)


def test_two_local_ports_have_two_names() -> None:
    """Names of listeners are their addresses, since two may lead to one service."""
    names = {local_listener(Address("127.0.0.1", port), imported("tcp"), TELEMETRY).name for port in (1, 2)}
    assert names == {"local|127.0.0.1|1", "local|127.0.0.1|2"}


def test_a_clusterset_ip_is_not_bound() -> None:
    """No host has the address: connections are handed over by the redirect listener."""
    listener = vip_listener("240.96.0.1", imported("tcp"), TELEMETRY)
    assert listener.bind_to_port.value is False
    assert listener.HasField("bind_to_port")
    address = listener.address.socket_address
    assert (address.address, address.port_value) == ("240.96.0.1", 80)


def test_redirected_connections_that_are_not_ours_pass_through() -> None:
    """They go to their original destination, without TLS of ours."""
    listener = redirect_listener(15001)
    assert listener.use_original_dst.value is True
    assert proxy_of(listener).cluster == PASSTHROUGH_CLUSTER == passthrough_cluster().name
    assert passthrough_cluster().type == pb.Cluster.ORIGINAL_DST


def test_redirected_connections_over_ipv6_have_a_listener_of_their_own() -> None:
    """The kernel sends them to the loopback address of IPv6; what is theirs by original destination is theirs alone."""
    listener, other = redirect_listener(15001, ipv6=True), redirect_listener(15001)
    address = listener.address.socket_address
    assert (address.address, address.port_value) == ("::1", 15001)
    assert listener.name != other.name
    assert (
        vip_listener("fd00::1", imported("tcp"), TELEMETRY).name
        != vip_listener("240.96.0.1", imported("tcp"), TELEMETRY).name
    )


# Generations of trust


def generations(listener: pb.Message) -> list[str]:
    """The mark of each chain; nothing where it has none."""
    return [chain.metadata.filter_metadata["federation"]["trust_generation"] for chain in listener.filter_chains]


@pytest.mark.parametrize(
    "listener",
    [
        inbound_listener(HERE, [inbound("http"), inbound("tcp", 81)], TELEMETRY, 7),
        http_proxy_listener(HERE, TELEMETRY, 7),
        local_listener(HERE, replace(imported("tcp"), generation=7), TELEMETRY),
        vip_listener("240.96.0.1", replace(imported("http"), generation=7), TELEMETRY),
    ],
    ids=["inbound", "proxy port", "local port", "clusterset ip"],
)
def test_every_chain_is_of_the_generation_of_its_trust(listener: pb.Message) -> None:
    """The mark is all that a new generation changes, and it is on whatever carries mutual TLS or leads to it."""
    assert generations(listener) == ["7"] * len(listener.filter_chains)
    for chain in listener.filter_chains:
        chain.ClearField("metadata")
    first = [
        inbound_listener(HERE, [inbound("http"), inbound("tcp", 81)], TELEMETRY),
        http_proxy_listener(HERE, TELEMETRY),
        local_listener(HERE, imported("tcp"), TELEMETRY),
        vip_listener("240.96.0.1", imported("http"), TELEMETRY),
    ]
    assert listener in first


def test_before_anything_was_withdrawn_there_is_no_mark() -> None:
    """The first generation is the configuration as it always was."""
    listener = inbound_listener(HERE, [inbound("http")], TELEMETRY)
    assert not any(chain.HasField("metadata") for chain in listener.filter_chains)
