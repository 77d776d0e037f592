"""Builders: model values from what a test cares about; everything else is the sample service ``demo/echo``.

Each returns one valid value. Where a value differs from the sample in more than its arguments say, change
it with ``dataclasses.replace``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from federation.model.names import ClusterId, ServiceKey, parse_service_key
from federation.model.records import (
    BundleRecord,
    EndpointAddress,
    EndpointsRecord,
    ExportRecord,
    GatewayAddress,
    GatewayRecord,
    ImportType,
    Member,
    ZoneCount,
)
from federation.model.state import (
    ClusterState,
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Protocol,
    Service,
    ServiceExport,
    ServicePort,
    ServiceState,
    ServiceType,
)
from federation.model.view import Backend, Conflict, MergedPort, MergedService

EAST, WEST, NORTH = ClusterId("east"), ClusterId("west"), ClusterId("north")
"""The sample clusters; none of them is special."""

ECHO = ServiceKey("demo", "echo")
CREATED = datetime(2026, 1, 1, tzinfo=UTC)
"""When the sample export was created."""


def key(text: str) -> ServiceKey:
    """``key("demo/echo")``."""
    return parse_service_key(text)


def after(seconds: float) -> datetime:
    """A time later than CREATED by so many seconds."""
    return CREATED + timedelta(seconds=seconds)


def spiffe_id(cluster: str, account: str = "default", namespace: str = "demo") -> str:
    """The identity of a workload in the trust domain that the samples give a cluster, ``<cluster>.test``."""
    return f"spiffe://{cluster}.test/ns/{namespace}/sa/{account}"


# What a cluster has (federation.model.state)


def port(number: int = 80, name: str = "http", protocol: str = "TCP", app: str | None = None) -> ServicePort:
    return ServicePort(name, Protocol(protocol), number, app)


def service(
    of: ServiceKey = ECHO,
    *,
    type: ServiceType = ServiceType.CLUSTER_IP,  # noqa: A002  the field's own name
    headless: bool = False,
    ports: Iterable[ServicePort] = (port(),),
    session_affinity: str = "None",
    session_affinity_timeout_seconds: int | None = None,
    internal_traffic_policy: str | None = None,
    traffic_distribution: str | None = None,
    ip_families: Iterable[str] = ("IPv4",),
) -> Service:
    return Service(
        key=of,
        type=type,
        headless=headless,
        ports=tuple(ports),
        session_affinity=session_affinity,
        session_affinity_timeout_seconds=session_affinity_timeout_seconds,
        internal_traffic_policy=internal_traffic_policy,
        traffic_distribution=traffic_distribution,
        ip_families=tuple(ip_families),
    )


def endpoint(*addresses: str, ready: bool = True, zone: str = "", hostname: str = "") -> Endpoint:
    return Endpoint(addresses or ("10.0.0.1",), ready, zone, hostname)


def endpoint_port(number: int = 8080, name: str = "http", protocol: str = "TCP") -> EndpointPort:
    return EndpointPort(name, Protocol(protocol), number)


def endpoint_slice(
    *endpoints: Endpoint,
    of: ServiceKey = ECHO,
    name: str = "echo-1",
    address_type: str = "IPv4",
    ports: Iterable[EndpointPort] = (endpoint_port(),),
    service_account: str = "default",
    inbound_port: int | None = None,
) -> EndpointSlice:
    return EndpointSlice(
        namespace=of.namespace,
        name=name,
        service=of,
        address_type=address_type,
        ports=tuple(ports),
        endpoints=endpoints,
        service_account=service_account,
        inbound_port=inbound_port,
    )


def service_export(
    of: ServiceKey = ECHO,
    *,
    created: datetime | None = CREATED,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> ServiceExport:
    return ServiceExport(of, created, tuple((labels or {}).items()), tuple((annotations or {}).items()))


def exported_state(*slices: EndpointSlice, of: ServiceKey = ECHO) -> ServiceState:
    """A service that is exported, with these slices."""
    return ServiceState(service(of), service_export(of), slices)


def cluster_state(states: Mapping[ServiceKey, ServiceState] | None = None) -> ClusterState:
    """These services (the exported sample by default) in a cluster that has exactly their namespaces."""
    services = {ECHO: exported_state(endpoint_slice(endpoint()))} if states is None else states
    return ClusterState(services, frozenset(of.namespace for of in services))


# What travels (federation.model.records)


def export_record(
    of: ServiceKey = ECHO,
    *,
    created: datetime = CREATED,
    type: ImportType = ImportType.CLUSTER_SET_IP,  # noqa: A002  the field's own name
    ports: Iterable[ServicePort] = (port(),),
    session_affinity: str = "None",
    session_affinity_timeout_seconds: int | None = None,
    internal_traffic_policy: str | None = None,
    traffic_distribution: str | None = None,
    ip_families: Iterable[str] = ("IPv4",),
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    identities: Iterable[str] = (),
) -> ExportRecord:
    return ExportRecord(
        key=of,
        created=created,
        type=type,
        ports=tuple(ports),
        session_affinity=session_affinity,
        session_affinity_timeout_seconds=session_affinity_timeout_seconds,
        internal_traffic_policy=internal_traffic_policy,
        traffic_distribution=traffic_distribution,
        ip_families=tuple(ip_families),
        labels=tuple(sorted((labels or {}).items())),
        annotations=tuple(sorted((annotations or {}).items())),
        identities=tuple(identities),
    )


def endpoints_record(
    of: ServiceKey = ECHO,
    *,
    zones: Mapping[str, int] | None = None,
    addresses: Iterable[EndpointAddress] = (),
) -> EndpointsRecord:
    """Ready endpoints per zone (one, in no zone, by default)."""
    counts = {"": 1} if zones is None else zones
    return EndpointsRecord(
        of, tuple(ZoneCount(zone, ready) for zone, ready in sorted(counts.items())), tuple(addresses)
    )


def gateway_record(
    *hosts: str, number: int = 15443, region: str = "eu", network: str = "net-1", shards: int = 0
) -> GatewayRecord:
    """Gateways at these addresses (one, on the loopback, by default), all on one port; of an older member, by default,
    which knows no shards."""
    addresses = tuple(GatewayAddress(host, number) for host in hosts or ("127.0.0.1",))
    return GatewayRecord(addresses, region, network, shards)


def bundle_record(cluster: ClusterId = EAST, *authorities: bytes, sequence: int = 1) -> BundleRecord:
    """A bundle with these DER certificates (by default bytes that only look like one)."""
    return BundleRecord(f"{cluster}.test", sequence, authorities or (b"\x30\x00",))


def member(cluster: ClusterId = EAST, *, public_key: bytes = bytes(32)) -> Member:
    return Member(cluster, f"{cluster}.test", public_key)


# What the clusterset sees (federation.model.view)


def merged_port(
    *clusters: ClusterId, number: int = 80, name: str = "http", protocol: str = "TCP", app: str | None = None
) -> MergedPort:
    return MergedPort(name, Protocol(protocol), number, app, clusters or (EAST,))


def backend(
    cluster: ClusterId = EAST,
    *,
    created: datetime = CREATED,
    identities: Iterable[str] | None = None,
    zones: Mapping[str, int] | None = None,
    addresses: Iterable[EndpointAddress] = (),
) -> Backend:
    """A backend of one ready endpoint in no zone, that presents its namespace's default account."""
    record = endpoints_record(zones=zones, addresses=addresses)
    own = (spiffe_id(cluster),) if identities is None else tuple(identities)
    return Backend(cluster, created, own, record.zones, record.addresses)


def merged_service(
    of: ServiceKey = ECHO,
    *,
    type: ImportType = ImportType.CLUSTER_SET_IP,  # noqa: A002  the field's own name
    ports: Iterable[MergedPort] = (merged_port(),),
    session_affinity: str = "None",
    session_affinity_timeout_seconds: int | None = None,
    internal_traffic_policy: str | None = "Cluster",
    traffic_distribution: str | None = None,
    ip_families: Iterable[str] = ("IPv4",),
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    backends: Iterable[Backend] = (backend(),),
    conflicts: Iterable[Conflict] = (),
) -> MergedService:
    return MergedService(
        key=of,
        type=type,
        ports=tuple(ports),
        session_affinity=session_affinity,
        session_affinity_timeout_seconds=session_affinity_timeout_seconds,
        internal_traffic_policy=internal_traffic_policy,
        traffic_distribution=traffic_distribution,
        ip_families=tuple(ip_families),
        labels=tuple(sorted((labels or {}).items())),
        annotations=tuple(sorted((annotations or {}).items())),
        backends=tuple(backends),
        conflicts=tuple(conflicts),
    )
