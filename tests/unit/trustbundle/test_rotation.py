"""When a CA is prepared, takes over and is dropped, on a policy with round numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from support.clock import START as NOW
from trustbundle.rotation import (
    CLOCK_SKEW,
    CaSlot,
    CaState,
    RotationPlan,
    RotationPolicy,
    decide,
    initial_state,
    next_wakeup,
    request_rotation,
    with_activated,
    with_leaf_ttl,
    with_next,
    with_published,
    without,
)

HOUR = timedelta(hours=1)
INSTANT = timedelta.resolution
# A CA of 12 hours is followed by one that is prepared 6 hours and active 2 hours before its end.
POLICY = RotationPolicy(leaf_ttl=HOUR, ca_ttl=12 * HOUR, propagation=timedelta(minutes=10))
NOTHING = RotationPlan()


def _prepared(state: CaState, slot_id: str, now: datetime) -> CaState:
    return with_next(state, slot_id, slot_id.encode(), now, now + POLICY.ca_ttl)


def _running() -> CaState:
    """One CA, made, active and published at NOW."""
    state = with_activated(_prepared(initial_state(NOW), "one", NOW), NOW, POLICY)
    return with_published(state, state.sequence, NOW)


def _slot(state: CaState, slot_id: str) -> CaSlot:
    return next(slot for slot in state.slots if slot.id == slot_id)


def test_first_ca_signs_at_once() -> None:
    """With no CA at all one is prepared, and signs without waiting for anyone to know it."""
    empty = initial_state(NOW)
    assert decide(empty, NOW, POLICY) == RotationPlan(prepare=True)
    assert decide(_prepared(empty, "one", NOW), NOW, POLICY) == RotationPlan(activate=True)
    assert decide(_running(), NOW, POLICY) == NOTHING


def test_first_sequence_is_the_time() -> None:
    """A CA made anew after its files were lost has a larger sequence than the one that peers remember."""
    later = initial_state(NOW + HOUR)
    assert later.sequence > _running().sequence


def test_prepared_at_half_life() -> None:
    """The next CA is due at half of the current one's life, not an instant earlier."""
    due = NOW + 6 * HOUR
    assert next_wakeup(_running(), NOW, POLICY) == due
    assert decide(_running(), due - INSTANT, POLICY) == NOTHING
    assert decide(_running(), due, POLICY) == RotationPlan(prepare=True)


def test_prepared_at_most_30_days_ahead() -> None:
    """A CA of a year is followed by one prepared 30 days and active 7 days before its end."""
    slot = CaSlot("one", b"", NOW, NOW + timedelta(days=365), sequence=1)
    assert slot.prepare_next_at == NOW + timedelta(days=335)
    assert slot.activate_next_at == NOW + timedelta(days=358)


def test_activated_at_a_sixth() -> None:
    """A published next CA takes over with a sixth of the current one's life left."""
    made = NOW + 6 * HOUR
    state = _prepared(_running(), "two", made)
    state = with_published(state, state.sequence, made)
    due = NOW + 10 * HOUR
    assert next_wakeup(state, made, POLICY) == due
    assert decide(state, due - INSTANT, POLICY) == NOTHING
    assert decide(state, due, POLICY) == RotationPlan(activate=True)


def test_not_activated_before_it_is_known() -> None:
    """A next CA that was published late takes over only after the propagation time."""
    state = _prepared(_running(), "two", NOW + 6 * HOUR)
    published = NOW + 10 * HOUR
    assert decide(state, published, POLICY) == NOTHING
    state = with_published(state, state.sequence, published)
    assert decide(state, published + POLICY.propagation - INSTANT, POLICY) == NOTHING
    assert decide(state, published + POLICY.propagation, POLICY) == RotationPlan(activate=True)
    assert next_wakeup(state, published, POLICY) == published + POLICY.propagation


def test_publication_of_an_older_bundle() -> None:
    """To publish a bundle from before the next CA was prepared does not count for it."""
    state = _prepared(_running(), "two", NOW + 6 * HOUR)
    assert with_published(state, state.sequence - 1, NOW + 7 * HOUR) == state


def test_first_publication_counts() -> None:
    """A later publication does not move the time since which a CA is known."""
    assert with_published(_running(), 2**63, NOW + HOUR) == _running()


def test_unpublished_ca_takes_over_from_an_expired_one() -> None:
    """With the exchange away until the current CA is gone, the next one signs: there is no other."""
    state = _prepared(_running(), "two", NOW + 6 * HOUR)
    after = NOW + 12 * HOUR + INSTANT
    assert decide(state, NOW + 12 * HOUR, POLICY) == NOTHING
    assert next_wakeup(state, NOW + 11 * HOUR, POLICY) == after
    assert decide(state, after, POLICY) == RotationPlan(drop=("one",))
    state = without(state, ("one",))
    assert decide(state, after, POLICY) == RotationPlan(activate=True)


