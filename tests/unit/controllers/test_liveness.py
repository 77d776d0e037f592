"""Who lives, by two signals: every pair of them, how long a loss must last, and what is nobody's death."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from inspect import signature

import pytest

from controllers.liveness import GRACE_SECONDS, UNJUDGED, Signals, State, Verdict, judge, places
from federation.exchange.redis import RedisExchange
from federation.model.names import ClusterId
from support.builders import EAST, NORTH, WEST

WELL = Signals(known=True, published=True, leased=True, gateway=True)
LOST = replace(WELL, leased=False)
SILENT = replace(WELL, gateway=False)
GONE = replace(WELL, leased=False, gateway=False)

Place = tuple[str, bool, bool]
"""State, demoted, withdrawn."""


def crowd(count: int = 5, of: Signals = WELL) -> dict[ClusterId, Signals]:
    return {ClusterId(f"peer-{number}"): of for number in range(count)}


def place(verdict: Verdict) -> Place:
    return verdict.state.value, verdict.demoted, verdict.withdrawn


class Judge:
    """Judges again and again, each time by what it judged before; West is the peer in question, among five others."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.verdicts: Mapping[ClusterId, Verdict] = {}

    def see(
        self, west: Signals, *, after: float = 0.0, connected: bool = True, others: Signals = WELL, count: int = 5
    ) -> Place:
        self.now += after
        peers = {WEST: west, **crowd(count, others)}
        self.verdicts = judge(peers, self.verdicts, connected=connected, now=self.now)
        return place(self.verdicts[WEST])

    def see_long(self, west: Signals, *, connected: bool = True, others: Signals = WELL, count: int = 5) -> Place:
        self.see(west, connected=connected, others=others, count=count)
        return self.see(west, after=GRACE_SECONDS, connected=connected, others=others, count=count)


DEAD = ("Dead", True, True)
KEPT_LAST = ("Unheard", True, False)


@pytest.mark.parametrize(
    ("signals", "expected"),
    [
        (WELL, ("Live", False, False)),
        (replace(WELL, gateway=None), ("Live", False, False)),
        (SILENT, ("Unreachable", True, False)),
        (LOST, ("Blind", False, False)),
        (replace(LOST, gateway=None), ("Blind", False, False)),
        (GONE, DEAD),
        (replace(WELL, published=False, leased=False), ("Absent", False, False)),
        (replace(GONE, known=False), ("Unknown", False, False)),
    ],
    ids=["well", "not probed", "gateway silent", "lease lost", "lost, not probed", "both lost", "absent", "unknown"],
)
def test_each_pair_of_signals_has_its_state(signals: Signals, expected: Place) -> None:
    """What lasts is told by state, and only the loss of both signals withdraws."""
    assert Judge().see_long(signals) == expected


def test_a_lost_lease_counts_after_a_grace() -> None:
    """Until the grace is over, a peer that lost both signals is called last."""
    judge_ = Judge()
    seen = [judge_.see(GONE), judge_.see(GONE, after=GRACE_SECONDS - 0.5), judge_.see(GONE, after=0.5)]
    assert seen == [("Unreachable", True, False)] * 2 + [DEAD]


def test_the_grace_outlasts_an_exchange_that_falls_silent() -> None:
    """One silence as long as the timeout, and a ping unanswered for as long: then the exchange is known to be lost."""
    silence = 2 * signature(RedisExchange).parameters["timeout_seconds"].default
    assert silence < GRACE_SECONDS


def test_the_grace_begins_anew_with_each_loss() -> None:
    """A lease that was renewed meanwhile was not lost for long."""
    judge_ = Judge()
    judge_.see(GONE)
    judge_.see(SILENT, after=GRACE_SECONDS - 0.5)
    assert judge_.see(GONE, after=1.0) == ("Unreachable", True, False)


def test_the_grace_counts_from_the_loss_of_the_lease_not_of_the_gateway() -> None:
    """A peer long blind whose gateway falls silent too is dead at once: the lease had its time."""
    judge_ = Judge()
    judge_.see_long(LOST)
    assert judge_.see(GONE) == DEAD


