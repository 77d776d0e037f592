"""What the controller needs of those who know its peers, and what it asks of what they know. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from federation.exchange.base import ExchangeSnapshot
from federation.model.names import GATEWAY_KEY, ClusterId, RecordKey, ServiceKey, service_of
from federation.model.records import GatewayAddress, GatewayRecord, Record


class Peers(Protocol):
    """What the controller needs of its seat at the exchange."""

    @property
    def synced(self) -> bool: ...

    @property
    def connected(self) -> bool: ...

    def snapshot(self) -> ExchangeSnapshot: ...

    def publish(self, desired: Mapping[RecordKey, Record]) -> None: ...


class Gateways(Protocol):
    """What the controller needs of the probes of its peers' gateways."""

    def follow(self, gateways: Mapping[ClusterId, Sequence[GatewayAddress]]) -> None: ...

    def reach(self, cluster: ClusterId) -> bool | None: ...


def exported_by(peers: ExchangeSnapshot) -> set[ServiceKey]:
    """The services that any peer says something of."""
    return {
        service
        for member in peers.members.values()
        for key in member.records
        if (service := service_of(key)) is not None
    }


def unread(peers: ExchangeSnapshot) -> frozenset[ClusterId]:
    """The members of whom no whole picture was ever had: what they export is not known, which is not that they export
    nothing. One that never published is among them."""
    return frozenset(cluster for cluster, member in peers.members.items() if member.version is None)


def gateway_records(peers: ExchangeSnapshot, trusted: Collection[ClusterId]) -> dict[ClusterId, GatewayRecord]:
    """What those of the peers that we trust say of their gateways."""
    return {
        cluster: record
        for cluster, member in peers.members.items()
        if cluster in trusted and isinstance(record := member.records.get(GATEWAY_KEY), GatewayRecord)
    }


def probed(records: Mapping[ClusterId, GatewayRecord]) -> dict[ClusterId, tuple[GatewayAddress, ...]]:
    """The gateways that tell by answering that their cluster lives: those among them that are drained."""
    return {cluster: record.addresses + record.drained for cluster, record in records.items()}


def routes(records: Mapping[ClusterId, GatewayRecord]) -> tuple[tuple[str, int], ...]:
    """What there is to acknowledge of drains: cluster and revision, sorted."""
    return tuple(sorted((str(cluster), record.revision) for cluster, record in records.items() if record.revision))
