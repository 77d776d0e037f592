"""Answers: what is refused before it is read, EDNS, and that no packet whatever gets more than one bounded answer."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.dns.answers import AMPLIFICATION, MAX_QUERY, MAX_UDP, Reply, answer
from controllers.dns.zone import ZoneView, service_names
from federation.model.merge import merge_service
from federation.model.records import EndpointAddress, ImportType
from support.builders import EAST, ECHO, endpoints_record, export_record, key

DB = key("demo/db")
HEADER = struct.Struct("!HHHHHH")


# A record of a private type without data, of the root.
RECORD = b"\0" + struct.pack("!HHIH", 65_280, 1, 0, 0)


def zone_view() -> ZoneView:
    """One service of each kind; the headless one has more endpoints than any packet of UDP can hold."""
    echo = merge_service(ECHO, {EAST: (export_record(), endpoints_record())})
    endpoints = [EndpointAddress((f"10.0.{number // 250}.{number % 250 + 1}",)) for number in range(300)]
    export = export_record(DB, type=ImportType.HEADLESS)
    database = merge_service(DB, {EAST: (export, endpoints_record(DB, addresses=endpoints))})
    assert echo is not None
    assert database is not None
    services = {
        ECHO: service_names(echo, [], IPv4Address("240.96.0.1")),
        DB: service_names(database, [[EAST]], None),
    }
    return ZoneView(services, {"demo": 2}, 7)


VIEW = zone_view()


def query(name: str = ECHO.host, kind: str = "A", **options: int) -> dns.message.QueryMessage:
    return dns.message.make_query(name, kind, **options)  # type: ignore[arg-type]


def ask(wire: bytes, *, udp: bool = True) -> Reply | None:
    return answer(wire, VIEW, 5, turn=0, udp=udp)


def answered(wire: bytes, *, udp: bool = True) -> dns.message.Message:
    reply = ask(wire, udp=udp)
    assert reply is not None
    return dns.message.from_wire(reply.wire)


def header(wire: bytes) -> tuple[int, ...]:
    reply = ask(wire)
    assert reply is not None
    assert len(reply.wire) == HEADER.size
    return HEADER.unpack(reply.wire)


@pytest.mark.parametrize("wire", [b"", b"\0" * 11, query().to_wire() + b"\0" * MAX_QUERY])
def test_what_cannot_be_a_query_gets_no_answer(wire: bytes) -> None:
    """Too short for a header, or longer than any query."""
    assert ask(wire) is None


def test_an_answer_gets_no_answer() -> None:
    """Two servers that answer each other would never stop."""
    response = query()
    response.flags |= dns.flags.QR
    assert ask(response.to_wire()) is None


@pytest.mark.parametrize("opcode", [1, 2, 4, 5, 6, 15])
def test_other_operations_are_not_implemented(opcode: int) -> None:
    """NOTIMP with the id, the operation and RD of the query, without reading any further."""
    wire = HEADER.pack(77, opcode << 11 | dns.flags.RD, 9, 9, 9, 9) + b"\xff" * 9
    expected = (77, dns.flags.QR | opcode << 11 | dns.flags.RD | dns.rcode.NOTIMP, 0, 0, 0, 0)
    assert header(wire) == expected


@pytest.mark.parametrize(
    "wire",
    [
        HEADER.pack(77, 0, 0, 0, 0, 0),
        HEADER.pack(77, 0, 2, 0, 0, 0) + query().to_wire()[12:] * 2,
        HEADER.pack(77, 0, 1, 1, 0, 0) + query().to_wire()[12:],
        HEADER.pack(77, 0, 1, 0, 2, 0) + query().to_wire()[12:] + RECORD * 2,
        HEADER.pack(77, 0, 1, 0, 0, 3) + query().to_wire()[12:] + RECORD * 3,
        HEADER.pack(77, 0, 1, 0, 0, 0) + query().to_wire()[12:-1],
        HEADER.pack(77, 0, 1, 0, 0, 0) + query().to_wire()[12:] + b"junk",
        HEADER.pack(77, 0, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1",
        HEADER.pack(77, 0, 1, 0, 0, 2) + query(use_edns=0).to_wire()[12:] + query(use_edns=0).to_wire()[-11:],
    ],
    ids=["no question", "two questions", "answers", "authorities", "more", "cut", "junk", "a loop", "EDNS twice"],
)
def test_a_query_that_cannot_be_read_is_a_format_error(wire: bytes) -> None:
    """FORMERR with the id alone: what could not be read is not repeated."""
    assert header(wire) == (77, dns.flags.QR | dns.rcode.FORMERR, 0, 0, 0, 0)


def test_a_question_for_the_type_of_edns_is_a_format_error() -> None:
    """OPT is no data (RFC 6891)."""
    assert answered(query(kind="TYPE41").to_wire()).rcode() == dns.rcode.FORMERR


def test_an_unknown_version_of_edns_is_told_ours() -> None:
    """BADVERS with version 0, and nothing of the zone."""
    response = answered(query(use_edns=1).to_wire())

    assert (response.rcode(), response.edns, response.answer) == (dns.rcode.BADVERS, 0, [])


def test_edns_is_answered_where_it_was_asked_with() -> None:
    """Our size and the DO bit as it came; without EDNS there is none in the answer."""
    plain, edns = answered(query().to_wire()), answered(query(use_edns=0, ednsflags=dns.flags.DO).to_wire())

    assert plain.edns == -1
    assert (edns.edns, edns.payload, edns.ednsflags) == (0, MAX_UDP, dns.flags.DO)


@pytest.mark.parametrize("options", [{}, {"use_edns": 0, "payload": 100}, {"use_edns": 0, "payload": 512}])
def test_a_size_below_512_counts_as_512(options: dict[str, int]) -> None:
    """As RFC 6891 says: a client that takes less than plain DNS allows is mistaken."""
    reply = ask(query(DB.host, **options).to_wire())
    assert reply is not None
    assert reply.truncated
    assert 512 - 16 < len(reply.wire) <= 512


def test_authenticated_and_padded_queries_are_read() -> None:
    """A second record beside EDNS, such as a signature that we can't judge, does not make a query unreadable."""
    wire = query(use_edns=0).to_wire()
    number, flags, *_ = HEADER.unpack_from(wire)
    extra = b"\0" + struct.pack("!HHIH", 24, 255, 0, 0)
    assert ask(HEADER.pack(number, flags, 1, 0, 0, 2) + wire[12:] + extra) is not None


