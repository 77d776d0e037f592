"""The shapes of records on the wire: arrays of msgpack.

Fields are only ever added at the end, with a default, so that an older reader ignores what it does not know and a newer
one reads what an older member wrote. Kept apart from the dataclasses of ``records``: those follow our code, these our
promise to peers. What of it is believed is ``wire``'s to say.
"""

from __future__ import annotations

import msgspec

from federation.model.records import (
    BundleRecord,
    EndpointsRecord,
    ExportRecord,
    GatewayRecord,
    Record,
    TrustRecord,
)


class WireExport(msgspec.Struct, array_like=True, tag=1):
    namespace: str
    name: str
    created: int
    import_type: str
    ports: list[tuple[str, str, int, str | None]]
    session_affinity: str
    session_affinity_timeout_seconds: int | None
    internal_traffic_policy: str | None
    traffic_distribution: str | None
    ip_families: list[str]
    labels: list[tuple[str, str]]
    annotations: list[tuple[str, str]]
    identities: list[str]


class WireEndpoints(msgspec.Struct, array_like=True, tag=2):
    namespace: str
    name: str
    zones: list[tuple[str, int]]
    addresses: list[tuple[list[str], str]]
    ports: list[list[tuple[str, str, int]]] = []
    """Each combination of ports once: most workloads of a service listen on the same."""
    ports_of: list[int] = []
    """By address, in their order, the number of its combination from 1 on, or 0; empty where all have 0."""
    capacity: int = 0
    direct: list[tuple[str, int, str, list[str]]] = []


class WireGateway(msgspec.Struct, array_like=True, tag=3):
    addresses: list[tuple[str, int]]
    region: str
    network: str
    shards: int = 0
    share: int = 100
    shares: list[int] = []
    drained: list[tuple[str, int]] = []
    revision: int = 0


class WireBundle(msgspec.Struct, array_like=True, tag=4):
    trust_domain: str
    sequence: int
    authorities: list[bytes]
    leaves_until: list[int] = []


class WireTrust(msgspec.Struct, array_like=True, tag=5):
    accepted: list[tuple[str, int]]
    routed: list[tuple[str, int]] = []


WireRecord = WireExport | WireEndpoints | WireGateway | WireBundle | WireTrust


def to_wire(record: Record) -> WireRecord:
    """The record as it is written; nothing is checked."""
    match record:
        case ExportRecord():
            return WireExport(
                namespace=record.key.namespace,
                name=record.key.name,
                created=int(record.created.timestamp()),
                import_type=record.type,
                ports=[(port.name, port.protocol, port.port, port.app_protocol) for port in record.ports],
                session_affinity=record.session_affinity,
                session_affinity_timeout_seconds=record.session_affinity_timeout_seconds,
                internal_traffic_policy=record.internal_traffic_policy,
                traffic_distribution=record.traffic_distribution,
                ip_families=list(record.ip_families),
                labels=list(record.labels),
                annotations=list(record.annotations),
                identities=list(record.identities),
            )
        case EndpointsRecord():
            found = sorted({address.ports for address in record.addresses} - {()})
            numbers = {(): 0} | {ports: number for number, ports in enumerate(found, 1)}
            return WireEndpoints(
                namespace=record.key.namespace,
                name=record.key.name,
                zones=[(zone.zone, zone.ready) for zone in record.zones],
                addresses=[(list(address.addresses), address.hostname) for address in record.addresses],
                ports=[[(port.name, port.protocol, port.port) for port in ports] for ports in found],
                ports_of=[numbers[address.ports] for address in record.addresses] if found else [],
                capacity=record.capacity,
                direct=[(item.address, item.port, item.zone, list(item.ports)) for item in record.direct],
            )
        case GatewayRecord():
            return WireGateway(
                addresses=[(address.host, address.port) for address in record.addresses],
                region=record.region,
                network=record.network,
                shards=record.shards,
                share=record.share,
                shares=list(record.shares),
                drained=[(address.host, address.port) for address in record.drained],
                revision=record.revision,
            )
        case BundleRecord():
            return WireBundle(record.trust_domain, record.sequence, list(record.authorities), list(record.leaves_until))
        case TrustRecord():
            return WireTrust(list(record.accepted), list(record.routed))
