"""Small constructors of Envoy messages."""

from __future__ import annotations

import pytest

from gateway.xds.translate.messages import milliseconds, socket_address


@pytest.mark.parametrize(
    ("value", "seconds", "nanos"), [(0, 0, 0), (5, 0, 5_000_000), (1000, 1, 0), (2500, 2, 500_000_000)]
)
def test_milliseconds_are_whole_seconds_and_the_rest(value: int, seconds: int, nanos: int) -> None:
    """A Duration's nanoseconds stay below one second, or Envoy refuses it."""
    duration = milliseconds(value)
    assert (duration.seconds, duration.nanos) == (seconds, nanos)


def test_an_address_is_a_socket_address_by_number() -> None:
    """Nothing is resolved: the address is an IP and the port a number."""
    address = socket_address("fd00::1", 15006).socket_address
    assert (address.address, address.port_value) == ("fd00::1", 15006)