def test_time_in_which_the_exchange_is_not_heard_is_no_grace() -> None:
    """Leases are lost for want of an exchange: they get all of the grace once it is heard again."""
    judge_ = Judge()
    judge_.see(GONE)
    judge_.see(GONE, after=GRACE_SECONDS / 2, connected=False)
    assert judge_.see(GONE, after=GRACE_SECONDS, connected=True) == ("Unreachable", True, False)
    assert judge_.see(GONE, after=GRACE_SECONDS) == DEAD


@pytest.mark.parametrize(
    ("signals", "expected"), [(WELL, ("Live", False, False)), (SILENT, ("Unreachable", True, False)), (LOST, "Blind")]
)
def test_a_dead_peer_comes_back_by_either_signal(signals: Signals, expected: Place | str) -> None:
    """The first good signal ends the withdrawal."""
    judge_ = Judge()
    judge_.see_long(GONE)
    seen = judge_.see(signals)
    assert seen in {expected, (expected, False, False)}


def test_a_dead_peer_does_not_come_back_for_want_of_a_signal() -> None:
    """When the exchange falls silent, or others lose their leases too, who was dead before stays dead."""
    judge_ = Judge()
    judge_.see_long(GONE)
    assert [judge_.see_long(GONE, connected=False), judge_.see_long(GONE, others=LOST)] == [DEAD, DEAD]


def test_nobody_is_dead_while_the_exchange_is_not_heard() -> None:
    """Whoever is gone is called last, and kept."""
    assert Judge().see_long(GONE, connected=False) == KEPT_LAST


@pytest.mark.parametrize(
    ("count", "others", "expected"),
    [
        (0, WELL, DEAD),
        (1, WELL, DEAD),
        (1, GONE, KEPT_LAST),
        (2, GONE, KEPT_LAST),
        (1, replace(WELL, published=False, leased=False), DEAD),
    ],
    ids=["the only peer", "one of two", "two of two", "three of three", "the only one that published"],
)
def test_leases_lost_at_once_are_not_the_peers_doing(count: int, others: Signals, expected: Place) -> None:
    """More than half of those that published, and at least two: that is the exchange, or us."""
    assert Judge().see_long(GONE, count=count, others=others) == expected


def test_half_of_the_leases_is_not_too_many() -> None:
    """Exactly half may well have died."""
    judge_ = Judge()
    peers = {WEST: GONE, NORTH: GONE, **crowd(2)}
    first = judge(peers, {}, connected=True, now=0.0)
    last = judge(peers, first, connected=True, now=GRACE_SECONDS)
    assert [place(last[WEST]), place(last[NORTH])] == [DEAD, DEAD]
    assert judge_.verdicts == {}


def test_peers_that_died_one_by_one_are_not_lost_at_once() -> None:
    """Who was dead before does not speak for a fault of the exchange."""
    judge_ = Judge()
    judge_.see_long(GONE, count=1)
    north = {WEST: GONE, ClusterId("peer-0"): GONE}
    soon = judge(north, judge_.verdicts, connected=True, now=judge_.now)
    later = judge(north, soon, connected=True, now=judge_.now + GRACE_SECONDS)
    assert place(later[ClusterId("peer-0")]) == DEAD


def test_a_lease_that_is_good_is_good_even_where_many_are_lost() -> None:
    """Of the others nothing is known; this one lives."""
    assert Judge().see_long(WELL, others=LOST) == ("Live", False, False)


def test_every_state_but_live_has_its_reason() -> None:
    """Whoever reads the status is told why."""
    seen = {}
    for connected in (True, False):
        for signals in (WELL, SILENT, LOST, GONE, replace(WELL, published=False), replace(WELL, known=False)):
            judge_ = Judge()
            judge_.see_long(signals, connected=connected)
            verdict = judge_.verdicts[WEST]
            seen[verdict.state.value] = verdict.reason != ""
    assert seen == {
        "Live": False,
        "Unreachable": True,
        "Blind": True,
        "Dead": True,
        "Unheard": True,
        "Absent": True,
        "Unknown": True,
    }
    assert (UNJUDGED.demoted, UNJUDGED.withdrawn) == (False, False)


def test_who_is_called_last_and_who_is_not_called_follow_from_the_verdicts() -> None:
    """A dead peer is both."""
    verdicts = {
        WEST: Verdict(State.DEAD, demoted=True),
        NORTH: Verdict(State.UNREACHABLE, demoted=True),
        EAST: Verdict(State.LIVE),
    }

    assert places(verdicts) == (frozenset({WEST, NORTH}), frozenset({WEST}))
