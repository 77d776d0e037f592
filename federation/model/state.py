"""ClusterState: what one cluster has, independent of the source that read it (files or Kubernetes)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from federation.model.names import ServiceKey
from federation.model.traffic_policy import TrafficPolicy


class Protocol(StrEnum):
    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"


class ServiceType(StrEnum):
    """``spec.type`` of a Service. Headless is ClusterIP with ``clusterIP: None``, see Service.headless."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"
    EXTERNAL_NAME = "ExternalName"


@dataclass(frozen=True, slots=True, order=True)
class ServicePort:
    name: str
    """Empty for the single unnamed port."""
    protocol: Protocol
    port: int
    app_protocol: str | None = None


@dataclass(frozen=True, slots=True)
class Service:
    key: ServiceKey
    type: ServiceType
    headless: bool
    ports: tuple[ServicePort, ...]
    session_affinity: str = "None"
    """``None`` or ``ClientIP``."""
    session_affinity_timeout_seconds: int | None = None
    internal_traffic_policy: str | None = None
    traffic_distribution: str | None = None
    ip_families: tuple[str, ...] = ("IPv4",)


@dataclass(frozen=True, slots=True, order=True)
class EndpointPort:
    name: str
    protocol: Protocol
    port: int
    """The port that the workload itself listens on."""


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    addresses: tuple[str, ...]
    ready: bool = True
    zone: str = ""
    hostname: str = ""
    pod: str = ""
    """Name of the pod behind it, where the source knows of one."""
    service_account: str = ""
    """Identity of this workload, where it is known better than the slice's: that of its pod."""


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    namespace: str
    name: str
    service: ServiceKey
    address_type: str
    """``IPv4`` or ``IPv6`` (``FQDN`` is refused by the sources)."""
    ports: tuple[EndpointPort, ...]
    endpoints: tuple[Endpoint, ...]
    service_account: str = "default"
    """Identity of the workloads behind the slice (``spiffe://<td>/ns/<ns>/sa/<this>``). Files: annotation
    ``federation-gateway.dev/service-account``."""
    inbound_port: int | None = None
    """Port of the workloads' sidecars for mTLS; None means the cluster's default (15006). Files: annotation
    ``federation-gateway.dev/inbound-port``, needed where one address carries several workloads."""


@dataclass(frozen=True, slots=True)
class ServiceExport:
    key: ServiceKey
    created: datetime | None = None
    """``metadata.creationTimestamp``, aware, in UTC; None where the source has none (a file without it)."""
    exported_labels: tuple[tuple[str, str], ...] = ()
    exported_annotations: tuple[tuple[str, str], ...] = ()
    terminate: bool = False
    """Whether the own gateways end the clusterset's TLS for it, since its workloads have no sidecar that could.
    Annotation ``federation-gateway.dev/mode``."""


@dataclass(frozen=True, slots=True)
class ServiceState:
    """All that one cluster says of one service; parts that are missing are None or empty."""

    service: Service | None = None
    export: ServiceExport | None = None
    slices: tuple[EndpointSlice, ...] = ()


@dataclass(frozen=True, slots=True)
class ClusterState:
    services: Mapping[ServiceKey, ServiceState] = field(default_factory=dict)
    namespaces: frozenset[str] = frozenset()
    policies: Mapping[str, tuple[TrafficPolicy, ...]] = field(default_factory=dict)
    """By namespace, sorted by name."""
