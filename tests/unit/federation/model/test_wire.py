"""The wire form of records: what is read, what is refused, and what older and newer members may send."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from federation.model.errors import WireError
from federation.model.names import RecordKey, ServiceKey
from federation.model.records import (
    DirectEndpoint,
    EndpointAddress,
    EndpointsRecord,
    ExportRecord,
    GatewayAddress,
    ImportType,
    Record,
    TrustRecord,
    ZoneCount,
)
from federation.model.state import EndpointPort, Protocol, ServicePort
from federation.model.wire import MAX_RECORD_BYTES, Reason, decode_record, encode_record
from support.exchange import CREATED, bundle, endpoints, export, gateway, member_of

EAST = member_of("east")
GOLDEN = Path(__file__).parent / "wire_schemas"

FULL_EXPORT = ExportRecord(
    key=ServiceKey("demo", "echo"),
    created=CREATED,
    type=ImportType.HEADLESS,
    ports=(ServicePort("http", Protocol.TCP, 80, "kubernetes.io/h2c"), ServicePort("dns", Protocol.UDP, 53)),
    session_affinity="ClientIP",
    session_affinity_timeout_seconds=10800,
    internal_traffic_policy="Local",
    traffic_distribution="PreferClose",
    ip_families=("IPv4", "IPv6"),
    labels=(("team", "payments"),),
    annotations=(("example.com/note", "free text,\nalso über lines"),),
    identities=("spiffe://east.example/ns/demo/sa/echo",),
)
FULL_ENDPOINTS = EndpointsRecord(
    key=ServiceKey("demo", "echo"),
    zones=(ZoneCount("", 1), ZoneCount("us-east-1a", 3)),
    addresses=(EndpointAddress(("127.0.0.1", "::1"), "echo-0"), EndpointAddress(("127.0.0.2",))),
)
ENDPOINT_PORTS = (EndpointPort("dns", Protocol.UDP, 5353), EndpointPort("http", Protocol.TCP, 8080))
WITH_PORTS = replace(
    FULL_ENDPOINTS,
    addresses=(
        EndpointAddress(("127.0.0.1", "::1"), "echo-0", ENDPOINT_PORTS),
        EndpointAddress(("127.0.0.2",)),
        EndpointAddress(("127.0.0.3",), "", ENDPOINT_PORTS[:1]),
        EndpointAddress(("127.0.0.4",), "", ENDPOINT_PORTS),
    ),
)
HALF_DRAINED = replace(
    gateway(),
    addresses=(GatewayAddress("127.0.0.1", 15443), GatewayAddress("127.0.0.2", 15443)),
    share=60,
    shares=(100, 40),
    drained=(GatewayAddress("127.0.0.3", 15443),),
    revision=1_767_225_600_000,
)
RECORDS: dict[str, Record] = {
    "export": FULL_EXPORT,
    "endpoints": FULL_ENDPOINTS,
    "endpoints-with-ports": WITH_PORTS,
    "endpoints-with-capacity": replace(FULL_ENDPOINTS, capacity=40),
    "endpoints-direct": replace(
        FULL_ENDPOINTS, direct=(DirectEndpoint("10.0.0.1", 15006, "us-east-1a", ("dns", "http")),)
    ),
    "gateway": gateway(),
    "bundle": bundle(7),
    "bundle-with-ends": replace(bundle(7), leaves_until=(1_767_229_200,)),
    "trust": TrustRecord((("north.example", 3), ("west.example", 1_767_225_600))),
    "gateway-half-drained": HALF_DRAINED,
    "trust-with-routed": TrustRecord((("north.example", 3),), (("west", 1_767_225_600_000),)),
}
NEW_IN = {
    "trust": "schema-1.1",
    "bundle-with-ends": "schema-1.2",
    "endpoints-with-ports": "schema-1.3",
    "endpoints-with-capacity": "schema-1.3",
    "endpoints-direct": "schema-1.3",
    "gateway-half-drained": "schema-1.4",
    "trust-with-routed": "schema-1.4",
}


def with_ports(*ports: EndpointPort) -> EndpointsRecord:
    return replace(FULL_ENDPOINTS, addresses=(EndpointAddress(("127.0.0.1",), "", ports),))


def refusal(record: Record, key: str | None = None) -> str:
    """Why ``record`` of the member east is refused."""
    with pytest.raises(WireError) as caught:
        encode_record(record, EAST)
    return caught.value.reason


@pytest.mark.parametrize("name", RECORDS)
def test_records_survive_the_wire(name: str) -> None:
    """What one member encodes, another decodes to the same record."""
    record = RECORDS[name]
    assert record == decode_record(record.record_key, encode_record(record, EAST), EAST)


@pytest.mark.parametrize("name", RECORDS)
def test_records_of_every_schema_are_read_for_ever(name: str) -> None:
    """Bytes that a member of the schema wrote in which the kind or the field was new still mean what they meant."""
    data = bytes.fromhex((GOLDEN / NEW_IN.get(name, "schema-1.0") / f"{name}.hex").read_text())
    record = RECORDS[name]
    assert record == decode_record(record.record_key, data, EAST)


@pytest.mark.parametrize("name", RECORDS)
def test_fields_of_a_newer_minor_schema_are_ignored(name: str) -> None:
    """A record with fields that this version does not know is read without them."""
    record = RECORDS[name]
    fields = msgspec.msgpack.decode(encode_record(record, EAST))
    newer = msgspec.msgpack.encode([*fields, "new", {"newer": 1}])
    assert record == decode_record(record.record_key, newer, EAST)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("export/demo/other", Reason.WRONG_KEY),
        ("export/demo", Reason.WRONG_KEY),
        ("export/demo/echo/more", Reason.WRONG_KEY),
        ("endpoints/demo/echo", Reason.MALFORMED),
        ("gateway", Reason.MALFORMED),
        ("policy/demo/echo", Reason.UNKNOWN_KIND),
        ("", Reason.UNKNOWN_KIND),
    ],
)
def test_a_record_is_read_only_under_its_own_key(key: str, reason: Reason) -> None:
    """An export stored under another record's key is refused."""
    with pytest.raises(WireError) as caught:
        decode_record(RecordKey(key), encode_record(FULL_EXPORT, EAST), EAST)
    assert reason == caught.value.reason


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"\x90", b"\x93\x03\x01\x02", msgspec.msgpack.encode([3, [["127.0.0.1", "x"]], "", ""])],
)
def test_broken_bytes_are_refused(data: bytes) -> None:
    """Bytes that are no record of the schema raise WireError and nothing else."""
    with pytest.raises(WireError) as caught:
        decode_record(RecordKey("gateway"), data, EAST)
    assert caught.value.reason == Reason.MALFORMED


