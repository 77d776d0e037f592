"""What the controller asks of what is known of its peers."""

from __future__ import annotations

from controllers.peers import exported_by, unread
from federation.exchange.base import ExchangeSnapshot, MemberSnapshot
from federation.model.records import Version
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
