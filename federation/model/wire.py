"""Wire form of records: the only parser, and the only writer, of what members say to one another.

A record is a msgpack array. Fields are only ever added at the end, with a default, so that an older reader ignores what
it does not know and a newer one reads what an older member wrote; only a new major schema is refused. The structs are
kept apart from the dataclasses of ``records``: those follow our code, these follow our promise to peers. It knows
nothing of signatures and storage (see federation.exchange), and must not raise anything but WireError.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from federation.model.errors import WireError
from federation.model.names import BUNDLE_KEY, GATEWAY_KEY, TRUST_KEY, RecordKey, ServiceKey, is_dns_label, service_of
from federation.model.records import (
    BundleRecord,
    DirectEndpoint,
    EndpointAddress,
    EndpointsRecord,
    ExportRecord,
    GatewayAddress,
    GatewayRecord,
    ImportType,
    Member,
    Record,
    TrustRecord,
    ZoneCount,
)
from federation.model.state import Protocol, ServicePort
from federation.model.wire_checks import (
    Reason as Reason,  # noqa: PLC0414  for those who catch WireError
)
from federation.model.wire_checks import (
    check_bounded,
    check_distinct,
    check_identity,
    check_ip,
    check_items,
    check_label_value,
    check_service,
    check_text,
    refuse,
)

SCHEMA_MAJOR = 1
SCHEMA_MINOR = 3

MAX_RECORD_BYTES = 256 * 1024
MAX_KEY_CHARS = 160
"""``endpoints/`` and two DNS labels, with room for kinds to come."""
MAX_BATCH_RECORDS = 1024
MAX_BATCH_BYTES = 1024 * 1024
"""A batch travels to every member on the channel; Redis drops subscribers that are 32 MB behind."""
MAX_SHARD_BYTES = 8 * 1024 * 1024
MAX_MEMBER_RECORDS = 200_000
MAX_MEMBER_BYTES = 60 * 1024 * 1024
"""Of all records together: what one member may occupy in the memory of every other."""

MAX_DIRECT = 1024
"""Endpoints of a service that members of the same network are told of one by one."""

UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""All that decoding untrusted bytes may raise; text that is no UTF-8 and numbers out of range are ValueErrors."""

_MAX_ITEMS = 256
_MAX_ADDRESSES = 8192
_MAX_READY = 1_000_000
_MAX_SHARDS = 64
_MAX_SEQUENCE = 2**63 - 1
_MAX_AUTHORITIES = 32
_MAX_TRUST_DOMAINS = 4096
_MAX_AUTHORITY_BYTES = 16 * 1024
_MAX_CREATED = 253_402_300_799  # 9999-12-31, the last that datetime can hold
_MAX_AFFINITY_SECONDS = 86_400  # Kubernetes: ClientIP timeout is at most a day

_IP_FAMILIES = ("IPv4", "IPv6")


class _Export(msgspec.Struct, array_like=True, tag=1):
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


class _Endpoints(msgspec.Struct, array_like=True, tag=2):
    namespace: str
    name: str
    zones: list[tuple[str, int]]
    addresses: list[tuple[list[str], str]]
    direct: list[tuple[str, int, str, list[str]]] = []


class _Gateway(msgspec.Struct, array_like=True, tag=3):
    addresses: list[tuple[str, int]]
    region: str
    network: str
    shards: int = 0


class _Bundle(msgspec.Struct, array_like=True, tag=4):
    trust_domain: str
    sequence: int
    authorities: list[bytes]
    leaves_until: list[int] = []


class _Trust(msgspec.Struct, array_like=True, tag=5):
    accepted: list[tuple[str, int]]


_WireRecord = _Export | _Endpoints | _Gateway | _Bundle | _Trust

_encoder = msgspec.msgpack.Encoder()
_decoders: dict[type, msgspec.msgpack.Decoder[_WireRecord]] = {
    ExportRecord: msgspec.msgpack.Decoder(_Export),
    EndpointsRecord: msgspec.msgpack.Decoder(_Endpoints),
    GatewayRecord: msgspec.msgpack.Decoder(_Gateway),
    BundleRecord: msgspec.msgpack.Decoder(_Bundle),
    TrustRecord: msgspec.msgpack.Decoder(_Trust),
}


def encode_record(record: Record, member: Member) -> bytes:
    """Canonical bytes of ``member``'s record; raises WireError for what every peer would refuse."""
    _check(record, member)
    try:
        data = _encoder.encode(_to_wire(record))
    except UnicodeEncodeError as error:
        raise WireError(Reason.INVALID, f"{record.record_key} holds text that is no Unicode") from error
    if len(data) > MAX_RECORD_BYTES:
        refuse(Reason.OVERSIZED, f"{record.record_key} has {len(data)} bytes, more than {MAX_RECORD_BYTES}")
    return data