def test_an_unknown_value_of_an_enumeration_is_refused() -> None:
    """A protocol that this version does not know harms that record only, as a value."""
    fields = msgspec.msgpack.decode(encode_record(FULL_EXPORT, EAST))
    fields[5][0][1] = "QUIC"
    with pytest.raises(WireError) as caught:
        decode_record(FULL_EXPORT.record_key, msgspec.msgpack.encode(fields), EAST)
    assert caught.value.reason == Reason.MALFORMED


def test_an_oversized_record_is_refused_on_both_sides() -> None:
    """A record beyond the limit is neither written nor parsed."""
    notes = tuple((f"example.com/{i}", "x" * 2000) for i in range(200))
    assert refusal(replace(FULL_EXPORT, annotations=notes)) == Reason.OVERSIZED
    with pytest.raises(WireError) as caught:
        decode_record(RecordKey("gateway"), b"\x90" * (MAX_RECORD_BYTES + 1), EAST)
    assert caught.value.reason == Reason.OVERSIZED


PORT = ServicePort("http", Protocol.TCP, 80)


@pytest.mark.parametrize(
    "record",
    [
        TrustRecord((("west.example", 1), ("north.example", 1))),
        TrustRecord((("west.example", 1), ("west.example", 2))),
        TrustRecord((("west.example", -1),)),
        TrustRecord((("", 1),)),
        TrustRecord((), (("west", 1), ("north", 1))),
        TrustRecord((), (("west", -1),)),
        replace(HALF_DRAINED, share=0),
        replace(HALF_DRAINED, share=101),
        replace(HALF_DRAINED, shares=(100,)),
        replace(HALF_DRAINED, shares=(100, 0)),
        replace(HALF_DRAINED, revision=-1),
        replace(HALF_DRAINED, drained=(GatewayAddress("gate_way.example", 15443),)),
        replace(FULL_EXPORT, key=ServiceKey("demo", "Echo")),
        replace(FULL_EXPORT, key=ServiceKey("", "echo")),
        replace(FULL_EXPORT, created=datetime(2026, 1, 1, microsecond=5, tzinfo=UTC)),
        replace(FULL_EXPORT, created=datetime(2026, 1, 1)),
        replace(FULL_EXPORT, created=datetime(1960, 1, 1, tzinfo=UTC)),
        replace(FULL_EXPORT, ports=(replace(PORT, port=0),)),
        replace(FULL_EXPORT, ports=(replace(PORT, port=65536),)),
        replace(FULL_EXPORT, ports=(replace(PORT, name="a b"),)),
        replace(FULL_EXPORT, ports=(replace(PORT, app_protocol="a\x1b[31m"),)),
        replace(FULL_EXPORT, ports=(PORT, replace(PORT, name="other"))),
        replace(FULL_EXPORT, ports=(PORT, replace(PORT, port=81))),
        replace(FULL_EXPORT, session_affinity="Cookie"),
        replace(FULL_EXPORT, session_affinity_timeout_seconds=0),
        replace(FULL_EXPORT, traffic_distribution=""),
        replace(FULL_EXPORT, internal_traffic_policy="\n"),
        replace(FULL_EXPORT, ip_families=("IPv5",)),
        replace(FULL_EXPORT, ip_families=("IPv4", "IPv4")),
        replace(FULL_EXPORT, labels=(("team", "not a label value"),)),
        replace(FULL_EXPORT, labels=(("team", "a"), ("team", "b"))),
        replace(FULL_EXPORT, annotations=(("\x00", ""),)),
        replace(FULL_EXPORT, annotations=(("note", "\ud800"),)),
        replace(FULL_EXPORT, identities=("spiffe://east.example/",)),
        replace(FULL_EXPORT, identities=("spiffe://east.example/ns/../sa",)),
        replace(FULL_EXPORT, identities=("spiffe://east.example/ns/a b",)),
        replace(FULL_ENDPOINTS, zones=(ZoneCount("a", -1),)),
        replace(FULL_ENDPOINTS, zones=(ZoneCount("a", 1), ZoneCount("a", 2))),
        replace(FULL_ENDPOINTS, zones=(ZoneCount("a zone", 1),)),
        replace(FULL_ENDPOINTS, capacity=-1),
        replace(FULL_ENDPOINTS, capacity=10**7),
        replace(FULL_ENDPOINTS, addresses=(EndpointAddress(()),)),
        replace(FULL_ENDPOINTS, addresses=(EndpointAddress(("127.0.0.1",) * 3),)),
        replace(FULL_ENDPOINTS, addresses=(EndpointAddress(("localhost",)),)),
        replace(FULL_ENDPOINTS, addresses=(EndpointAddress(("0.0.0.0",)),)),
        replace(FULL_ENDPOINTS, addresses=(EndpointAddress(("fe80::1%eth0",)),)),
        replace(FULL_ENDPOINTS, addresses=(EndpointAddress(("127.0.0.1",), "Echo"),)),
        with_ports(EndpointPort("http", Protocol.TCP, 0)),
        with_ports(EndpointPort("a b", Protocol.TCP, 80)),
        with_ports(EndpointPort("http", Protocol.TCP, 80), EndpointPort("http", Protocol.TCP, 81)),
        *(
            replace(gateway(), addresses=(GatewayAddress(host, 15443),))
            for host in ("Gateway.example", "gateway.example.", "gate_way.example", "127.1", "0x7f000001", "a..b", "")
        ),
        replace(gateway(), addresses=(GatewayAddress(f"{'a.' * 127}a", 15443),)),
        replace(gateway(), addresses=(GatewayAddress("127.0.0.1", 0),)),
        replace(gateway(), addresses=(GatewayAddress("224.0.0.1", 15443),)),
        replace(gateway(), region="us east"),
        replace(gateway(), network="\x1b"),
        replace(bundle(1), sequence=-1),
        replace(bundle(1), authorities=(b"",)),
        replace(bundle(1), leaves_until=(1, 2)),
        replace(bundle(1), leaves_until=(-1,)),
        replace(bundle(1), leaves_until=(2**60,)),
        replace(bundle(1), authorities=(b"x" * 20_000,)),
    ],
    ids=lambda record: str(record)[-60:],
)
def test_unsound_fields_are_refused(record: Record) -> None:
    """Every field is checked, on the way out as on the way in."""
    assert refusal(record) == Reason.INVALID