def test_old_ca_stays_for_its_last_leaf() -> None:
    """A retired CA stays in the bundle until its last leaf has expired, and the skew of a late clock after that."""
    now = NOW + 10 * HOUR
    state = with_activated(_prepared(_running(), "two", now), now, POLICY)
    last = now + POLICY.leaf_ttl + CLOCK_SKEW
    assert [slot.id for slot in state.slots] == ["two", "one"]
    assert next_wakeup(state, now, POLICY) == last + INSTANT
    assert decide(state, last, POLICY) == NOTHING
    assert decide(state, last + INSTANT, POLICY) == RotationPlan(drop=("one",))


def test_longer_leaves_of_an_earlier_policy() -> None:
    """A CA stays as long as the longest leaf it ever issued, also where the policy is shorter by now."""
    now = NOW + 10 * HOUR
    assert with_leaf_ttl(_running(), HOUR / 2) == _running()
    state = with_leaf_ttl(_running(), 2 * HOUR)
    state = with_activated(_prepared(state, "two", now), now, POLICY)
    # Capped: no leaf outlives the certificate of its CA.
    assert _slot(state, "one").needed_until == NOW + 12 * HOUR


def test_every_change_of_the_bundle_has_a_new_sequence() -> None:
    """To prepare and to drop a CA count up the sequence; to activate one does not change the bundle."""
    start = _running()
    prepared = _prepared(start, "two", NOW)
    activated = with_activated(prepared, NOW, POLICY)
    dropped = without(activated, ("one",))
    assert [state.sequence - start.sequence for state in (prepared, activated, dropped)] == [1, 1, 2]


def test_forced_rotation() -> None:
    """A forced rotation prepares at once, takes over after propagation and taints the CA that it replaces."""
    state = request_rotation(_running(), NOW + HOUR)
    assert decide(state, NOW + HOUR, POLICY) == RotationPlan(prepare=True)
    state = _prepared(state, "two", NOW + HOUR)
    assert decide(state, NOW + 2 * HOUR, POLICY) == NOTHING
    state = with_published(state, state.sequence, NOW + 2 * HOUR)
    due = NOW + 2 * HOUR + POLICY.propagation
    assert next_wakeup(state, NOW + 2 * HOUR, POLICY) == due
    assert decide(state, due - INSTANT, POLICY) == NOTHING
    assert decide(state, due, POLICY) == RotationPlan(activate=True)
    state = with_activated(state, due, POLICY)
    assert (_slot(state, "one").tainted, _slot(state, "two").tainted) == (True, False)
    assert decide(state, due, POLICY) == NOTHING


def test_forced_rotation_takes_the_prepared_ca() -> None:
    """A next CA that is prepared and known already takes over without another one being made."""
    state = _prepared(_running(), "two", NOW)
    state = with_published(state, state.sequence, NOW)
    state = request_rotation(state, NOW + HOUR)
    assert decide(state, NOW + HOUR, POLICY) == RotationPlan(activate=True)


def test_forced_rotation_asked_twice() -> None:
    """To ask again while a rotation is under way, or before there is a CA, changes nothing."""
    state = request_rotation(_running(), NOW)
    assert request_rotation(state, NOW + HOUR) == state
    assert request_rotation(initial_state(NOW), NOW) == initial_state(NOW)


def test_ordinary_rotation_taints_nothing() -> None:
    """Leaves of a CA that retires in its time are renewed at their half life."""
    state = with_activated(_prepared(_running(), "two", NOW), NOW, POLICY)
    assert [slot.tainted for slot in state.slots] == [False, False]


def test_next_ca_that_expired_unused() -> None:
    """After a very long absence all slots are dropped and a new CA is made."""
    state = _prepared(_running(), "two", NOW + 6 * HOUR)
    later = NOW + 1000 * HOUR
    assert decide(state, later, POLICY) == RotationPlan(drop=("one", "two"))
    assert decide(without(state, ("one", "two")), later, POLICY) == RotationPlan(prepare=True)


def test_wakeup_when_something_is_due() -> None:
    """Where something is due already, the wakeup is now."""
    late = NOW + 7 * HOUR
    assert next_wakeup(_running(), late, POLICY) == late
    assert next_wakeup(initial_state(NOW), NOW, POLICY) == NOW


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"leaf_ttl": timedelta(0)}, "must be positive"),
        ({"propagation": -INSTANT}, "not negative"),
        ({"leaf_ttl": 2 * HOUR + INSTANT}, "a sixth of the CA's"),
        ({"propagation": 4 * HOUR + INSTANT}, "leaves for it"),
    ],
)
def test_impossible_policies(change: dict[str, timedelta], complaint: str) -> None:
    """A policy under which a leaf or a propagation does not fit into the CA's life is refused."""
    with pytest.raises(ValueError, match=complaint):
        replace(POLICY, **change)
