"""Wire form of records: the only parser, and the only writer, of what members say to one another.

A record is a msgpack array of ``wire_structs``; only a new major schema is refused. It knows nothing of signatures and
storage (see federation.exchange), and must not raise anything but WireError.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import NoReturn

import msgspec

from federation.model.errors import WireError
from federation.model.names import (
    BUNDLE_KEY,
    GATEWAY_KEY,
    TRUST_KEY,
    RecordKey,
    ServiceKey,
    is_dns_label,
    is_dns_name,
    service_of,
)
from federation.model.records import (
    MAX_DIRECT,
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
from federation.model.state import EndpointPort, Protocol, ServicePort
from federation.model.wire_structs import (
    WireBundle,
    WireEndpoints,
    WireExport,
    WireGateway,
    WireRecord,
    WireTrust,
    to_wire,
)

SCHEMA_MAJOR = 1
SCHEMA_MINOR = 4

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

UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""All that decoding untrusted bytes may raise; text that is no UTF-8 and numbers out of range are ValueErrors."""

_MAX_ITEMS = 256
_MAX_ADDRESSES = 8192
_MAX_READY = 1_000_000
_MAX_SHARDS = 64
_MAX_CAPACITY = 1_000_000
_MAX_SEQUENCE = 2**63 - 1
_MAX_AUTHORITIES = 32
_MAX_TRUST_DOMAINS = 4096
_MAX_AUTHORITY_BYTES = 16 * 1024
_MAX_CREATED = 253_402_300_799  # 9999-12-31, the last that datetime can hold
_MAX_AFFINITY_SECONDS = 86_400  # Kubernetes: ClientIP timeout is at most a day

_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_SPIFFE_SEGMENT = re.compile(r"[A-Za-z0-9._-]+")
_IP_FAMILIES = ("IPv4", "IPv6")


class Reason(StrEnum):
    """Why something of a peer was not accepted: stable codes, the ``reason`` of WireError and Rejected."""

    OVERSIZED = "Oversized"
    UNREADABLE = "Unreadable"
    MALFORMED = "Malformed"
    INVALID = "Invalid"
    INCOMPLETE = "Incomplete"
    UNKNOWN_SCHEMA = "UnknownSchema"
    UNKNOWN_KIND = "UnknownKind"
    WRONG_KEY = "WrongKey"
    WRONG_TRUST_DOMAIN = "WrongTrustDomain"
    WRONG_CLUSTERSET = "WrongClusterset"
    WRONG_MEMBER = "WrongMember"
    BAD_SIGNATURE = "BadSignature"
    REPLAYED = "Replayed"
    BUNDLE_ROLLBACK = "BundleRollback"


_encoder = msgspec.msgpack.Encoder()
_decoders: dict[type, msgspec.msgpack.Decoder[WireRecord]] = {
    ExportRecord: msgspec.msgpack.Decoder(WireExport),
    EndpointsRecord: msgspec.msgpack.Decoder(WireEndpoints),
    GatewayRecord: msgspec.msgpack.Decoder(WireGateway),
    BundleRecord: msgspec.msgpack.Decoder(WireBundle),
    TrustRecord: msgspec.msgpack.Decoder(WireTrust),
}


def encode_record(record: Record, member: Member) -> bytes:
    """Canonical bytes of ``member``'s record; raises WireError for what every peer would refuse."""
    _check(record, member)
    try:
        data = _encoder.encode(to_wire(record))
    except UnicodeEncodeError as error:
        raise WireError(Reason.INVALID, f"{record.record_key} holds text that is no Unicode") from error
    if len(data) > MAX_RECORD_BYTES:
        _refuse(Reason.OVERSIZED, f"{record.record_key} has {len(data)} bytes, more than {MAX_RECORD_BYTES}")
    return data


