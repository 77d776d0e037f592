"""Records: the signed statements that travel between members. One member writes them, every other verifies and reads.

Kept apart from ``state`` on purpose: what a cluster has changes with Kubernetes, what travels changes with our wire
schema, which older and newer members must both read.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from federation.model.names import (
    BUNDLE_KEY,
    GATEWAY_KEY,
    TRUST_KEY,
    ClusterId,
    RecordKey,
    ServiceKey,
    endpoints_key,
    export_key,
)
from federation.model.state import EndpointPort, Protocol, ServicePort


class ImportType(StrEnum):
    """``spec.type`` of a ServiceImport (MCS API)."""

    CLUSTER_SET_IP = "ClusterSetIP"
    HEADLESS = "Headless"


@dataclass(frozen=True, slots=True)
class ExportRecord:
    """One exported service of one member: everything that merges, nothing that churns with pods."""

    key: ServiceKey
    created: datetime
    """Creation time of the ServiceExport, UTC, whole seconds: the age that conflicts are resolved by."""
    type: ImportType
    ports: tuple[ServicePort, ...]
    session_affinity: str = "None"
    session_affinity_timeout_seconds: int | None = None
    internal_traffic_policy: str | None = None
    traffic_distribution: str | None = None
    ip_families: tuple[str, ...] = ("IPv4",)
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    identities: tuple[str, ...] = ()
    """SPIFFE IDs that the service's workloads may present, sorted; all in the member's own trust domain."""

    @property
    def record_key(self) -> RecordKey:
        return export_key(self.key)


@dataclass(frozen=True, slots=True, order=True)
class ZoneCount:
    """Ready endpoints of a service in one zone (``""`` where zones are unknown)."""

    zone: str
    ready: int


@dataclass(frozen=True, slots=True, order=True)
class EndpointAddress:
    """One ready endpoint by address: travels for headless services only."""

    addresses: tuple[str, ...]
    hostname: str = ""
    ports: tuple[EndpointPort, ...] = ()
    """Where the workload itself listens, sorted. Since schema 1.3; empty where those are the Service's own ports, and
    where the member doesn't say."""

    def port_of(self, name: str, protocol: Protocol, number: int) -> int | None:
        """Where it listens for this port of the Service; None where it doesn't."""
        if not self.ports:
            return number
        return next((port.port for port in self.ports if (port.name, port.protocol) == (name, protocol)), None)


MAX_DIRECT = 1024
"""Sidecars of one service that are told by address."""


@dataclass(frozen=True, slots=True, order=True)
class DirectEndpoint:
    """Where a ready endpoint takes mutual TLS itself: for members of the same network."""

    address: str
    port: int
    """Of its sidecar."""
    zone: str = ""
    ports: tuple[str, ...] = ()
    """Names of the service's ports that are behind it, sorted."""


@dataclass(frozen=True, slots=True)
class EndpointsRecord:
    """Where a service is ready: counts per zone, so that pod churn with equal counts sends nothing."""

    key: ServiceKey
    zones: tuple[ZoneCount, ...] = ()
    addresses: tuple[EndpointAddress, ...] = ()
    capacity: int = 0
    """Calls of other clusters that one ready endpoint takes at a time; 0: the member doesn't say. Since schema 1.3."""
    direct: tuple[DirectEndpoint, ...] = ()
    """Since schema 1.3; empty where no member is of the exporter's network, and where there are too many."""

    @property
    def record_key(self) -> RecordKey:
        return endpoints_key(self.key)

    @property
    def ready(self) -> int:
        return sum(zone.ready for zone in self.zones)


@dataclass(frozen=True, slots=True, order=True)
class GatewayAddress:
    host: str
    """IP address, or since schema 1.4 a DNS name in lower case, which every reader resolves for itself."""
    port: int


@dataclass(frozen=True, slots=True)
class GatewayRecord:
    """How the other members reach this one."""

    addresses: tuple[GatewayAddress, ...]
    """Those that are to be called."""
    region: str
    network: str
    shards: int = 0
    """Into how many shards the gateways part the endpoints of a service port, each with an SNI of its own
    (``gateway.ir.shards``). Since schema 1.3; 0 where the gateways know the SNI of the service port alone."""
    share: int = 100
    """Percent that it takes of the calls that are this cluster's turn, 1 to 100: less while it is drained. Since schema
    1.4, as all that follows; an older reader calls every address alike, and none of the drained ones."""
    shares: tuple[int, ...] = ()
    """How much each address takes beside the others, 1 to 100 in the order of ``addresses``; empty: all alike."""
    drained: tuple[GatewayAddress, ...] = ()
    """Gateways that are there and not to be called. With nothing in ``addresses``, the whole cluster is drained."""
    revision: int = 0
    """Grows with every change of what is drained: by it the others say what they have taken over."""

    @property
    def is_drained(self) -> bool:
        """Whether the member has gateways and wants no calls."""
        return bool(self.drained) and not self.addresses

    @property
    def record_key(self) -> RecordKey:
        return GATEWAY_KEY


@dataclass(frozen=True, slots=True)
class BundleRecord:
    """The CA certificates of the member's own trust domain (SPIFFE bundle, x509 authorities only)."""

    trust_domain: str
    sequence: int
    """Grows with every change; a smaller one than was already accepted is refused."""
    authorities: tuple[bytes, ...]
    """DER certificates."""
    leaves_until: tuple[int, ...] = ()
    """By authority, in their order: the Unix time after which no leaf of it is valid. Since schema 1.2; empty where the
    member doesn't say, and then each authority may have leaves until it ends itself."""

    @property
    def record_key(self) -> RecordKey:
        return BUNDLE_KEY


@dataclass(frozen=True, slots=True)
class TrustRecord:
    """What of the others the member has taken over: accepted, and in its Envoys. Since schema 1.1; a member that has
    none may have accepted all the same."""

    accepted: tuple[tuple[str, int], ...] = ()
    """The bundles that it verifies by: trust domain and sequence, sorted, each domain once."""
    routed: tuple[tuple[str, int], ...] = ()
    """The gateways that it calls by: cluster and revision of its gateway record, sorted, each cluster once. Since
    schema 1.4; left out are revisions of 0, of clusters that were never drained."""

    @property
    def record_key(self) -> RecordKey:
        return TRUST_KEY


Record = ExportRecord | EndpointsRecord | GatewayRecord | BundleRecord | TrustRecord


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """Position in one member's log: epoch (start of that publication, Unix ms), then sequence number of the batch."""

    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class Member:
    """An admitted member as membership states it: the binding that every record of it is verified against."""

    cluster: ClusterId
    trust_domain: str
    public_key: bytes
    """Ed25519, 32 raw bytes."""
    retiring_key: bytes | None = None
    """The key before, while what it signed is still believed: a member key is replaced without a gap."""

    @property
    def keys(self) -> tuple[bytes, ...]:
        """Every key whose signature counts, the newest first."""
        return (self.public_key,) if self.retiring_key is None else (self.public_key, self.retiring_key)
