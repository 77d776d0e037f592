"""Servers without a sidecar: who is let in by a gateway that ends TLS, and how it calls on."""

from __future__ import annotations

import pytest

from gateway.ir.model import AppProtocol, TerminatedPort, Upstream
from gateway.xds import protos as pb
from gateway.xds.resources import message_of
from gateway.xds.translate.clusters import http2_options
from gateway.xds.translate.terminate import terminated_name, terminated_upstreams, terminating_chain
from gateway.xds.translate.tls import caller_filter, downstream_tls
from support.builders import ECHO


def options(packed: pb.Message) -> pb.Message:
    return pb.unpack(packed, pb.HttpProtocolOptions).explicit_http_config.http2_protocol_options


def port(protocol: str) -> TerminatedPort:
    return TerminatedPort(ECHO, 80, AppProtocol(protocol), (Upstream("10.0.0.1", 8080),))


@pytest.mark.parametrize("protocol", ["http", "http2", "tcp"])
def test_callers_are_verified_as_by_a_sidecar(protocol: str) -> None:
    """The same TLS and the same filter before all others, for the SNI of the port and those of its shards."""
    chain = terminating_chain(port(protocol), 0)
    name = port(protocol).name
    assert list(chain.filter_chain_match.server_names) == [name, f"*.{name}"]
    assert chain.transport_socket == downstream_tls(http=protocol != "tcp")
    assert chain.filters[0] == caller_filter()


def test_the_server_is_told_who_calls() -> None:
    """What a caller says of itself is removed."""
    manager = pb.unpack(terminating_chain(port("http"), 0).filters[-1].typed_config, pb.HttpConnectionManager)
    assert manager.forward_client_cert_details == pb.HttpConnectionManager.SANITIZE_SET
    assert manager.set_current_client_cert_details.uri


@pytest.mark.parametrize(("protocol", "speaks_http2"), [("http", False), ("http2", True), ("tcp", False)])
def test_workloads_are_called_in_the_clear(protocol: str, speaks_http2: bool) -> None:
    """By the protocol that the port names, under a name that no SNI has."""
    cluster, endpoints = (message_of(each) for each in terminated_upstreams(port(protocol)))
    assert cluster.name == endpoints.cluster_name == terminated_name(port(protocol))
    assert not cluster.HasField("transport_socket")
    assert [options(packed) for packed in cluster.typed_extension_protocol_options.values()] == (
        [http2_options(keepalive=False)] if speaks_http2 else []
    )
    (host,) = endpoints.endpoints[0].lb_endpoints
    assert host.endpoint.address.socket_address.port_value == 8080


def test_trust_that_is_withdrawn_ends_connections() -> None:
    """A new generation is another filter chain."""
    assert terminating_chain(port("tcp"), 1) != terminating_chain(port("tcp"), 2)
