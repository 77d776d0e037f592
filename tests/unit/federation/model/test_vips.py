"""Clusterset IPs: who gets which address."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from federation.model.vips import assign_vips
from support.builders import ECHO, key

RANGE = IPv4Network("240.96.0.0/12")
WEB = key("demo/web")
MANY = [key(f"demo/s{number}") for number in range(9)]


def test_the_address_of_a_name_is_the_same_in_every_version() -> None:
    """The hash is pinned: another one would move the addresses of clusters that lost their journal."""
    assert assign_vips({}, [ECHO], RANGE) == {ECHO: IPv4Address("240.111.115.96")}


def test_held_addresses_stay() -> None:
    """What a service has it keeps, whatever the hash of its name says now."""
    held = {ECHO: IPv4Address("240.96.0.7")}
    assert assign_vips(held, [ECHO, WEB], RANGE)[ECHO] == held[ECHO]


def test_the_address_of_a_service_that_went_is_free() -> None:
    """An address is held as long as the import lives, and no longer."""
    assert assign_vips({ECHO: IPv4Address("240.96.0.7")}, [], RANGE) == {}


def test_an_address_outside_of_the_range_is_not_held() -> None:
    """After a change of the range, every address is in the new one."""
    held = {ECHO: IPv4Address("10.0.0.1")}
    assert assign_vips(held, [ECHO], RANGE) == assign_vips({}, [ECHO], RANGE)


def test_a_held_address_is_given_to_nobody_else() -> None:
    """A newcomer whose hash is taken gets the next address."""
    wanted = assign_vips({}, [ECHO], RANGE)[ECHO]
    assert assign_vips({WEB: wanted}, [WEB, ECHO], RANGE)[ECHO] == wanted + 1


def test_probing_goes_round_at_the_end_of_the_range() -> None:
    """Six services fill a range of eight: first and last address are never given."""
    network = IPv4Network("240.96.0.0/29")
    table = assign_vips({}, MANY[:6], network)
    assert sorted(table.values()) == [network[number] for number in range(1, 7)]


def test_services_beyond_the_range_get_none() -> None:
    """The first by name have an address; for the others there is none, and nobody fails."""
    assert sorted(assign_vips({}, MANY, IPv4Network("240.96.0.0/29"))) == MANY[:6]


def test_a_service_without_address_gets_the_first_that_is_free() -> None:
    """When one goes from a full range, one that waited takes its place, and nobody else moves."""
    network = IPv4Network("240.96.0.0/29")
    before = assign_vips({}, MANY[:7], network)
    after = assign_vips(before, MANY[1:7], network)
    assert after == {**{of: before[of] for of in MANY[1:6]}, MANY[6]: before[MANY[0]]}
