"""How much is taken at a moment, and what the others are told of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from controllers.drains import NOTHING_DRAINED, Drains, Slope, gateway_record
from federation.model.addresses import HostPort
from federation.model.records import GatewayAddress, GatewayRecord
from gateway.ir.shards import SHARDS
from support.clock import START

ONE, TWO = HostPort("192.0.2.1", 15443), HostPort("192.0.2.2", 15443)
MINUTE = timedelta(minutes=1)


def told(drains: Drains, after: timedelta = timedelta(0)) -> GatewayRecord:
    return gateway_record((ONE, TWO), "us", "lan", drains, START + after)


def address(gateway: HostPort) -> GatewayAddress:
    return GatewayAddress(gateway.host, gateway.port)


def test_a_slope_goes_down_in_steps_of_ten_percent() -> None:
    """The first is taken at once, the last at the end."""
    slope = Slope(100, 0, START, 9 * MINUTE)
    assert [slope.share(START + minute * MINUTE) for minute in range(11)] == [90, 80, 70, 60, 50, 40, 30, 20, 10, 0, 0]


def test_without_a_time_the_goal_is_there_at_once() -> None:
    assert Slope(100, 0, START).share(START) == 0


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 700), st.integers(-100, 800))
def test_a_share_lies_between_start_and_goal(start: int, goal: int, over: int, after: int) -> None:
    """Also by a clock that was set back."""
    share = Slope(start, goal, START, timedelta(seconds=over)).share(START + timedelta(seconds=after))
    assert min(start, goal) <= share <= max(start, goal)


def test_an_order_starts_from_where_the_one_before_had_got() -> None:
    """A drain is undone half way, and goes up again from there."""
    half = NOTHING_DRAINED.order(None, 0, START, 9 * MINUTE)
    back = half.order(None, 100, START + 4 * MINUTE, timedelta(0))
    assert back.cluster == Slope(50, 100, START + 4 * MINUTE)
    assert back.without_done(START + 4 * MINUTE) == NOTHING_DRAINED
    assert half.without_done(START + 20 * MINUTE) == half


def test_nothing_drained_is_told_as_ever() -> None:
    expected = GatewayRecord((address(ONE), address(TWO)), "us", "lan", SHARDS)
    assert told(NOTHING_DRAINED) == expected


def test_a_cluster_on_its_way_keeps_its_gateways() -> None:
    """They are called alike, for less; in the end none of them is called."""
    drains = NOTHING_DRAINED.order(None, 0, START, 9 * MINUTE)
    assert told(drains, 4 * MINUTE) == replace(told(NOTHING_DRAINED), share=50)
    end = told(drains, 9 * MINUTE)
    assert (end.addresses, end.drained, end.is_drained) == ((), (address(ONE), address(TWO)), True)


def test_a_gateway_is_drained_beside_the_others() -> None:
    drains = NOTHING_DRAINED.order(TWO, 0, START, 9 * MINUTE)
    assert told(drains, 4 * MINUTE).shares == (100, 50)
    end = told(drains, 9 * MINUTE)
    assert (end.addresses, end.shares, end.drained) == ((address(ONE),), (), (address(TWO),))


def test_a_gateway_that_leaves_is_not_called() -> None:
    """Whatever was ordered of it, and only as long as it is away."""
    drains = Drains(leaving=frozenset({ONE}))
    assert told(drains).drained == (address(ONE),)