def decode_record(key: RecordKey, data: bytes, member: Member) -> Record:
    """The record that ``member`` stores under ``key``; raises WireError unless every field of it is sound."""
    kind = _kind_of(key)
    if len(data) > MAX_RECORD_BYTES:
        _refuse(Reason.OVERSIZED, f"{key} has {len(data)} bytes, more than {MAX_RECORD_BYTES}")
    try:
        record = _from_wire(_decoders[kind].decode(data))
    except UNREADABLE as error:
        raise WireError(Reason.MALFORMED, f"{key} is no record of this schema: {error}") from error
    _check(record, member)
    if record.record_key != key:
        _refuse(Reason.WRONG_KEY, f"{key} holds the record {record.record_key}")
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
        _refuse(Reason.UNKNOWN_KIND, f"{key[:MAX_KEY_CHARS]!r} is of a kind that this version does not know")
    if service_of(key) is None:
        _refuse(Reason.WRONG_KEY, f"{key[:MAX_KEY_CHARS]!r} names no service")
    return ExportRecord if kind == "export" else EndpointsRecord


def _from_wire(wire: WireRecord) -> Record:
    match wire:
        case WireExport():
            _bounded("created", wire.created, 0, _MAX_CREATED)
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
        case WireEndpoints():
            return EndpointsRecord(
                key=ServiceKey(wire.namespace, wire.name),
                zones=tuple(ZoneCount(zone, ready) for zone, ready in wire.zones),
                addresses=tuple(
                    EndpointAddress(tuple(ips), hostname, ports)
                    for (ips, hostname), ports in zip(wire.addresses, _ports_of(wire), strict=True)
                ),
                capacity=wire.capacity,
                direct=tuple(DirectEndpoint(ip, port, zone, tuple(names)) for ip, port, zone, names in wire.direct),
            )
        case WireGateway():
            addresses = tuple(GatewayAddress(host, port) for host, port in wire.addresses)
            drained = tuple(GatewayAddress(host, port) for host, port in wire.drained)
            shares = tuple(wire.shares)
            return GatewayRecord(
                addresses, wire.region, wire.network, wire.shards, wire.share, shares, drained, wire.revision
            )
        case WireBundle():
            return BundleRecord(wire.trust_domain, wire.sequence, tuple(wire.authorities), tuple(wire.leaves_until))
        case WireTrust():
            return TrustRecord(tuple(wire.accepted), tuple(wire.routed))


def _ports_of(wire: WireEndpoints) -> list[tuple[EndpointPort, ...]]:
    """The ports of each address."""
    if not wire.ports_of:
        return [()] * len(wire.addresses)
    if len(wire.ports_of) != len(wire.addresses):
        _refuse(Reason.INVALID, f"addresses.ports is of {len(wire.ports_of)} addresses among {len(wire.addresses)}")
    for number in wire.ports_of:
        _bounded("addresses.ports", number, 0, len(wire.ports))
    found: list[tuple[EndpointPort, ...]] = [()]
    for ports in wire.ports:
        found.append(tuple(EndpointPort(name, Protocol(protocol), port) for name, protocol, port in ports))
    return [found[number] for number in wire.ports_of]


def _check(record: Record, member: Member) -> None:
    match record:
        case ExportRecord():
            _check_export(record, member)
        case EndpointsRecord():
            _check_endpoints(record)
        case GatewayRecord():
            _check_gateway(record)
        case BundleRecord():
            _check_bundle(record, member)
        case TrustRecord():
            _check_trust(record)


