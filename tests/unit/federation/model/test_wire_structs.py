"""The shapes of records on the wire."""

from __future__ import annotations

import msgspec

from federation.model.records import EndpointAddress, TrustRecord
from federation.model.state import EndpointPort, Protocol
from federation.model.wire_structs import WireEndpoints, WireGateway, WireTrust, to_wire
from support.builders import ECHO, endpoints_record

HTTP, ADMIN = EndpointPort("http", Protocol.TCP, 8080), EndpointPort("admin", Protocol.TCP, 9090)


def test_a_combination_of_ports_is_written_once() -> None:
    """Addresses name theirs by number; 0 is that of one whose ports are the Service's."""
    addresses = (
        EndpointAddress(("10.0.0.1",), "", (ADMIN, HTTP)),
        EndpointAddress(("10.0.0.2",)),
        EndpointAddress(("10.0.0.3",), "", (ADMIN, HTTP)),
    )
    written = to_wire(endpoints_record(ECHO, addresses=addresses))
    assert isinstance(written, WireEndpoints)
    assert written.ports == [[("admin", "TCP", 9090), ("http", "TCP", 8080)]]
    assert written.ports_of == [1, 0, 1]


def test_what_an_older_member_wrote_is_read_with_defaults() -> None:
    """A field that was added later is empty."""
    data = msgspec.msgpack.encode([2, "demo", "echo", [["", 1]], [[["10.0.0.1"], ""]]])
    read = msgspec.msgpack.decode(data, type=WireEndpoints)
    assert (read.ports, read.ports_of) == ([], [])


def test_nothing_is_drained_of_an_older_member() -> None:
    """It calls and is called as ever."""
    data = msgspec.msgpack.encode([3, [["10.0.0.1", 15443]], "us", "lan"])
    read = msgspec.msgpack.decode(data, type=WireGateway)
    assert (read.share, read.shares, read.drained, read.revision) == (100, [], [], 0)


def test_what_was_taken_over_is_written_with_the_bundles() -> None:
    """Both are one member's word on the others."""
    written = to_wire(TrustRecord((("west.example", 1),), (("west", 2),)))
    assert written == WireTrust([("west.example", 1)], [("west", 2)])
