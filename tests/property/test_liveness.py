"""Properties of liveness, over any history of signals: what never withdraws a peer, and what always brings it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.liveness import GRACE_SECONDS, Signals, Verdict, judge
from federation.model.names import ClusterId

PEERS = [ClusterId(f"peer-{number}") for number in range(4)]


@dataclass(frozen=True)
class Moment:
    seconds: float
    """Since the one before."""
    connected: bool
    peers: Mapping[ClusterId, Signals]


# Bad signals and long times are frequent: else hardly any history would come to a death.
mostly = st.sampled_from([True, True, True, False])
signals = st.builds(
    Signals,
    known=mostly,
    published=mostly,
    leased=st.booleans(),
    gateway=st.sampled_from([False, False, True, None]),
)
moments = st.builds(
    Moment,
    st.sampled_from([0.5, GRACE_SECONDS / 2, GRACE_SECONDS, 3600.0]),
    mostly,
    st.fixed_dictionaries(dict.fromkeys(PEERS, signals)),
)
histories = st.lists(moments, min_size=1, max_size=12)

Judgement = tuple[Moment, Mapping[ClusterId, Verdict], Mapping[ClusterId, Verdict]]


def judgements(history: list[Moment]) -> list[Judgement]:
    """Each moment with the verdicts before and after it."""
    now, before, found = 0.0, {}, []
    for moment in history:
        now += moment.seconds
        after = judge(moment.peers, before, connected=moment.connected, now=now)
        found.append((moment, before, after))
        before = after
    return found


def withdrawn(verdicts: Mapping[ClusterId, Verdict]) -> set[ClusterId]:
    return {cluster for cluster, verdict in verdicts.items() if verdict.withdrawn}


@given(histories)
@settings(deadline=None)
def test_nobody_is_withdrawn_while_the_exchange_is_not_heard(history: list[Moment]) -> None:
    """Contact that we lost withdraws nobody, whatever else is seen."""
    for moment, before, after in judgements(history):
        if not moment.connected:
            assert withdrawn(after) <= withdrawn(before)


@given(histories)
@settings(deadline=None)
def test_nobody_is_withdrawn_while_most_leases_are_lost(history: list[Moment]) -> None:
    """Where more than half of the living lose their leases, at least two, nobody is withdrawn."""
    for moment, before, after in judgements(history):
        living = {c: p for c, p in moment.peers.items() if p.published and c not in withdrawn(before)}
        lost = sum(1 for peer in living.values() if not peer.leased)
        if lost >= 2 and lost * 2 > len(living):
            assert withdrawn(after) <= withdrawn(before)


@given(histories)
@settings(deadline=None)
def test_either_good_signal_keeps(history: list[Moment]) -> None:
    """A gateway that answers keeps its peer, always; a lease does where it is heard."""
    for moment, before, after in judgements(history):
        answering = {cluster for cluster, peer in moment.peers.items() if peer.gateway}
        leased = {cluster for cluster, peer in moment.peers.items() if peer.leased}
        assert withdrawn(after) & answering == set()
        assert withdrawn(after) & leased <= (set() if moment.connected else withdrawn(before))


@given(histories)
@settings(deadline=None)
def test_a_death_takes_a_grace_and_both_signals(history: list[Moment]) -> None:
    """Whoever is newly withdrawn lost its lease at least a grace ago, while we heard it, and does not answer."""
    heard_lost: dict[ClusterId, float] = {}
    now = 0.0
    for moment, before, after in judgements(history):
        now += moment.seconds
        for cluster, peer in moment.peers.items():
            if peer.leased or not moment.connected:
                heard_lost.pop(cluster, None)
            else:
                heard_lost.setdefault(cluster, now)
        for cluster in withdrawn(after) - withdrawn(before):
            assert moment.peers[cluster] == Signals(known=True, published=True, leased=False, gateway=False)
            assert now - heard_lost[cluster] >= GRACE_SECONDS


@given(histories, st.sampled_from(PEERS))
@settings(deadline=None)
def test_one_peer_that_loses_both_signals_for_long_is_withdrawn(history: list[Moment], peer: ClusterId) -> None:
    """After any history, with the others well: the one that is gone is dead after a grace."""
    well = Signals(known=True, published=True, leased=True, gateway=True)
    gone = Signals(known=True, published=True, leased=False, gateway=False)
    end = {each: gone if each == peer else well for each in PEERS}
    last = judgements([*history, Moment(1.0, True, end), Moment(GRACE_SECONDS, True, end)])[-1][2]
    assert withdrawn(last) == {peer}