def _check_export(record: ExportRecord, member: Member) -> None:
    _service("export", record.key)
    if record.created.tzinfo is None or record.created.microsecond:
        _refuse(Reason.INVALID, f"created is {record.created.isoformat()}, must be whole seconds with a time zone")
    _bounded("created", int(record.created.timestamp()), 0, _MAX_CREATED)
    _items("ports", record.ports, _MAX_ITEMS)
    _distinct("ports.name", [port.name for port in record.ports])
    _distinct("ports.port", [(port.protocol, port.port) for port in record.ports])
    for port in record.ports:
        if port.name and not is_dns_label(port.name):
            _refuse(Reason.INVALID, f"ports.name {port.name[:80]!r} is not a DNS label")
        _bounded("ports.port", port.port, 1, 65535)
        _text("ports.app_protocol", port.app_protocol, 317)
    if record.session_affinity not in {"None", "ClientIP"}:
        _refuse(Reason.INVALID, f"session_affinity {record.session_affinity[:80]!r} is neither None nor ClientIP")
    if record.session_affinity_timeout_seconds is not None:
        timeout = record.session_affinity_timeout_seconds
        _bounded("session_affinity_timeout_seconds", timeout, 1, _MAX_AFFINITY_SECONDS)
    _text("internal_traffic_policy", record.internal_traffic_policy, 63)
    _text("traffic_distribution", record.traffic_distribution, 63)
    _distinct("ip_families", record.ip_families)
    if not set(record.ip_families) <= set(_IP_FAMILIES):
        _refuse(Reason.INVALID, "ip_families holds more than IPv4 and IPv6")
    for field, pairs in (("labels", record.labels), ("annotations", record.annotations)):
        _items(field, pairs, _MAX_ITEMS)
        _distinct(field, [name for name, _ in pairs])
        for name, _ in pairs:
            _text(field, name, 317)  # a DNS subdomain, a slash and a name
    for name, value in record.labels:
        _label_value(f"labels.{name}", value)
    _items("identities", record.identities, _MAX_ITEMS)
    for identity in record.identities:
        _identity(identity, member.trust_domain)


def _check_endpoints(record: EndpointsRecord) -> None:
    _service("endpoints", record.key)
    _items("zones", record.zones, _MAX_ITEMS)
    _distinct("zones", [zone.zone for zone in record.zones])
    for zone in record.zones:
        _label_value("zones", zone.zone)
        _bounded("zones.ready", zone.ready, 0, _MAX_READY)
    _bounded("capacity", record.capacity, 0, _MAX_CAPACITY)
    _check_direct(record.direct)
    _items("addresses", record.addresses, _MAX_ADDRESSES)
    for address in record.addresses:
        if not 1 <= len(address.addresses) <= 2:
            _refuse(Reason.INVALID, f"addresses holds an endpoint with {len(address.addresses)} addresses")
        for ip in address.addresses:
            _ip("addresses", ip)
        if address.hostname and not is_dns_label(address.hostname):
            _refuse(Reason.INVALID, f"addresses.hostname {address.hostname[:80]!r} is not a DNS label")
    for ports in {address.ports for address in record.addresses}:
        _items("addresses.ports", ports, _MAX_ITEMS)
        _distinct("addresses.ports", [(port.name, port.protocol) for port in ports])
        for port in ports:
            if port.name and not is_dns_label(port.name):
                _refuse(Reason.INVALID, f"addresses.ports.name {port.name[:80]!r} is not a DNS label")
            _bounded("addresses.ports.port", port.port, 1, 65535)


def _check_direct(direct: Sequence[DirectEndpoint]) -> None:
    _items("direct", direct, MAX_DIRECT)
    for item in direct:
        _ip("direct.address", item.address)
        _bounded("direct.port", item.port, 1, 65535)
        _label_value("direct.zone", item.zone)
        _items("direct.ports", item.ports, _MAX_ITEMS)
        for name in item.ports:
            if name and not is_dns_label(name):
                _refuse(Reason.INVALID, f"direct.ports {name[:80]!r} is not a DNS label")


def _check_bundle(record: BundleRecord, member: Member) -> None:
    if record.trust_domain != member.trust_domain:
        theirs, claimed = member.trust_domain, record.trust_domain[:253]
        _refuse(Reason.WRONG_TRUST_DOMAIN, f"bundle is for {claimed!r}, but {member.cluster} speaks for {theirs!r}")
    _bounded("sequence", record.sequence, 0, _MAX_SEQUENCE)
    _items("authorities", record.authorities, _MAX_AUTHORITIES)
    for authority in record.authorities:
        _bounded("authorities (bytes)", len(authority), 1, _MAX_AUTHORITY_BYTES)
    if len(record.leaves_until) not in {0, len(record.authorities)}:
        _refuse(Reason.INVALID, "leaves_until says nothing of some authority")
    for until in record.leaves_until:
        _bounded("leaves_until", until, 0, _MAX_CREATED)


