"""Servers without a sidecar: filter chains of a gateway that end the clusterset's TLS for them, and their upstreams.

A chain for each such port stands beside the one that passes everything else through. It verifies the caller as a
sidecar would, tells the server who that is, and calls it in the clear. The gateway's SVID is what callers expect.
"""

from __future__ import annotations

from gateway.ir.model import AppProtocol, ExportedPort, TerminatedPort
from gateway.xds import protos as pb
from gateway.xds.resources import Resource, make_resource
from gateway.xds.translate.clusters import export_assignment, export_cluster, http2_options, set_http
from gateway.xds.translate.listeners import http_manager, network_filter, of_generation, router_filter, try_again
from gateway.xds.translate.on_demand import route_on_demand, tcp_proxy
from gateway.xds.translate.routes import never_reached_route
from gateway.xds.translate.tls import caller_filter, downstream_tls
from gateway.xds.translate.traffic import outlier_detection


def terminated_name(port: TerminatedPort) -> str:
    """What the upstream behind the chain is called: the SNI itself is a name of what is passed through."""
    return f"terminate|{port.name}"


def terminated_upstreams(port: TerminatedPort) -> tuple[Resource, Resource]:
    """Cluster and endpoints of one port: the workloads, in the clear, by HTTP/1.1 or HTTP/2 as the port says."""
    name = terminated_name(port)
    served = ExportedPort(port.service, port.port, port.upstreams)
    cluster = export_cluster(served)
    cluster.name = name
    if port.protocol.is_http:
        # An answer may count here: only one that comes again and again takes a workload out.
        cluster.outlier_detection.CopyFrom(outlier_detection(3))
    if port.protocol is AppProtocol.HTTP2:
        # Servers of gRPC end the connections of who pings them without a call (gRPC's "too_many_pings").
        set_http(cluster, http2_options(keepalive=False))
    assignment = export_assignment(served)
    assignment.cluster_name = name
    return make_resource(pb.CLUSTER, name, cluster), make_resource(pb.ENDPOINT, name, assignment)


def terminating_chain(port: TerminatedPort, generation: int) -> pb.Message:
    """The chain of one port, for its SNI and those of its shards; ``generation`` is of all trust, since any accepted
    trust domain may call."""
    filters = [_http(port)] if port.protocol.is_http else [_tcp(port)]
    chain = pb.FilterChain(
        name=port.name,
        filter_chain_match=pb.FilterChainMatch(transport_protocol="tls", server_names=[port.name, f"*.{port.name}"]),
        filters=[caller_filter(), *filters],
        transport_socket=downstream_tls(http=port.protocol.is_http),
    )
    return of_generation(chain, generation)


def _tcp(port: TerminatedPort) -> pb.Message:
    proxy = tcp_proxy("inbound_tcp", terminated_name(port))
    try_again(proxy)
    return network_filter("envoy.filters.network.tcp_proxy", proxy)


def _http(port: TerminatedPort) -> pb.Message:
    manager = http_manager("inbound", server=True)
    manager.forward_client_cert_details = pb.HttpConnectionManager.SANITIZE_SET
    manager.set_current_client_cert_details.uri = True
    manager.http_filters.append(router_filter())
    # The caller hedges, and retries elsewhere; what is tried again here never reached a workload.
    route_on_demand(manager, "inbound", [never_reached_route(terminated_name(port))])
    return network_filter("envoy.filters.network.http_connection_manager", manager)
