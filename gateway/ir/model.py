"""IR values: imported ports (outbound), exported ports (gateway) and inbound ports (one workload).

Sits between the merged view and the translation to Envoy. Everything is per service port, so that one changed service
is rebuilt and sent alone. Knows no Envoy message and no exchange record.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from federation.model.names import ClusterId, ServiceKey, sni
from federation.model.traffic_policy import DEFAULTS, TrafficSettings


class AppProtocol(StrEnum):
    """What the application speaks on a port; decides what its sidecar may do with the bytes."""

    HTTP = "http"
    """HTTP/1.1, WebSocket among it."""
    HTTP2 = "http2"
    """HTTP/2 with prior knowledge; gRPC."""
    TCP = "tcp"
    """Opaque bytes: everything that names no HTTP protocol."""

    @property
    def is_http(self) -> bool:
        return self is not AppProtocol.TCP


class CallPath(StrEnum):
    """How a call gets to the cluster that takes it; a label of metrics and a field of access logs."""

    LOCAL = "local"
    """In the caller's own cluster."""
    REMOTE = "remote"
    """To one of the nearest clusters that export the port; the own one doesn't."""
    FAILOVER = "failover"
    """Past a nearer cluster, which exports the port and did not take the call, for whatever reason."""


@dataclass(frozen=True, slots=True, order=True)
class Way:
    """An address that leads to where other addresses lead as well."""

    address: str
    port: int


@dataclass(frozen=True, slots=True, order=True)
class Upstream:
    """One host that a proxy connects to: a sidecar, or a shard of the endpoints behind a peer's gateways."""

    address: str
    port: int
    weight: int = 1
    """Ready endpoints that it stands for, scaled (``WEIGHT_PER_ENDPOINT``)."""
    server_name: str = ""
    """SNI that it is asked for by, where that is not the service port's."""
    others: tuple[Way, ...] = ()
    """Where it is connected to, in this order, when the address before doesn't answer."""
    healthy: bool = True
    """Whether it may be called; who is not is counted by a threshold."""


@dataclass(frozen=True, slots=True, order=True)
class UpstreamLocality:
    """Addresses of one cluster at one failover priority (0 is tried first)."""

    priority: int
    cluster: ClusterId
    region: str
    zone: str
    upstreams: tuple[Upstream, ...]
    share: int = 0
    """Weight among the localities of its priority, where a policy orders clusters; else 0."""
    path: CallPath = CallPath.LOCAL


@dataclass(frozen=True, slots=True)
class ImportedPort:
    """One TCP port of an imported service, as every sidecar of the cluster reaches it."""

    service: ServiceKey
    port: int
    protocol: AppProtocol
    identities: tuple[str, ...]
    """SPIFFE IDs that the server may present."""
    localities: tuple[UpstreamLocality, ...]
    """Sorted; priorities contiguous from 0."""
    generation: int = 0
    """Of the trust that calls of it rest on: another one ends the connections that are open."""
    policy: TrafficSettings = DEFAULTS
    """How calls of it are balanced, limited, tried again and given up."""
    sheds: bool = False
    """Whether a cluster behind it refuses, and says so, what it can't take: such a call may be tried elsewhere."""

    @property
    def name(self) -> str:
        """SNI, Envoy cluster name and EDS name in one."""
        return sni(self.service, self.port)


@dataclass(frozen=True, slots=True)
class ExportedPort:
    """One TCP port of an exported service, as the cluster's own gateway passes it on to the workloads' sidecars."""

    service: ServiceKey
    port: int
    upstreams: tuple[Upstream, ...]

    @property
    def name(self) -> str:
        return sni(self.service, self.port)


@dataclass(frozen=True, slots=True)
class TerminatedPort:
    """One TCP port of an exported service for which the cluster's own gateway ends the clusterset's TLS."""

    service: ServiceKey
    port: int
    protocol: AppProtocol
    upstreams: tuple[Upstream, ...]
    """The workloads themselves, in the clear."""

    @property
    def name(self) -> str:
        return sni(self.service, self.port)


@dataclass(frozen=True, slots=True, order=True)
class InboundPort:
    """One exported port of one workload: what its sidecar accepts, and where the application listens."""

    service: ServiceKey
    port: int
    protocol: AppProtocol
    app_address: str
    app_port: int
    others_limit: int = 0
    """Calls of other clusters that are let through at a time; 0: all."""
    trust_domain: str = ""
    """The own one, whose callers no such limit holds back; empty where there is none."""

    @property
    def name(self) -> str:
        return sni(self.service, self.port)