@pytest.mark.parametrize(
    "record",
    [
        bundle(1, "west"),
        replace(FULL_EXPORT, identities=("spiffe://west.example/ns/demo/sa/echo",)),
        replace(FULL_EXPORT, identities=("spiffe://east.example.evil/ns/demo/sa/echo",)),
        replace(FULL_EXPORT, identities=("https://east.example/ns/demo",)),
    ],
)
def test_a_member_speaks_for_its_own_trust_domain_only(record: Record) -> None:
    """Bundles and identities of another trust domain are refused."""
    assert refusal(record) == Reason.WRONG_TRUST_DOMAIN


def test_another_members_record_is_refused_when_read() -> None:
    """What one member may say of its trust domain, another may not repeat."""
    data = encode_record(bundle(1, "east"), EAST)
    with pytest.raises(WireError) as caught:
        decode_record(RecordKey("bundle"), data, member_of("west"))
    assert caught.value.reason == Reason.WRONG_TRUST_DOMAIN


@pytest.mark.parametrize(
    "record",
    [
        replace(FULL_EXPORT, ports=tuple(ServicePort(f"p{i}", Protocol.TCP, i + 1) for i in range(257))),
        replace(bundle(1), authorities=tuple(b"%d" % i for i in range(40))),
        with_ports(*(EndpointPort(f"p{i}", Protocol.TCP, i + 1) for i in range(257))),
    ],
)
def test_lists_have_limits(record: Record) -> None:
    """No list of a record grows without limit."""
    assert refusal(record) == Reason.OVERSIZED


