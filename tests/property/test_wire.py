"""The wire form: every sound record survives it, and no bytes do anything but decode or be refused."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from federation.exchange.payloads import decode_batch, decode_beat, decode_manifest, decode_shard
from federation.exchange.signing import BlobKind, Envelope, open_envelope, sign
from federation.model.errors import WireError
from federation.model.names import RecordKey, ServiceKey
from federation.model.records import (
    BundleRecord,
    EndpointAddress,
    EndpointsRecord,
    ExportRecord,
    GatewayAddress,
    GatewayRecord,
    ImportType,
    Record,
    Version,
    ZoneCount,
)
from federation.model.state import Protocol, ServicePort
from federation.model.wire import decode_record, encode_record
from support.exchange import CLUSTERSET, key_of, member_of

EAST = member_of("east")
T = TypeVar("T")

labels = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,10}[a-z0-9])?", fullmatch=True)
services = st.builds(ServiceKey, labels, labels)
ips = st.ip_addresses().filter(lambda ip: not (ip.is_multicast or ip.is_unspecified)).map(str)
hosts = ips | st.just("lb-1.gateway.example")
numbers = st.integers(1, 65535)


def several(items: st.SearchStrategy[T]) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(items, max_size=3).map(tuple)


exports = st.builds(
    ExportRecord,
    key=services,
    created=st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(
        lambda at: at.replace(microsecond=0, tzinfo=UTC)
    ),
    type=st.sampled_from(ImportType),
    ports=st.lists(
        st.builds(ServicePort, labels, st.sampled_from(Protocol), numbers, st.none() | labels),
        max_size=3,
        unique_by=(lambda port: port.name, lambda port: (port.protocol, port.port)),
    ).map(tuple),
    session_affinity_timeout_seconds=st.none() | st.integers(1, 86400),
    traffic_distribution=st.none() | labels,
    labels=st.dictionaries(labels, labels, max_size=3).map(lambda pairs: tuple(pairs.items())),
    annotations=st.dictionaries(labels, st.text(max_size=20), max_size=3).map(lambda pairs: tuple(pairs.items())),
    identities=several(labels.map(lambda name: f"spiffe://east.example/sa/{name}")),
)
records: st.SearchStrategy[Record] = st.one_of(
    exports,
    st.builds(
        EndpointsRecord,
        key=services,
        zones=st.dictionaries(labels, st.integers(0, 1000), max_size=3).map(
            lambda zones: tuple(ZoneCount(zone, ready) for zone, ready in zones.items())
        ),
        addresses=several(st.builds(EndpointAddress, st.tuples(ips), st.just("") | labels)),
    ),
    st.builds(
        GatewayRecord,
        several(st.builds(GatewayAddress, hosts, numbers)),
        st.just("") | labels,
        labels,
        share=st.integers(1, 100),
        drained=several(st.builds(GatewayAddress, hosts, numbers)),
        revision=st.integers(0, 2**63 - 1),
    ),
    st.builds(
        lambda sequence, said: BundleRecord("east.example", sequence, tuple(said), tuple(said.values())),
        st.integers(0, 2**63 - 1),
        st.dictionaries(st.binary(min_size=1), st.integers(0, 2**32), max_size=3),
    ),
)


@settings(max_examples=200)
@given(record=records)
def test_every_sound_record_survives_the_wire(record: Record) -> None:
    """Decoding what was encoded gives the record, and encoding that again gives the bytes."""
    data = encode_record(record, EAST)
    decoded = decode_record(record.record_key, data, EAST)
    assert record == decoded
    assert data == encode_record(decoded, EAST)


@settings(max_examples=300)
@given(record=records, data=st.data())
def test_changed_bytes_decode_or_are_refused(record: Record, data: st.DataObject) -> None:
    """A record with a byte changed is a record still, or a WireError: nothing else is ever raised."""
    encoded = bytearray(encode_record(record, EAST))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_record(record.record_key, bytes(encoded), EAST)
    except WireError:
        return
    assert record.record_key == decoded.record_key


@settings(max_examples=300)
@given(junk=st.binary(max_size=200), key=st.sampled_from(["gateway", "bundle", "export/a/b", "endpoints/a/b"]))
def test_junk_is_refused(junk: bytes, key: str) -> None:
    """No parser of peer data raises anything but WireError."""
    readers = [
        lambda: decode_record(RecordKey(key), junk, EAST),
        lambda: decode_batch(junk),
        lambda: decode_shard(0, junk),
        lambda: decode_manifest(junk),
        lambda: decode_beat(junk),
        lambda: open_envelope(junk, BlobKind.BATCH, EAST, CLUSTERSET),
    ]
    for read in readers:
        with suppress(WireError):
            read()


@settings(max_examples=200)
@given(payload=st.binary(max_size=50), data=st.data())
def test_no_changed_blob_opens(payload: bytes, data: st.DataObject) -> None:
    """A blob with any bit flipped does not open, or opens as what was signed."""
    envelope = Envelope(BlobKind.BATCH, EAST.cluster, Version(5, 6), payload)
    blob = bytearray(sign(envelope, CLUSTERSET, key_of("east")))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        opened = open_envelope(bytes(blob), BlobKind.BATCH, EAST, CLUSTERSET)
    except WireError:
        return
    assert envelope == opened