def _check_gateway(record: GatewayRecord) -> None:
    for field, addresses in (("addresses", record.addresses), ("drained", record.drained)):
        _items(field, addresses, _MAX_ITEMS)
        for address in addresses:
            if not is_dns_name(address.host):
                _ip(f"{field}.host", address.host)
            _bounded(f"{field}.port", address.port, 1, 65535)
    _label_value("region", record.region)
    _label_value("network", record.network)
    _bounded("shards", record.shards, 0, _MAX_SHARDS)
    if len(record.shares) not in {0, len(record.addresses)}:
        _refuse(Reason.INVALID, "shares says nothing of some address")
    for share in (record.share, *record.shares):
        _bounded("share", share, 1, 100)
    _bounded("revision", record.revision, 0, _MAX_SEQUENCE)


def _check_trust(record: TrustRecord) -> None:
    for field, pairs in (("accepted", record.accepted), ("routed", record.routed)):
        _items(field, pairs, _MAX_TRUST_DOMAINS)
        names = [name for name, _ in pairs]
        if names != sorted(set(names)):
            _refuse(Reason.INVALID, f"{field} is not sorted, or names something twice")
        for name, sequence in pairs:
            _text(f"{field} (name)", name, 255)
            _bounded(f"{field} (sequence)", sequence, 0, _MAX_SEQUENCE)


def _identity(identity: str, trust_domain: str) -> None:
    # SPIFFE-ID standard, section 2: at most 2048 bytes; path segments are not empty, "." or "..".
    prefix = f"spiffe://{trust_domain}/"
    if not identity.startswith(prefix):
        _refuse(Reason.WRONG_TRUST_DOMAIN, f"identity {identity[:253]!r} is not in trust domain {trust_domain!r}")
    segments = identity.removeprefix(prefix).split("/")
    sound = all(_SPIFFE_SEGMENT.fullmatch(part) and part not in {".", ".."} for part in segments)
    if len(identity) > 2048 or not sound:
        _refuse(Reason.INVALID, f"identity {identity[:253]!r} is no SPIFFE ID")


def _service(field: str, key: ServiceKey) -> None:
    if not (is_dns_label(key.namespace) and is_dns_label(key.name)):
        _refuse(Reason.INVALID, f"{field} {str(key)[:140]!r} names no service: both parts must be DNS labels")


def _bounded(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        _refuse(Reason.INVALID, f"{field} is {value}, must be {low} to {high}")


def _items(field: str, items: Sequence[object], limit: int) -> None:
    if len(items) > limit:
        _refuse(Reason.OVERSIZED, f"{field} has {len(items)} items, more than {limit}")


def _distinct(field: str, items: Sequence[object]) -> None:
    if len(set(items)) != len(items):
        _refuse(Reason.INVALID, f"{field} holds one value twice")


def _text(field: str, value: str | None, limit: int) -> None:
    if value is not None and not (0 < len(value) <= limit and value.isprintable()):
        _refuse(Reason.INVALID, f"{field} is not 1 to {limit} printable characters")


def _label_value(field: str, value: str) -> None:
    if _LABEL_VALUE.fullmatch(value) is None:
        _refuse(Reason.INVALID, f"{field} {value[:80]!r} is not a label value")


def _ip(field: str, value: str) -> None:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        _refuse(Reason.INVALID, f"{field} {value[:80]!r} is not an IP address")
    if address.is_unspecified or address.is_multicast or "%" in value:
        _refuse(Reason.INVALID, f"{field} {value!r} is no address of one host")


def _refuse(reason: Reason, message: str) -> NoReturn:
    raise WireError(reason, message)
