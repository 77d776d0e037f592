"""The EndpointSlices of an import: where its endpoints are, one source cluster to a slice. Pure.

Of the own cluster they have the ready endpoints themselves; of a peer those that travel (a headless service's), or else
its gateways, through which all others are reached. Whoever is not trusted, or withdrawn, has none. Slices are kept
stable: an endpoint stays in the slice that it is in, so that one pod more or less is one slice written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import count
from typing import Final

from controllers.mcs.objects import (
    MANAGED_BY,
    MANAGER,
    SERVICE_NAME_LABEL,
    SOURCE_CLUSTER_LABEL,
    Apply,
    Document,
    Observed,
    digest,
    mapping,
    sequence,
    text,
    texts,
)
from controllers.projection import Surroundings
from controllers.sources.manifests import ObjectId
from federation.model.names import ClusterId, ServiceKey
from federation.model.records import ImportType
from federation.model.state import EndpointPort, Protocol, ServiceState
from federation.model.view import Backend, MergedPort, MergedService

MAX_ENDPOINTS: Final = 100
"""Of one slice, as in Kubernetes' own: small enough to be sent whole to every node at each change."""


@dataclass(frozen=True, slots=True, order=True)
class ImportedEndpoint:
    """One ready endpoint."""

    addresses: tuple[str, ...]
    """Of the slice's family."""
    hostname: str = ""


@dataclass(frozen=True, slots=True)
class SliceGroup:
    """Endpoints that differ in nothing but themselves: as many slices as they need."""

    cluster: ClusterId
    family: str
    ports: tuple[EndpointPort, ...]
    endpoints: frozenset[ImportedEndpoint]
    part: str = ""
    """Tells apart the groups of one cluster and family, where their ports differ."""

    def stem(self, key: ServiceKey) -> str:
        """What the names of the group's slices begin with; the same as long as the group is."""
        return f"{key.name}-{self.cluster}-{digest(f'{key}|{self.cluster}|{self.family}|{self.part}')}"


def slice_groups(merged: MergedService, local: ServiceState, around: Surroundings) -> tuple[SliceGroup, ...]:
    """The endpoints of every backend that may be called, as this cluster reaches them."""
    groups: list[SliceGroup] = []
    for backend in merged.backends:
        ports = tuple(port for port in merged.ports if backend.cluster in port.clusters)
        if merged.ports and not ports:
            continue
        if backend.cluster == around.own.cluster:
            groups += _own(backend.cluster, ports, local)
        elif backend.cluster not in around.sites or backend.cluster in around.withdrawn:
            continue
        elif merged.type is ImportType.HEADLESS:
            groups += _by_address(backend, ports)
        else:
            groups += _by_gateway(backend, ports, around)
    found = (group for group in groups if group.endpoints)
    return tuple(sorted(found, key=lambda group: (group.cluster, group.family, group.part)))


def endpoint_slices(
    key: ServiceKey, groups: Iterable[SliceGroup], owner: Document | None, observed: Observed
) -> Iterator[Apply]:
    """The writes of all slices of an import. ``owner`` refers to it; without one (somebody deleted the import) only
    slices that are there already are stated, so that they stay, and new ones wait for the import."""
    for group in groups:
        stem = group.stem(key)
        held: dict[int, frozenset[ImportedEndpoint]] = {}
        for found, document in observed.items():
            start, _, index = found.name.rpartition("-")
            if (found.kind, found.namespace, start) == ("EndpointSlice", key.namespace, stem) and index.isdecimal():
                held[int(index)] = frozenset(_endpoints_of(document))
        for number, endpoints in sorted(distribute(held, group.endpoints, MAX_ENDPOINTS).items()):
            if owner is not None or number in held:
                yield _slice(key, group, f"{stem}-{number}", endpoints, owner)


def distribute(
    held: Mapping[int, Collection[ImportedEndpoint]], wanted: Collection[ImportedEndpoint], limit: int
) -> dict[int, tuple[ImportedEndpoint, ...]]:
    """``wanted`` in numbered lots of at most ``limit``, sorted; what is in a lot already stays in it.

    Newcomers fill the lots that are there, then open new ones, each with the lowest number that is free. No lot is
    empty.
    """
    rest = set(wanted)
    lots: dict[int, list[ImportedEndpoint]] = {}
    for number in sorted(held):
        staying = sorted(rest.intersection(held[number]))[:limit]
        rest.difference_update(staying)
        if staying:
            lots[number] = staying
    newcomers = sorted(rest, reverse=True)
    for number in sorted(lots):
        while newcomers and len(lots[number]) < limit:
            lots[number].append(newcomers.pop())
    free = (number for number in count() if number not in lots)
    while newcomers:
        lots[next(free)] = [newcomers.pop() for _ in range(min(limit, len(newcomers)))]
    return {number: tuple(sorted(lot)) for number, lot in lots.items()}