@pytest.mark.parametrize("ports_of", [[1], [1, 0, 2, 3], [1, 0, 2, -1], [1, 0, 2, 1, 0]])
def test_ports_of_no_address_are_refused(ports_of: list[int]) -> None:
    """Whoever says for some addresses which ports they have says it for all, by numbers that exist."""
    fields = msgspec.msgpack.decode(encode_record(WITH_PORTS, EAST))
    fields[6] = ports_of
    with pytest.raises(WireError) as caught:
        decode_record(WITH_PORTS.record_key, msgspec.msgpack.encode(fields), EAST)
    assert caught.value.reason == Reason.INVALID


def test_members_that_know_no_ports_of_endpoints_read_the_addresses() -> None:
    """A reader of schema 1.2 takes the fields that it knows, which stand where they always stood."""
    fields = msgspec.msgpack.decode(encode_record(WITH_PORTS, EAST))
    older = msgspec.msgpack.decode(encode_record(replace(WITH_PORTS, addresses=()), EAST))
    assert [fields[0], *fields[1:4]] == [2, *older[1:4]]
    assert fields[4] == [[list(one.addresses), one.hostname] for one in WITH_PORTS.addresses]


def test_thousands_of_endpoints_with_ports_fit_into_a_record() -> None:
    """As many addresses as without: a combination of ports is written once."""
    addresses = tuple(EndpointAddress((f"10.1.{n // 256}.{n % 256}",), "", ENDPOINT_PORTS) for n in range(8192))
    assert len(encode_record(replace(FULL_ENDPOINTS, addresses=addresses), EAST)) < MAX_RECORD_BYTES * 3 // 4


def test_an_older_reader_takes_a_drained_gateway_off() -> None:
    """It knows the first three fields, and finds there what is to be called, and nothing else."""
    fields = msgspec.msgpack.decode(encode_record(HALF_DRAINED, EAST))
    older = decode_record(HALF_DRAINED.record_key, msgspec.msgpack.encode(fields[:4]), EAST)
    assert older == replace(gateway(), addresses=HALF_DRAINED.addresses)


def test_an_endpoints_record_is_compact() -> None:
    """A record of counts takes tens of bytes, not hundreds."""
    assert len(encode_record(endpoints("echo", 5), EAST)) < 24
    assert len(encode_record(export("echo"), EAST)) < 120
