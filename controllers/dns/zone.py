"""The zone ``clusterset.local``: which names exist, and what they hold (multicluster DNS specification 1.0.0). Pure.

Sits behind the projection, beside the data plane. Each service's names follow from that service alone, so a change
rebuilds the names of the services that changed: a property test holds every history equal to building all of them. It
knows neither the wire nor who asks, and must not decide what an answer looks like.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from types import MappingProxyType

from controllers.projection import ServiceResult
from federation.model.names import CLUSTERSET_DOMAIN, ClusterId, ServiceKey, is_dns_label
from federation.model.records import EndpointAddress, ImportType
from federation.model.view import MergedPort, MergedService

Labels = tuple[str, ...]
"""A name's labels in lower case, the leftmost first, without those of the name that it is relative to."""

APEX: Labels = tuple(CLUSTERSET_DOMAIN.split("."))

SPEC_VERSION = "1.0.0"
"""Of the multicluster DNS specification: what ``dns-version`` answers."""

# RFC 1035 §2.3.4: octets of a whole name on the wire.
_LONGEST_NAME = 255

IpAddress = IPv4Address | IPv6Address
Ipv6Vips = Mapping[ServiceKey, IPv6Address]
"""Clusterset IPs of IPv6, which only the API server gives: those of ``vipRange`` are of IPv4."""
NO_VIPS: Ipv6Vips = MappingProxyType({})


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """One SRV record."""

    port: int
    name: Labels
    """Relative to the service's name: ``()`` is the service, else ``(hostname, cluster)``."""


_Offer = tuple[MergedPort, Target]
"""A port of the service, and where it is: an endpoint of a headless one listens where it likes."""


@dataclass(frozen=True, slots=True)
class Node:
    """One name that exists; without anything it is an empty non-terminal, which is NODATA and not NXDOMAIN.

    Addresses and targets stand in groups, the nearest clusters' first; within a group none is better than another.
    """

    ipv4: tuple[tuple[IPv4Address, ...], ...] = ()
    ipv6: tuple[tuple[IPv6Address, ...], ...] = ()
    targets: tuple[tuple[Target, ...], ...] = ()
    texts: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return self == _EMPTY


Names = Mapping[Labels, Node]
"""The names of one service, relative to the service's own, which is ``()``."""

_EMPTY = Node()
_VERSION = Node(texts=(SPEC_VERSION,))


@dataclass(frozen=True, slots=True)
class ZoneView:
    """What questions are answered from: read-only, and whole at any moment between two passes."""

    services: Mapping[ServiceKey, Names]
    namespaces: Mapping[str, int]
    """Number of services that have names, by namespace."""
    serial: int = field(default=0, compare=False)
    """Unix time, in seconds, of the last change."""

    def find(self, name: Labels) -> Node | None:
        """The node at ``name``, relative to the apex; None where no such name exists (NXDOMAIN)."""
        match name:
            case ():
                return _EMPTY
            case ("dns-version",):
                return _VERSION
            case ("svc",):
                return _EMPTY if self.services else None
            case (namespace, "svc"):
                return _EMPTY if namespace in self.namespaces else None
            case (*inner, service, namespace, "svc"):
                return self.names_of(ServiceKey(namespace, service)).get(tuple(inner))
        return None

    def names_of(self, key: ServiceKey) -> Names:
        """The names of one service; empty where it has none."""
        return self.services.get(key, _NO_NAMES)


_NO_NAMES: Names = MappingProxyType({})


class Zone:
    """The names of all services, kept current by passes over the keys that changed."""

    def __init__(self) -> None:
        self._services: dict[ServiceKey, Names] = {}
        self._namespaces: dict[str, int] = {}
        self._vips: Mapping[ServiceKey, IPv4Address] = {}
        self._ipv6_vips = NO_VIPS
        self._view: ZoneView | None = None

    @property
    def view(self) -> ZoneView | None:
        """The zone as it is now; None before the first pass, when nothing is known."""
        return self._view

    def update(
        self,
        keys: Iterable[ServiceKey],
        results: Mapping[ServiceKey, ServiceResult],
        vips: Mapping[ServiceKey, IPv4Address],
        now_seconds: int,
        ipv6_vips: Ipv6Vips = NO_VIPS,
    ) -> None:
        """Build the names of ``keys`` anew, and of those whose clusterset IP is another; the first call brings all."""
        concerned = set(keys)
        if vips is not self._vips:
            concerned.update(key for key, _ in vips.items() ^ self._vips.items())
            self._vips = vips
        if ipv6_vips is not self._ipv6_vips:
            concerned.update(key for key, _ in ipv6_vips.items() ^ self._ipv6_vips.items())
            self._ipv6_vips = ipv6_vips
        changed = self._view is None
        for key in concerned:
            result = results.get(key)
            merged = None if result is None else result.merged
            names: Names = _NO_NAMES
            if result is not None and merged is not None:
                names = service_names(merged, result.nearest, vips.get(key), ipv6_vips.get(key))
            changed |= self._replace(key, names)
        if changed:
            # Unix time outgrows the serial's 32 bits in 2106.
            self._view = ZoneView(
                MappingProxyType(self._services), MappingProxyType(self._namespaces), now_seconds % 2**32
            )

    def _replace(self, key: ServiceKey, names: Names) -> bool:
        before = self._services.get(key, _NO_NAMES)
        if names == before:
            return False
        if names:
            self._services[key] = names
        else:
            del self._services[key]
        services = self._namespaces.get(key.namespace, 0) + bool(names) - bool(before)
        if services:
            self._namespaces[key.namespace] = services
        else:
            self._namespaces.pop(key.namespace, None)
        return True