def _own(cluster: ClusterId, ports: Sequence[MergedPort], local: ServiceState) -> Iterator[SliceGroup]:
    """The own ready endpoints, with the ports that the workloads listen on."""
    families = () if local.service is None else local.service.ip_families
    names = {port.name for port in ports}
    by_ports: dict[tuple[str, tuple[EndpointPort, ...]], set[ImportedEndpoint]] = {}
    for item in local.slices:
        backed = tuple(sorted(port for port in item.ports if port.name in names))
        if item.address_type not in families or (ports and not backed):
            continue
        found = by_ports.setdefault((item.address_type, backed), set())
        found.update(
            ImportedEndpoint(addresses, endpoint.hostname)
            for endpoint in item.endpoints
            if endpoint.ready and (addresses := _placeable(endpoint.addresses, item.address_type))
        )
    for (family, backed), endpoints in by_ports.items():
        yield SliceGroup(cluster, family, backed, frozenset(endpoints), _part(backed))


def _part(ports: Iterable[EndpointPort]) -> str:
    return ",".join(f"{port.name}/{port.protocol}/{port.port}" for port in ports)


def _by_address(backend: Backend, ports: Sequence[MergedPort]) -> Iterator[SliceGroup]:
    """The endpoints of a headless service, with the ports that the workloads listen on."""
    declared = tuple(sorted(EndpointPort(port.name, port.protocol, port.port) for port in ports))
    by_ports: dict[tuple[str, tuple[EndpointPort, ...]], set[ImportedEndpoint]] = {}
    for item in backend.addresses:
        found = ((port, item.port_of(port.name, port.protocol, port.port)) for port in ports)
        backed = tuple(sorted(EndpointPort(port.name, port.protocol, at) for port, at in found if at is not None))
        if ports and not backed:
            continue
        for family in ("IPv4", "IPv6"):
            if addresses := _placeable(item.addresses, family):
                by_ports.setdefault((family, backed), set()).add(ImportedEndpoint(addresses, item.hostname))
    for (family, backed), endpoints in by_ports.items():
        part = "" if backed == declared else _part(backed)
        yield SliceGroup(backend.cluster, family, backed, frozenset(endpoints), part)


def _by_gateway(backend: Backend, ports: Sequence[MergedPort], around: Surroundings) -> Iterator[SliceGroup]:
    """The gateways of a peer that has the service ready. Only TCP travels through them."""
    tcp = [port for port in ports if port.protocol is Protocol.TCP]
    if not (backend.ready and tcp):
        return
    gateways = around.gateways.get(backend.cluster, ())
    for number in sorted({gateway.port for gateway in gateways}):
        backed = tuple(sorted(EndpointPort(port.name, port.protocol, number) for port in tcp))
        for family in ("IPv4", "IPv6"):
            endpoints = frozenset(
                ImportedEndpoint(addresses)
                for gateway in gateways
                if gateway.port == number and (addresses := _placeable((gateway.host,), family))
            )
            yield SliceGroup(backend.cluster, family, backed, endpoints, str(number))


def _placeable(addresses: Sequence[str], family: str) -> tuple[str, ...]:
    """The addresses of one family that an API server takes in a slice: not those that only one host can reach. One
    that it refuses would take the whole slice with it."""
    found = [ip for text_ in addresses if f"IPv{(ip := ip_address(text_)).version}" == family]
    special = [ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified for ip in found]
    return tuple(str(ip) for ip, refused in zip(found, special, strict=True) if not refused)


def _slice(
    key: ServiceKey,
    group: SliceGroup,
    name: str,
    endpoints: Sequence[ImportedEndpoint],
    owner: Document | None,
) -> Apply:
    document = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": key.namespace,
            "name": name,
            "labels": {
                MANAGED_BY["EndpointSlice"]: MANAGER,
                SERVICE_NAME_LABEL: key.name,
                SOURCE_CLUSTER_LABEL: group.cluster,
            },
            **({} if owner is None else {"ownerReferences": [owner]}),
        },
        "addressType": group.family,
        "ports": [{"name": port.name, "protocol": port.protocol.value, "port": port.port} for port in group.ports],
        "endpoints": [_endpoint(endpoint) for endpoint in endpoints],
    }
    return Apply(ObjectId("EndpointSlice", key.namespace, name), "", document)


def _endpoint(endpoint: ImportedEndpoint) -> Document:
    item: dict[str, object] = {"addresses": list(endpoint.addresses), "conditions": {"ready": True}}
    if endpoint.hostname:
        item["hostname"] = endpoint.hostname
    return item


def _endpoints_of(document: Document) -> Iterator[ImportedEndpoint]:
    for item in sequence(document.get("endpoints")):
        endpoint = mapping(item)
        yield ImportedEndpoint(texts(endpoint.get("addresses")), text(endpoint.get("hostname")))