def decode_record(key: RecordKey, data: bytes, member: Member) -> Record:
    """The record that ``member`` stores under ``key``; raises WireError unless every field of it is sound."""
    kind = _kind_of(key)
    if len(data) > MAX_RECORD_BYTES:
        refuse(Reason.OVERSIZED, f"{key} has {len(data)} bytes, more than {MAX_RECORD_BYTES}")
    try:
        record = _from_wire(_decoders[kind].decode(data))
    except UNREADABLE as error:
        raise WireError(Reason.MALFORMED, f"{key} is no record of this schema: {error}") from error
    _check(record, member)
    if record.record_key != key:
        refuse(Reason.WRONG_KEY, f"{key} holds the record {record.record_key}")
    return record


def _kind_of(key: RecordKey) -> type[Record]:
    if key == GATEWAY_KEY:
        return GatewayRecord
    if key == BUNDLE_KEY:
        return BundleRecord
    if key == TRUST_KEY:
        return TrustRecord
    kind = key.partition("/")[0]
    if kind not in {"export", "endpoints"}:
        refuse(Reason.UNKNOWN_KIND, f"{key[:MAX_KEY_CHARS]!r} is of a kind that this version does not know")
    if service_of(key) is None:
        refuse(Reason.WRONG_KEY, f"{key[:MAX_KEY_CHARS]!r} names no service")
    return ExportRecord if kind == "export" else EndpointsRecord


