"""When a CA is prepared, takes over and is dropped, on a policy with round numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from support.clock import START as NOW
from trustbundle.rotation import (
    ACKNOWLEDGE_BOUND,
    CLOCK_SKEW,
    REISSUE_BOUND,
    CaSlot,
    CaState,
    Reach,
    RotationPlan,
    RotationPolicy,
    authority_id,
    decide,
    initial_state,
    next_wakeup,
    request_rotation,
    revoke,
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
    """To prepare, to activate, to taint and to drop a CA count up the sequence: what the bundle says of it is new."""
    start = _running()
    prepared = _prepared(start, "two", NOW)
    activated = with_activated(prepared, NOW, POLICY)
    tainted = revoke(activated, "one", NOW)
    again = revoke(tainted, "one", NOW + HOUR)
    dropped = without(again, ("one",))
    states = (prepared, activated, tainted, again, dropped)
    assert [state.sequence - start.sequence for state in states] == [1, 2, 3, 3, 4]


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


def _next_published(state: CaState, now: datetime) -> CaState:
    """A next CA is prepared and its bundle published at ``now``."""
    state = _prepared(state, "two", now)
    return with_published(state, state.sequence, now)


LACKING = Reach(lacking=True, unknown=False)
KNOWN_TO_ALL = Reach(unknown=False)


def test_a_ca_waits_for_a_living_peer_that_lacks_it_until_half_of_the_lead() -> None:
    """In its time and on request alike: with an hour of the current CA's life left, it signs all the same."""
    scheduled = _next_published(_running(), NOW + 6 * HOUR)
    requested = request_rotation(scheduled, NOW + 6 * HOUR)
    deadline = NOW + 11 * HOUR
    for state in (scheduled, requested):
        assert decide(state, deadline - INSTANT, POLICY, LACKING) == NOTHING
        assert next_wakeup(state, NOW + 6 * HOUR, POLICY, LACKING) == deadline
        assert decide(state, deadline, POLICY, LACKING) == RotationPlan(activate=True)


def test_an_urgent_rotation_waits_for_the_peers_word_alone() -> None:
    """Once all say that they have the bundle, it signs at once; before it is published it doesn't."""
    state = request_rotation(_running(), NOW + HOUR, urgent=True)
    unpublished = _prepared(state, "two", NOW + HOUR)
    published = _next_published(state, NOW + HOUR)
    assert decide(unpublished, NOW + HOUR, POLICY, KNOWN_TO_ALL) == NOTHING
    assert decide(published, NOW + HOUR, POLICY, LACKING) == NOTHING
    assert decide(published, NOW + HOUR, POLICY, KNOWN_TO_ALL) == RotationPlan(activate=True)


def test_an_urgent_rotation_counts_by_time_for_peers_that_do_not_say() -> None:
    """A peer with an older program publishes no acknowledgement: it has the propagation time."""
    state = _next_published(request_rotation(_running(), NOW + HOUR, urgent=True), NOW + HOUR)
    due = NOW + HOUR + POLICY.propagation
    assert decide(state, due - INSTANT, POLICY) == NOTHING
    assert decide(state, due, POLICY) == RotationPlan(activate=True)


def test_a_rotation_under_way_can_become_urgent() -> None:
    """Asked again with more haste, it keeps its time of request; it never becomes less urgent, and ends with it."""
    asked = request_rotation(_running(), NOW)
    urgent = request_rotation(asked, NOW + HOUR, urgent=True)
    assert (urgent.rotation_requested_at, urgent.urgent) == (NOW, True)
    assert request_rotation(urgent, NOW + HOUR) == urgent
    done = with_activated(_prepared(urgent, "two", NOW), NOW, POLICY)
    assert (done.rotation_requested_at, done.urgent) == (None, False)


def test_a_tainted_ca_goes_once_its_leaves_are_replaced() -> None:
    """The next one signs first; the tainted one leaves at once when no node has a leaf of it, long before they end."""
    state = revoke(_running(), "one", NOW + HOUR)
    assert decide(state, NOW + HOUR, POLICY, Reach(reissued=frozenset({"one"}))) == RotationPlan(prepare=True)
    state = _next_published(state, NOW + HOUR)
    assert decide(state, NOW + HOUR, POLICY, KNOWN_TO_ALL) == RotationPlan(activate=True)
    state = with_activated(state, NOW + HOUR, POLICY)
    assert _slot(state, "one").tainted
    assert decide(state, NOW + HOUR, POLICY, KNOWN_TO_ALL) == NOTHING
    assert decide(state, NOW + HOUR, POLICY, Reach(reissued=frozenset({"one"}))) == RotationPlan(drop=("one",))


def test_peers_hold_up_a_taint_no_longer_than_the_bound() -> None:
    """Neither a peer that lacks the next CA nor one that doesn't say keeps a stolen key signing for more than that."""
    state = _next_published(revoke(_running(), "one", NOW + HOUR), NOW + HOUR)
    due = NOW + HOUR + ACKNOWLEDGE_BOUND
    for reach in (LACKING, Reach()):
        assert decide(state, due - INSTANT, POLICY, reach) == NOTHING
        assert decide(state, due, POLICY, reach) == RotationPlan(activate=True)


def test_nodes_hold_up_a_taint_no_longer_than_the_bound() -> None:
    """A node that never takes its new certificate keeps the tainted CA in the bundle for the bound, and no longer."""
    state = with_activated(_next_published(revoke(_running(), "one", NOW), NOW), NOW + HOUR, POLICY)
    due = NOW + HOUR + REISSUE_BOUND
    assert decide(state, due, POLICY) == NOTHING
    assert decide(state, due + INSTANT, POLICY) == RotationPlan(drop=("one",))
    assert next_wakeup(state, NOW + HOUR, POLICY) == due + INSTANT


def test_an_old_ca_is_tainted_from_then_on() -> None:
    """Its leaves are replaced first, for which the bound counts from the taint, not from when it stopped signing."""
    state = with_activated(_next_published(_running(), NOW), NOW, POLICY)
    later = NOW + HOUR / 2
    state = revoke(state, "one", later)
    assert (_slot(state, "one").tainted, state.rotation_requested_at) == (True, None)
    assert _slot(state, "one").needed_until == later + REISSUE_BOUND
    assert revoke(state, "one", later + HOUR) == state


def test_a_next_ca_that_is_tainted_is_gone_at_once() -> None:
    """It has signed nothing; where a rotation was asked for, another one is made."""
    state = request_rotation(_prepared(_running(), "two", NOW), NOW)
    state = revoke(state, "two", NOW)
    assert (state.next, [slot.id for slot in state.slots]) == (None, ["one"])
    assert decide(state, NOW, POLICY) == RotationPlan(prepare=True)


def test_the_short_name_of_a_ca_is_of_its_certificate() -> None:
    """The same for the own slot and for whoever reads the bundle."""
    assert _slot(_running(), "one").short_id == authority_id(b"one") == "7692c3ad3540"


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
