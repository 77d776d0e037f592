"""What the controller asks of what is known of its peers."""

from __future__ import annotations

from dataclasses import replace

from controllers.peers import by_ip, exported_by, gateway_names, probed, unread
from federation.exchange.base import ExchangeSnapshot, MemberSnapshot
from federation.model.records import GatewayAddress, Version
from support.builders import ECHO, NORTH, WEST, export_record, gateway_record

SAID = [export_record(), gateway_record("192.0.2.1")]
PEERS = ExchangeSnapshot(
    {
        NORTH: MemberSnapshot(NORTH, synced=True),
        WEST: MemberSnapshot(WEST, version=Version(1, 0), records={one.record_key: one for one in SAID}),
    }
)


def test_services_are_told_from_the_rest_of_what_peers_say() -> None:
    """A gateway is no service."""
    assert exported_by(PEERS) == {ECHO}


def test_whoever_was_not_found_in_the_exchange_is_not_known() -> None:
    """Also where all there is was read: the exchange may have lost it."""
    assert unread(PEERS) == {NORTH}
    assert unread(ExchangeSnapshot({})) == frozenset()


def test_shares_and_drains_of_a_name_are_those_of_its_addresses() -> None:
    """An address of two names counts once; what is drained is probed, and a name that leads nowhere is not."""
    record = replace(
        gateway_record("a.example", "192.0.2.1", "b.example"),
        shares=(10, 20, 30),
        drained=(GatewayAddress("c.example", 15443), GatewayAddress("d.example", 15443)),
    )
    resolved = {
        "a.example": ("192.0.2.2", "192.0.2.3"),
        "b.example": ("192.0.2.3", "192.0.2.4"),
        "c.example": ("192.0.2.5",),
    }
    found = by_ip(record, resolved)

    assert gateway_names(record) == ("a.example", "b.example", "c.example", "d.example")
    assert [(one.host, share) for one, share in zip(found.addresses, found.shares, strict=True)] == [
        ("192.0.2.2", 10),
        ("192.0.2.3", 10),
        ("192.0.2.1", 20),
        ("192.0.2.4", 30),
    ]
    assert [one.host for one in found.drained] == ["192.0.2.5"]
    assert probed({WEST: record}, resolved) == {WEST: found.addresses + found.drained}
    assert by_ip(gateway_record("192.0.2.1"), {}) == gateway_record("192.0.2.1")
