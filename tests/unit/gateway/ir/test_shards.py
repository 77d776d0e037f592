"""Shards: how many endpoints each has, which endpoint has which slot, and which gateway each is tried at first."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ir.model import Upstream, Way
from gateway.ir.shards import keep_slots, shard_sizes, ways

A, B, C, D, E = (Upstream(f"10.0.0.{number}", 15006) for number in range(1, 6))
ONE, TWO, THREE = (Way(f"192.0.2.{number}", 15443) for number in (1, 2, 3))

upstreams = st.lists(st.integers(1, 40).map(lambda number: Upstream(f"10.0.0.{number}", 15006)), unique=True)


@pytest.mark.parametrize(
    ("ready", "shards", "sizes"),
    [(0, 16, ()), (1, 16, (1,)), (5, 16, (1,) * 5), (16, 16, (1,) * 16), (18, 16, (2, 2, *(1,) * 14)), (5, 0, ())],
)
def test_shards_have_as_many_endpoints_as_slots_fall_to_them(ready: int, shards: int, sizes: tuple[int, ...]) -> None:
    """Slot s is in shard s modulo the number of shards; empty shards are not called."""
    assert shard_sizes(ready, shards) == sizes


@given(st.integers(0, 500), st.integers(1, 64))
def test_no_endpoint_is_left_out(ready: int, shards: int) -> None:
    """The shards together are all endpoints, and differ by one at most."""
    sizes = shard_sizes(ready, shards)
    assert sum(sizes) == ready
    assert not sizes or max(sizes) - min(sizes) <= 1


def test_endpoints_without_a_past_have_slots_in_their_order() -> None:
    """So that controllers that start give the same slots."""
    assert keep_slots((), (A, B, C)) == (A, B, C)


def test_a_new_endpoint_takes_the_slot_of_the_one_that_went() -> None:
    """A rollout moves nobody who stays."""
    assert keep_slots((C, A, B), (B, C, D)) == (C, D, B)


def test_a_new_endpoint_has_the_next_slot() -> None:
    """Whatever its address."""
    assert keep_slots((C, B), (A, B, C)) == (C, B, A)


def test_the_last_endpoint_fills_the_slot_of_one_that_went() -> None:
    """No slot stays free; who is in front of the last stays where it is."""
    assert keep_slots((A, B, C, D, E), (A, C, D, E)) == (A, E, C, D)


@given(upstreams, upstreams)
def test_every_endpoint_has_one_slot_and_moves_only_to_fill_a_gap(before: list[Upstream], now: list[Upstream]) -> None:
    """Who was in one of the slots that there are now is there still."""
    slots = keep_slots(tuple(before), tuple(sorted(now)))
    assert sorted(slots) == sorted(now)
    for slot, upstream in enumerate(before[: len(now)]):
        assert upstream not in now or slots[slot] == upstream


def test_shards_take_turns_at_the_gateways() -> None:
    """Each is tried at another one first, and at all in the end."""
    assert ways([ONE, TWO], [1, 1], 0, 3) == ((ONE, TWO), (TWO, ONE), (ONE, TWO))


def test_services_of_one_shard_are_spread_too() -> None:
    """By the turn that they begin at."""
    first = Counter(ways([ONE, TWO, THREE], [1, 1, 1], start, 1)[0][0] for start in range(300))
    assert first == {ONE: 100, TWO: 100, THREE: 100}


def test_gateways_come_first_in_proportion_to_their_weights() -> None:
    """Exactly so, over one round of turns."""
    first = Counter(order[0] for order in ways([ONE, TWO], [300, 100], 0, 16))
    assert first == {ONE: 12, TWO: 4}


def test_a_gateway_of_no_weight_is_tried_last() -> None:
    """It may still be all that is left."""
    assert ways([ONE, TWO, THREE], [0, 1, 1], 0, 2) == ((TWO, THREE, ONE), (THREE, TWO, ONE))
    assert ways([ONE], [0], 0, 1) == ((ONE,),)


def test_four_gateways_are_tried_at_most() -> None:
    """What callers are sent stays small, however many gateways a peer has."""
    many = [Way(f"192.0.2.{number}", 15443) for number in range(20)]
    assert {len(order) for order in ways(many, [1] * 20, 7, 16)} == {4}
    assert len({order[0] for order in ways(many, [1] * 20, 7, 16)}) == 16


def test_without_an_address_there_is_no_way() -> None:
    """A peer whose gateways are unknown is not called."""
    assert ways([], [], 3, 5) == ()
