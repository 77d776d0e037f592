"""The resources of one service port, of the route table and of one node: what the cache is told about each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from federation.model.names import ServiceKey
from gateway.ir.model import ExportedPort, ImportedPort, InboundPort, TerminatedPort
from gateway.nodes import GatewayNode, Listen, SidecarNode
from gateway.telemetry import Telemetry
from gateway.xds import protos as pb
from gateway.xds.references import Reference
from gateway.xds.resources import Resource, content_end, make_resource, resource_of_bytes
from gateway.xds.translate import clusters, listeners, routes, secrets
from gateway.xds.translate.terminate import terminating_chain


def import_resources(port: ImportedPort) -> tuple[Resource, Resource]:
    """Cluster and endpoints of one imported port, the same for every sidecar of the cluster."""
    return (
        make_resource(pb.CLUSTER, port.name, clusters.import_cluster(port)),
        make_resource(pb.ENDPOINT, port.name, clusters.import_assignment(port)),
    )


def export_resources(port: ExportedPort) -> tuple[Resource, Resource]:
    """Cluster and endpoints of one exported port, for the cluster's own gateways."""
    return (
        make_resource(pb.CLUSTER, port.name, clusters.export_cluster(port)),
        make_resource(pb.ENDPOINT, port.name, clusters.export_assignment(port)),
    )


def vip_resource(vip: str, port: ImportedPort, telemetry: Telemetry) -> Resource:
    """The transparent listener of one imported port on its clusterset IP."""
    listener = listeners.vip_listener(vip, port, telemetry)
    return make_resource(pb.LISTENER, listener.name, listener)


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """The virtual host of one imported HTTP port, as the bytes that the route table is joined from."""

    cluster: str
    content: bytes | memoryview
    """Of its own, or a place in a table: see ``placed``."""


def route_entries(ports: Iterable[ImportedPort]) -> tuple[RouteEntry, ...]:
    """The entries of one service's HTTP ports."""
    return tuple(
        RouteEntry(port.name, routes.route_configuration([routes.virtual_host(port)], name=""))
        for port in ports
        if port.protocol.is_http
    )


def route_table(entries: Sequence[RouteEntry]) -> Resource:
    """The routes of the HTTP proxy port: one virtual host per imported HTTP port.

    A repeated field is a concatenation, so one new service costs a join and not 10,000 messages.
    """
    parts = (routes.route_configuration([], name=routes.OUTBOUND_ROUTES), *(entry.content for entry in entries))
    references = tuple(Reference(pb.CLUSTER, entry.cluster) for entry in entries)
    return resource_of_bytes(pb.ROUTE, routes.OUTBOUND_ROUTES, parts, references)


def placed(entries: Sequence[RouteEntry], table: Resource) -> Iterator[RouteEntry]:
    """The entries, with their content where ``table`` has it that they were joined into.

    Routes are half of all that services come to in bytes: those are kept once.
    """
    whole = memoryview(table.chunk)
    at = content_end(table) - sum(len(entry.content) for entry in entries)
    for entry in entries:
        end = at + len(entry.content)
        yield RouteEntry(entry.cluster, whole[at:end])
        at = end


def gateway_node_resources(
    node: GatewayNode, telemetry: Telemetry, terminated: Iterable[TerminatedPort] = (), generation: int = 0
) -> tuple[Resource, ...]:
    """A gateway's one listener. It grows with the ports that it ends TLS for; without any it needs no key."""
    chains = [terminating_chain(port, generation) for port in terminated]
    listener = listeners.gateway_listener(_address(node.listen), telemetry, chains)
    return (make_resource(pb.LISTENER, "gateway", listener),)


def sidecar_node_resources(
    node: SidecarNode,
    inbound: Sequence[InboundPort],
    imports: Mapping[tuple[ServiceKey, int], ImportedPort],
    telemetry: Telemetry,
    generation: int = 0,
) -> tuple[Resource, ...]:
    """Listeners of one sidecar and the clusters of its application.

    A configured local port whose service is not imported (yet) has no listener: its protocol is unknown, and a refused
    connection says more than an accepted one that leads nowhere. ``generation`` is of all trust: who calls in may be of
    any trust domain, and the proxy port leads to all services.
    """
    found: list[Resource] = []
    for name, app in {clusters.app_cluster_name(each): each for each in inbound}.items():
        # Services that share an application share what it can take: the least that any of them states.
        limits = [each.others_limit for each in inbound if clusters.app_cluster_name(each) == name]
        strictest = min(filter(None, limits), default=0)
        found.append(make_resource(pb.CLUSTER, name, clusters.app_cluster(app, node.probe, strictest)))
    made = []
    if inbound:
        address = listeners.Address(node.address, node.inbound_port)
        made.append(listeners.inbound_listener(address, inbound, telemetry, generation))
    if node.http_proxy is not None:
        made.append(listeners.http_proxy_listener(_address(node.http_proxy), telemetry, generation))
    if node.redirect_port is not None:
        made.append(listeners.redirect_listener(node.redirect_port))
        if node.redirect_ipv6:
            made.append(listeners.redirect_listener(node.redirect_port, ipv6=True))
        passthrough = listeners.passthrough_cluster()
        found.append(make_resource(pb.CLUSTER, passthrough.name, passthrough))
    for local in node.outbound:
        port = imports.get((ServiceKey(local.namespace, local.name), local.port))
        if port is not None:
            made.append(listeners.local_listener(_address(local.listen), port, telemetry))
    found += [make_resource(pb.LISTENER, listener.name, listener) for listener in made]
    return tuple(found)


def svid_resource(chain_pem: bytes, key_pem: bytes) -> Resource:
    """A node's own SVID."""
    own = secrets.svid_secret(chain_pem, key_pem)
    return make_resource(pb.SECRET, own.name, own)


def ticket_resource(key: bytes) -> Resource:
    """The key of the tickets that a node gives to its callers."""
    tickets = secrets.tickets_secret(key)
    return make_resource(pb.SECRET, tickets.name, tickets)


def bundles_resource(domains: Sequence[tuple[str, str]]) -> Resource:
    """The bundles that every node verifies peers against."""
    bundles = secrets.bundles_secret(domains)
    return make_resource(pb.SECRET, bundles.name, bundles)


def _address(listen: Listen) -> listeners.Address:
    return listeners.Address(listen.host, listen.port)