def test_an_answer_over_tcp_ends_where_the_message_must() -> None:
    """More records than 65,535 octets hold are left out without a word: over TCP there is nothing to retry by."""
    endpoints = [EndpointAddress((f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}",)) for n in range(5000)]
    export = export_record(DB, type=ImportType.HEADLESS)
    merged = merge_service(DB, {EAST: (export, endpoints_record(DB, addresses=endpoints))})
    assert merged is not None
    view = ZoneView({DB: service_names(merged, [[EAST]], None)}, {"demo": 1})
    reply = answer(query(DB.host).to_wire(), view, 5, turn=0, udp=False)

    assert reply is not None
    response = dns.message.from_wire(reply.wire)
    assert (len(response.answer[0]) > 4000, len(reply.wire) <= 65_535) == (True, True)
    assert not response.flags & dns.flags.TC


@pytest.mark.parametrize("endpoints", range(1, 13))
def test_what_is_added_never_makes_an_answer_too_long(endpoints: int) -> None:
    """The addresses of targets take the room that is left, and are missing without a word where there is none."""
    hosts = [EndpointAddress((f"10.0.0.{number}",), f"db-{number}") for number in range(endpoints)]
    export = export_record(DB, type=ImportType.HEADLESS)
    merged = merge_service(DB, {EAST: (export, endpoints_record(DB, addresses=hosts))})
    assert merged is not None
    view = ZoneView({DB: service_names(merged, [[EAST]], None)}, {"demo": 1})
    reply = answer(query(DB.host, "SRV").to_wire(), view, 5, turn=0, udp=True)

    assert reply is not None
    assert len(reply.wire) <= 512
    found = dns.message.from_wire(reply.wire)
    assert reply.truncated == (len(found.answer[0]) < endpoints)
    assert not (reply.truncated and found.additional)


def test_what_is_counted_of_an_answer() -> None:
    """The type, rare ones together, and the response code by name."""
    replies = [
        ask(query().to_wire()),
        ask(query(kind="TYPE4711").to_wire()),
        ask(query("example.com", "MX").to_wire()),
        ask(HEADER.pack(1, 0, 0, 0, 0, 0)),
    ]
    counted = [(reply.kind, reply.rcode) for reply in replies if reply]
    assert counted == [("A", "NOERROR"), ("other", "NOERROR"), ("MX", "REFUSED"), ("none", "FORMERR")]


# Whatever arrives

labels = st.text("abc-_.*EeOo0", max_size=63) | st.sampled_from(["echo", "db", "demo", "svc", "east", "_tcp", "_http"])
packets = st.builds(
    query,
    st.lists(labels, max_size=5).map(
        lambda parts: ".".join([*(part for each in parts for part in each.split(".") if part), "clusterset.local."])
    ),
    st.sampled_from(["A", "AAAA", "SRV", "ANY", "TXT", "SOA", "TYPE0", "TYPE41", "TYPE250", "TYPE65535"]),
    use_edns=st.sampled_from([-1, 0, 0, 1, 255]),
    payload=st.integers(0, 65_535),
)


def bounded(wire: bytes) -> None:
    """At most one answer, readable, of the same id, and no longer than all three bounds of UDP."""
    reply = ask(wire)
    if reply is None:
        return
    assert len(reply.wire) <= min(MAX_UDP, AMPLIFICATION * len(wire))
    assert reply.wire[:2] == wire[:2]
    assert dns.message.from_wire(reply.wire).flags & dns.flags.QR
    over_tcp = ask(wire, udp=False)
    assert over_tcp is not None
    assert not dns.message.from_wire(over_tcp.wire).flags & dns.flags.TC


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=600))
def test_random_bytes_get_one_bounded_answer_at_most(wire: bytes) -> None:
    """Nothing that a stranger sends raises."""
    bounded(wire)


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=1, max_size=60))
def test_random_bytes_behind_a_good_header_get_one_bounded_answer_at_most(rest: bytes) -> None:
    """Also where the header promises a question and EDNS."""
    bounded(HEADER.pack(7, 0, 1, 0, 0, 1) + rest)


@settings(max_examples=300, deadline=None)
@given(packets, st.data())
def test_mutated_queries_get_one_bounded_answer_at_most(packet: dns.message.Message, data: st.DataObject) -> None:
    """Octets of a valid query are replaced, cut off or put in."""
    wire = bytearray(packet.to_wire())
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(wire) - 1)) if wire else 0
        wire[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    bounded(bytes(wire))


@settings(max_examples=200, deadline=None)
@given(packets)
def test_every_valid_query_is_answered_to_itself(packet: dns.message.Message) -> None:
    """The answer is one to the question, in its own spelling."""
    reply = ask(packet.to_wire())
    assert reply is not None
    response = dns.message.from_wire(reply.wire)
    assert packet.is_response(response)
    assert response.question[0].name.labels == packet.question[0].name.labels
