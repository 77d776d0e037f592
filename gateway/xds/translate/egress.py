"""Callers without a sidecar: listeners of a gateway on clusterset IPs, and the upstreams behind them.

The upstreams are the sidecars' own (order of clusters, pings, ejection, identities), under another name: on a gateway
the SNI is the name of what it passes through. They are taken on demand, so that an import which nobody calls costs its
listener alone. The gateway's SVID is the client certificate.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.ir.model import ImportedPort
from gateway.xds import protos as pb
from gateway.xds.references import Reference
from gateway.xds.resources import Resource, make_resource, message_bytes, resource_of_bytes
from gateway.xds.translate.listeners import Address, network_filter, outbound_listener, outbound_manager, try_again
from gateway.xds.translate.on_demand import route_on_demand, tcp_proxy
from gateway.xds.translate.routes import outbound_routes


def egress_name(name: str) -> str:
    """What the upstream that sidecars know as ``name`` is called on a gateway."""
    return f"egress|{name}"


def egress_upstreams(shared: Iterable[Resource]) -> tuple[Resource, ...]:
    """The sidecars' clusters and endpoints of one service as a gateway's.

    No second translation: of two values of one field the later counts, so a name behind the bytes is the message under
    that name. Endpoints are found by the cluster's name.
    """
    found: list[Resource] = []
    for resource in shared:
        name = egress_name(resource.name)
        if resource.type_url == pb.CLUSTER:
            suffix = pb.Cluster(name=name)
            references: tuple[Reference, ...] = (Reference(pb.ENDPOINT, name),)
        elif resource.type_url == pb.ENDPOINT:
            suffix = pb.ClusterLoadAssignment(cluster_name=name)
            references = ()
        else:
            continue
        content = message_bytes(resource) + suffix.SerializeToString()
        found.append(resource_of_bytes(resource.type_url, name, (content,), references))
    return tuple(found)


def egress_listener(vip: str, port: ImportedPort) -> Resource:
    """The listener of one imported port on its clusterset IP, in the clear. Whatever host a call names, it is served.

    An address that the host doesn't have yet is bound nevertheless: one that lacks must keep no other listener back.
    """
    filters = [_http(port)] if port.protocol.is_http else [_tcp(port)]
    listener = outbound_listener(egress_name(port.name), Address(vip, port.port), filters, port.generation)
    listener.freebind.value = True
    return make_resource(pb.LISTENER, listener.name, listener)


def _tcp(port: ImportedPort) -> pb.Message:
    proxy = tcp_proxy("outbound_tcp", egress_name(port.name))
    try_again(proxy)
    return network_filter("envoy.filters.network.tcp_proxy", proxy)


def _http(port: ImportedPort) -> pb.Message:
    name = egress_name(port.name)
    manager = outbound_manager()
    route_on_demand(manager, name, outbound_routes(name))
    return network_filter("envoy.filters.network.http_connection_manager", manager)
