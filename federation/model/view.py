"""What a cluster sees of the clusterset after the merge: one MergedService per exported name."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from federation.model.names import ClusterId, ServiceKey
from federation.model.records import DirectEndpoint, EndpointAddress, ImportType, ZoneCount
from federation.model.state import Protocol


@dataclass(frozen=True, slots=True)
class Conflict:
    """One property on which the exports of a service disagree (KEP-1645: resolved by the oldest export)."""

    reason: str
    """MCS API reason: PortConflict, TypeConflict, SessionAffinityConflict, …"""
    message: str
    """Names the property, the winner and how many clusters disagree."""


@dataclass(frozen=True, slots=True)
class MergedPort:
    name: str
    protocol: Protocol
    port: int
    app_protocol: str | None
    clusters: tuple[ClusterId, ...]
    """Clusters that back this port: those which export the same (name, protocol, number), sorted."""


@dataclass(frozen=True, slots=True)
class Backend:
    """One exporting cluster of a merged service."""

    cluster: ClusterId
    created: datetime
    identities: tuple[str, ...]
    zones: tuple[ZoneCount, ...]
    addresses: tuple[EndpointAddress, ...]
    capacity: int = 0
    """Calls of other clusters that one of its ready endpoints takes at a time; 0: it doesn't say."""
    direct: tuple[DirectEndpoint, ...] = ()

    @property
    def ready(self) -> int:
        return sum(zone.ready for zone in self.zones)


@dataclass(frozen=True, slots=True)
class MergedService:
    """The ServiceImport of one service, and who backs it."""

    key: ServiceKey
    type: ImportType
    ports: tuple[MergedPort, ...]
    session_affinity: str
    session_affinity_timeout_seconds: int | None
    internal_traffic_policy: str | None
    traffic_distribution: str | None
    ip_families: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]
    annotations: tuple[tuple[str, str], ...]
    backends: tuple[Backend, ...]
    """By age, ties by cluster id: the first is the one whose properties won."""
    conflicts: tuple[Conflict, ...]
    """By reason."""