def _to_wire(record: Record) -> _WireRecord:
    match record:
        case ExportRecord():
            return _Export(
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
            return _Endpoints(
                namespace=record.key.namespace,
                name=record.key.name,
                zones=[(zone.zone, zone.ready) for zone in record.zones],
                addresses=[(list(address.addresses), address.hostname) for address in record.addresses],
                direct=[(item.address, item.port, item.zone, list(item.ports)) for item in record.direct],
            )
        case GatewayRecord():
            addresses = [(address.host, address.port) for address in record.addresses]
            return _Gateway(addresses, record.region, record.network, record.shards)
        case BundleRecord():
            return _Bundle(record.trust_domain, record.sequence, list(record.authorities), list(record.leaves_until))
        case TrustRecord():
            return _Trust(list(record.accepted))


def _from_wire(wire: _WireRecord) -> Record:
    match wire:
        case _Export():
            check_bounded("created", wire.created, 0, _MAX_CREATED)
            return ExportRecord(
                key=ServiceKey(wire.namespace, wire.name),
                created=datetime.fromtimestamp(wire.created, UTC),
                type=ImportType(wire.import_type),
                ports=tuple(
                    ServicePort(name, Protocol(protocol), port, app) for name, protocol, port, app in wire.ports
                ),
                session_affinity=wire.session_affinity,
                session_affinity_timeout_seconds=wire.session_affinity_timeout_seconds,
                internal_traffic_policy=wire.internal_traffic_policy,
                traffic_distribution=wire.traffic_distribution,
                ip_families=tuple(wire.ip_families),
                labels=tuple(wire.labels),
                annotations=tuple(wire.annotations),
                identities=tuple(wire.identities),
            )
        case _Endpoints():
            return EndpointsRecord(
                key=ServiceKey(wire.namespace, wire.name),
                zones=tuple(ZoneCount(zone, ready) for zone, ready in wire.zones),
                addresses=tuple(EndpointAddress(tuple(ips), hostname) for ips, hostname in wire.addresses),
                direct=tuple(DirectEndpoint(ip, port, zone, tuple(names)) for ip, port, zone, names in wire.direct),
            )
        case _Gateway():
            addresses = tuple(GatewayAddress(host, port) for host, port in wire.addresses)
            return GatewayRecord(addresses, wire.region, wire.network, wire.shards)
        case _Bundle():
            return BundleRecord(wire.trust_domain, wire.sequence, tuple(wire.authorities), tuple(wire.leaves_until))
        case _Trust():
            return TrustRecord(tuple(wire.accepted))


def _check(record: Record, member: Member) -> None:
    match record:
        case ExportRecord():
            _check_export(record, member)
        case EndpointsRecord():
            _check_endpoints(record)
        case GatewayRecord():
            check_items("addresses", record.addresses, _MAX_ITEMS)
            for address in record.addresses:
                check_ip("addresses.host", address.host)
                check_bounded("addresses.port", address.port, 1, 65535)
            check_label_value("region", record.region)
            check_label_value("network", record.network)
            check_bounded("shards", record.shards, 0, _MAX_SHARDS)
        case BundleRecord():
            _check_bundle(record, member)
        case TrustRecord():
            _check_trust(record)


def _check_export(record: ExportRecord, member: Member) -> None:
    check_service("export", record.key)
    if record.created.tzinfo is None or record.created.microsecond:
        refuse(Reason.INVALID, f"created is {record.created.isoformat()}, must be whole seconds with a time zone")
    check_bounded("created", int(record.created.timestamp()), 0, _MAX_CREATED)
    check_items("ports", record.ports, _MAX_ITEMS)
    check_distinct("ports.name", [port.name for port in record.ports])
    check_distinct("ports.port", [(port.protocol, port.port) for port in record.ports])
    for port in record.ports:
        if port.name and not is_dns_label(port.name):
            refuse(Reason.INVALID, f"ports.name {port.name[:80]!r} is not a DNS label")
        check_bounded("ports.port", port.port, 1, 65535)
        check_text("ports.app_protocol", port.app_protocol, 317)
    if record.session_affinity not in {"None", "ClientIP"}:
        refuse(Reason.INVALID, f"session_affinity {record.session_affinity[:80]!r} is neither None nor ClientIP")
    if record.session_affinity_timeout_seconds is not None:
        timeout = record.session_affinity_timeout_seconds
        check_bounded("session_affinity_timeout_seconds", timeout, 1, _MAX_AFFINITY_SECONDS)
    check_text("internal_traffic_policy", record.internal_traffic_policy, 63)
    check_text("traffic_distribution", record.traffic_distribution, 63)
    check_distinct("ip_families", record.ip_families)
    if not set(record.ip_families) <= set(_IP_FAMILIES):
        refuse(Reason.INVALID, "ip_families holds more than IPv4 and IPv6")
    for field, pairs in (("labels", record.labels), ("annotations", record.annotations)):
        check_items(field, pairs, _MAX_ITEMS)
        check_distinct(field, [name for name, _ in pairs])
        for name, _ in pairs:
            check_text(field, name, 317)  # a DNS subdomain, a slash and a name
    for name, value in record.labels:
        check_label_value(f"labels.{name}", value)
    check_items("identities", record.identities, _MAX_ITEMS)
    for identity in record.identities:
        check_identity(identity, member.trust_domain)


def _check_endpoints(record: EndpointsRecord) -> None:
    check_service("endpoints", record.key)
    check_items("zones", record.zones, _MAX_ITEMS)
    check_distinct("zones", [zone.zone for zone in record.zones])
    for zone in record.zones:
        check_label_value("zones", zone.zone)
        check_bounded("zones.ready", zone.ready, 0, _MAX_READY)
    check_items("addresses", record.addresses, _MAX_ADDRESSES)
    for address in record.addresses:
        if not 1 <= len(address.addresses) <= 2:
            refuse(Reason.INVALID, f"addresses holds an endpoint with {len(address.addresses)} addresses")
        for ip in address.addresses:
            check_ip("addresses", ip)
        if address.hostname and not is_dns_label(address.hostname):
            refuse(Reason.INVALID, f"addresses.hostname {address.hostname[:80]!r} is not a DNS label")
    _check_direct(record.direct)


def _check_direct(direct: Sequence[DirectEndpoint]) -> None:
    check_items("direct", direct, MAX_DIRECT)
    for item in direct:
        check_ip("direct.address", item.address)
        check_bounded("direct.port", item.port, 1, 65535)
        check_label_value("direct.zone", item.zone)
        check_items("direct.ports", item.ports, _MAX_ITEMS)
        for name in item.ports:
            if name and not is_dns_label(name):
                refuse(Reason.INVALID, f"direct.ports {name[:80]!r} is not a DNS label")


def _check_bundle(record: BundleRecord, member: Member) -> None:
    if record.trust_domain != member.trust_domain:
        theirs, claimed = member.trust_domain, record.trust_domain[:253]
        refuse(Reason.WRONG_TRUST_DOMAIN, f"bundle is for {claimed!r}, but {member.cluster} speaks for {theirs!r}")
    check_bounded("sequence", record.sequence, 0, _MAX_SEQUENCE)
    check_items("authorities", record.authorities, _MAX_AUTHORITIES)
    for authority in record.authorities:
        check_bounded("authorities (bytes)", len(authority), 1, _MAX_AUTHORITY_BYTES)
    if len(record.leaves_until) not in {0, len(record.authorities)}:
        refuse(Reason.INVALID, "leaves_until says nothing of some authority")
    for until in record.leaves_until:
        check_bounded("leaves_until", until, 0, _MAX_CREATED)


def _check_trust(record: TrustRecord) -> None:
    check_items("accepted", record.accepted, _MAX_TRUST_DOMAINS)
    domains = [domain for domain, _ in record.accepted]
    if domains != sorted(set(domains)):
        refuse(Reason.INVALID, "accepted is not sorted, or names a trust domain twice")
    for domain, sequence in record.accepted:
        check_text("accepted (trust domain)", domain, 255)
        check_bounded("accepted (sequence)", sequence, 0, _MAX_SEQUENCE)
