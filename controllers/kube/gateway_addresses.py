"""Where the other clusters reach this cluster's gateways, as the gateway's Service tells it. Pure.

- ``externalIPs``, and the IPs and names of a LoadBalancer: with the Service's port.
- NodePort: the nodes that are ready, with the node port; those with a ready gateway alone where the Service says
  ``externalTrafficPolicy: Local``, since the others drop what comes (Kubernetes, "Source IP for Services").
- Host port: the nodes with a ready gateway, with the port that the Service's annotation names. Nothing but the pods
  says that they have one, and an annotation takes no right to read those.

A cluster whose nodes partly have ExternalIPs is reached by those, any other one by InternalIPs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from controllers.mcs.objects import Document, is_terminating, mapping, section, sequence, text, texts
from federation.model.addresses import HostPort, is_localhost
from federation.model.names import is_dns_name
from federation.model.problems import Problem

HOST_PORT_ANNOTATION: Final = "federation-gateway.dev/host-port"
MAX_ADDRESSES: Final = 16
"""More are of no use to a peer, which opens connections to each of them."""

_PORT_NAME: Final = "mtls"
_PORT: Final = 15443
_ZONE_LABEL: Final = "topology.kubernetes.io/zone"
_EXCLUDED_LABEL: Final = "node.kubernetes.io/exclude-from-external-load-balancers"
_GOING_TAINT: Final = "ToBeDeletedByClusterAutoscaler"
_INSTEAD: Final = "or give gateway.addresses in the settings"


@dataclass(frozen=True, slots=True)
class GatewayService:
    """What the Service of the gateways says of how they are reached."""

    subject: str
    type: str
    port: int | None
    """None where none of its ports is known to be the one for mutual TLS."""
    node_port: int | None = None
    host_port: int | None = None
    local: bool = False
    """Whether a node leads to gateways of its own only."""
    ips: tuple[str, ...] = ()
    hostnames: tuple[str, ...] = ()

    @property
    def by_nodes(self) -> bool:
        """Whether it takes the nodes to know the addresses."""
        return self.host_port is not None or self.type == "NodePort"


@dataclass(frozen=True, slots=True)
class GatewayNode:
    """A node as far as a gateway on it is reached."""

    name: str
    ready: bool
    excluded: bool
    """Whether somebody said that it is not to be reached from outside."""
    zone: str
    external: tuple[str, ...]
    internal: tuple[str, ...]


def parse_gateway_service(document: Document) -> GatewayService:
    """Read a Service of ``v1``."""
    metadata, spec = section(document, "metadata"), section(document, "spec")
    ports = [mapping(port) for port in sequence(spec.get("ports")) if mapping(port).get("protocol", "TCP") == "TCP"]
    chosen = [port for port in ports if port.get("name") == _PORT_NAME]
    chosen = chosen or [port for port in ports if port.get("port") == _PORT] or (ports if len(ports) == 1 else [])
    port = chosen[0] if chosen else {}
    host_port = _port(section(metadata, "annotations").get(HOST_PORT_ANNOTATION))
    ingress = [mapping(one) for one in sequence(section(document, "status", "loadBalancer").get("ingress"))]
    return GatewayService(
        subject=f"Service {text(metadata.get('namespace'))}/{text(metadata.get('name'))}",
        type=text(spec.get("type")) or "ClusterIP",
        port=_port(port.get("port")),
        node_port=_port(port.get("nodePort")),
        host_port=host_port,
        local=host_port is not None or spec.get("externalTrafficPolicy") == "Local",
        ips=_ips([*texts(spec.get("externalIPs")), *(text(one.get("ip")) for one in ingress)]),
        hostnames=_names(text(one.get("hostname")) for one in ingress),
    )


def parse_gateway_node(document: Document) -> GatewayNode:
    """Read a Node of ``v1``."""
    metadata, status = section(document, "metadata"), section(document, "status")
    labels = section(metadata, "labels")
    conditions = {
        text(mapping(one).get("type")): mapping(one).get("status") for one in sequence(status.get("conditions"))
    }
    going = any(mapping(one).get("key") == _GOING_TAINT for one in sequence(section(document, "spec").get("taints")))
    addresses = [mapping(one) for one in sequence(status.get("addresses"))]
    external, internal = (
        _ips(text(one.get("address")) for one in addresses if one.get("type") == kind)
        for kind in ("ExternalIP", "InternalIP")
    )
    return GatewayNode(
        name=text(metadata.get("name")),
        ready=conditions.get("Ready") == "True" and not going and not is_terminating(document),
        excluded=_EXCLUDED_LABEL in labels,
        zone=text(labels.get(_ZONE_LABEL)),
        external=external,
        internal=internal,
    )


def nodes_with_ready(document: Document) -> frozenset[str]:
    """The nodes on which an EndpointSlice of ``discovery.k8s.io/v1`` has a ready endpoint; unset means ready."""
    endpoints = [mapping(one) for one in sequence(document.get("endpoints"))]
    return frozenset(
        name
        for one in endpoints
        if (name := text(one.get("nodeName"))) and section(one, "conditions").get("ready") is not False
    )


def decide_addresses(
    service: GatewayService, nodes: Iterable[GatewayNode], with_gateway: Collection[str]
) -> tuple[tuple[HostPort, ...], tuple[Problem, ...]]:
    """The addresses, sorted and not too many, and what keeps there from being any, or all of them.

    ``with_gateway`` names the nodes that have a ready gateway.
    """
    found: list[HostPort] = []
    if service.port is not None and service.host_port is None:
        found += (HostPort(host, service.port) for host in (*service.ips, *service.hostnames))
    number = service.host_port or service.node_port
    if service.by_nodes and number is not None:
        found += (HostPort(ip, number) for ip in _ips_of(_reached(service, nodes, with_gateway)))
    kept = list(dict.fromkeys(found))[:MAX_ADDRESSES]
    return tuple(sorted(kept, key=_by_number)), tuple(_missing(service, none=not kept))


def _reached(service: GatewayService, nodes: Iterable[GatewayNode], with_gateway: Collection[str]) -> list[GatewayNode]:
    return [one for one in nodes if one.ready and (one.name in with_gateway or not service.local)]


def _by_number(address: HostPort) -> tuple[int, int, str, int]:
    """Names are last."""
    if address.is_name:
        return 7, 0, address.host, address.port
    ip = ip_address(address.host)
    return ip.version, int(ip), "", address.port


def _missing(service: GatewayService, *, none: bool) -> Iterable[Problem]:
    field = "status.loadBalancer.ingress"
    if service.host_port is None and service.port is None:
        told = f"none of its ports is named {_PORT_NAME} or is {_PORT}: name the one for mutual TLS so"
        yield Problem(service.subject, "NoPort", told, "spec.ports")
    elif not none:
        return
    elif service.by_nodes:
        what = "no node is ready that has a ready gateway" if service.local else "no node is ready"
        yield Problem(service.subject, "NoAddress", f"{what}; peers keep the addresses that they have")
    elif service.type == "LoadBalancer":
        told = f"its load balancer has no address yet; where nothing makes load balancers use NodePort, {_INSTEAD}"
        yield Problem(service.subject, "NoAddress", told, field)
    else:
        told = (
            f"type {service.type} is not reached from outside: make it LoadBalancer or NodePort, name the gateways' "
            f"host port in the annotation {HOST_PORT_ANNOTATION}, {_INSTEAD}"
        )
        yield Problem(service.subject, "NoAddress", told, "spec.type")


def _ips_of(nodes: list[GatewayNode]) -> tuple[str, ...]:
    """The addresses of nodes in an order of merit: every zone has its turn, so that a few span them all."""
    if not all(node.excluded for node in nodes):
        nodes = [node for node in nodes if not node.excluded]
    external = any(node.external for node in nodes)
    turns: Counter[str] = Counter()
    placed: list[tuple[int, str, str, tuple[str, ...]]] = []
    for node in sorted(nodes, key=lambda node: node.name):
        if ips := node.external if external else node.internal:
            placed.append((turns[node.zone], node.zone, node.name, ips))
            turns[node.zone] += 1
    return tuple(ip for *_, ips in sorted(placed) for ip in ips)


def _ips(found: Iterable[str]) -> tuple[str, ...]:
    """Those that another cluster may reach, in canonical spelling."""
    ips: list[str] = []
    for told in found:
        try:
            address = ip_address(told)
        except ValueError:
            continue
        wrong = address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast
        if not wrong and "%" not in told:
            ips.append(str(address))
    return tuple(ips)


def _names(found: Iterable[str]) -> tuple[str, ...]:
    """Those that another cluster may resolve, sorted."""
    names = {told.lower().removesuffix(".") for told in found}
    return tuple(sorted(name for name in names if is_dns_name(name) and not is_localhost(name)))


def _port(value: object) -> int | None:
    """A port as a number, or as the text that an annotation has; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 5:
        value = int(value)
    return value if isinstance(value, int) and 0 < value < 65536 else None