def service_names(
    service: MergedService,
    nearest: Iterable[Iterable[ClusterId]],
    *vips: IpAddress | None,
) -> dict[Labels, Node]:
    """The names of one service. ``nearest`` are the clusters whose endpoints may be handed out, in groups; ``vips`` its
    clusterset IPs, as far as it has any.

    A clusterset IP does not depend on endpoints; a headless service without a ready endpoint has no name at all.
    """
    if service.type is ImportType.HEADLESS:
        return _headless_names(service, nearest)
    names: dict[Labels, Node] = {(): _addressed([[vip for vip in vips if vip is not None]])}
    return _with_targets(service, names, [[(port, Target(port.port, ())) for port in service.ports]])


def _headless_names(service: MergedService, nearest: Iterable[Iterable[ClusterId]]) -> dict[Labels, Node]:
    backends = {backend.cluster: backend for backend in service.backends}
    addresses: list[list[IpAddress]] = []
    targets: list[list[_Offer]] = []
    hosts: dict[Labels, dict[IpAddress, None]] = {}
    for group in nearest:
        ready = [
            (cluster, endpoint, usable)
            for cluster in group
            if cluster in backends
            for endpoint in backends[cluster].addresses
            if (usable := _usable(endpoint))
        ]
        targets.append([])
        for cluster, endpoint, usable in ready:
            host: Labels = (_host_label(endpoint, usable[0]), cluster)
            if _fits(service.key, host):
                hosts.setdefault(host, {}).update(dict.fromkeys(usable))
                targets[-1] += [
                    (port, Target(number, host))
                    for port in service.ports
                    if cluster in port.clusters
                    and (number := endpoint.port_of(port.name, port.protocol, port.port)) is not None
                ]
        taken = {address for nearer in addresses for address in nearer}
        # Networks may overlap: an address that two clusters have is still one record, the nearer cluster's.
        addresses.append(list(dict.fromkeys(one for _, _, usable in ready for one in usable if one not in taken)))
    if not any(addresses):
        return {}
    names = {host: _addressed([found]) for host, found in hosts.items()}
    # Nothing at <cluster>.<service>: as a name between two that exist, it is there and empty (RFC 8020).
    names |= {host[1:]: _EMPTY for host in hosts}
    names[()] = _addressed(addresses)
    return _with_targets(service, names, targets)


def _with_targets(
    service: MergedService, names: dict[Labels, Node], groups: Iterable[Iterable[_Offer]]
) -> dict[Labels, Node]:
    """``names`` with the SRV records at the service's name (every port) and below it (named ports)."""
    owners: dict[MergedPort, list[Labels]] = {port: [()] for port in service.ports}
    for port in service.ports:
        below = (f"_{port.name}", f"_{port.protocol.lower()}")
        if port.name and _fits(service.key, below):
            owners[port].append(below)
    found: dict[Labels, list[dict[Target, None]]] = {}
    for number, group in enumerate(groups):
        for port, target in group:
            for owner in owners[port]:
                tiers = found.setdefault(owner, [])
                tiers += [{} for _ in range(number + 1 - len(tiers))]
                # One record for each port and target, whatever the number of protocols (conformance suite).
                tiers[number][target] = None
    for owner, tiers in found.items():
        filled = tuple(tuple(tier) for tier in tiers if tier)
        names[owner] = replace(names.get(owner, _EMPTY), targets=filled)
        if owner:
            names[owner[1:]] = names.get(owner[1:], _EMPTY)
    return names


def _addressed(groups: Iterable[Iterable[IpAddress]]) -> Node:
    """A node with these addresses, the nearest group first."""
    listed = [list(group) for group in groups]
    ipv4 = [tuple(each for each in group if isinstance(each, IPv4Address)) for group in listed]
    ipv6 = [tuple(each for each in group if isinstance(each, IPv6Address)) for group in listed]
    return Node(tuple(filter(None, ipv4)), tuple(filter(None, ipv6)))


def _usable(endpoint: EndpointAddress) -> tuple[IpAddress, ...]:
    """The addresses of an endpoint that a record can hold."""
    found = []
    for text in endpoint.addresses:
        try:
            address = ip_address(text)
        except ValueError:
            continue
        if not getattr(address, "scope_id", None):
            found.append(address)
    return tuple(found)


def _host_label(endpoint: EndpointAddress, address: IpAddress) -> str:
    """The endpoint's host name; else its first address with dashes, as CoreDNS calls it."""
    if is_dns_label(endpoint.hostname):
        return endpoint.hostname
    label = str(address).replace(".", "-").replace(":", "-")
    return label if is_dns_label(label) else address.exploded.replace(":", "-")


def _fits(key: ServiceKey, labels: Labels) -> bool:
    """Whether a name of the service is one that DNS can carry."""
    whole = (*labels, key.name, key.namespace, "svc", *APEX)
    return max(map(len, whole)) <= 63 and sum(len(label) + 1 for label in whole) < _LONGEST_NAME
