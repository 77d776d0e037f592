"""What the controller needs of those who know its peers, and what it asks of what they know. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Protocol

from federation.exchange.base import ExchangeSnapshot
from federation.model.names import GATEWAY_KEY, ClusterId, RecordKey, ServiceKey, is_dns_name, service_of
from federation.model.records import GatewayAddress, GatewayRecord, Record

MAX_GATEWAY_NAMES = 8
"""Names of one peer's gateways that are resolved; the others are left out."""


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


def probed(
    records: Mapping[ClusterId, GatewayRecord], resolved: Mapping[str, tuple[str, ...]] = MappingProxyType({})
) -> dict[ClusterId, tuple[GatewayAddress, ...]]:
    """The gateways that tell by answering that their cluster lives: those among them that are drained."""
    found = {cluster: by_ip(record, resolved) for cluster, record in records.items()}
    return {cluster: record.addresses + record.drained for cluster, record in found.items()}


def gateway_names(record: GatewayRecord) -> tuple[str, ...]:
    """The names that are to be resolved: sorted, and no more than a peer may have."""
    names = {address.host for address in (*record.addresses, *record.drained) if is_dns_name(address.host)}
    return tuple(sorted(names)[:MAX_GATEWAY_NAMES])


def by_ip(record: GatewayRecord, resolved: Mapping[str, tuple[str, ...]]) -> GatewayRecord:
    """The record by IP addresses alone, each once, with the share of what it came from; a name that is not among
    ``resolved`` leads nowhere."""
    names = set(gateway_names(record))
    if not names and all(not is_dns_name(address.host) for address in (*record.addresses, *record.drained)):
        return record

    def found(address: GatewayAddress) -> Iterable[GatewayAddress]:
        if not is_dns_name(address.host):
            return (address,)
        ips = resolved.get(address.host, ()) if address.host in names else ()
        return (GatewayAddress(ip, address.port) for ip in ips)

    shares = record.shares or (100,) * len(record.addresses)
    called: dict[GatewayAddress, int] = {}
    for address, share in zip(record.addresses, shares, strict=True):
        for one in found(address):
            called.setdefault(one, share)
    drained = dict.fromkeys(one for address in record.drained for one in found(address) if one not in called)
    return replace(
        record,
        addresses=tuple(called),
        shares=tuple(called.values()) if record.shares else (),
        drained=tuple(drained),
    )


def routes(records: Mapping[ClusterId, GatewayRecord]) -> tuple[tuple[str, int], ...]:
    """What there is to acknowledge of drains: cluster and revision, sorted."""
    return tuple(sorted((str(cluster), record.revision) for cluster, record in records.items() if record.revision))
