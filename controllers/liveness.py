"""Liveness: which peers live, judged by two signals: the lease they renew, and our own probe of their gateways.

Either signal alone keeps a peer. Only who has lost both, and only while we hear the exchange ourselves, has its
endpoints withdrawn. A silent gateway puts its cluster behind the others, for this cluster alone. Knows neither where
the signals come from nor what follows for a service. Pure: ``now`` is an argument.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from federation.model.names import ClusterId

GRACE_SECONDS = 7.0
"""How long a lost lease must stay lost before it counts. An exchange that fell silent is noticed within 6 s of its last
message (federation.exchange.redis): until then every lease seems lost, and it is not the peer's doing."""


class State(StrEnum):
    """What a peer is to this cluster; the words of `federation status`."""

    LIVE = "Live"
    UNREACHABLE = "Unreachable"
    """Its gateway does not answer us: called last."""
    BLIND = "Blind"
    """Its lease is lost and nothing else is: kept."""
    DEAD = "Dead"
    """Both signals are lost: its endpoints are withdrawn."""
    UNHEARD = "Unheard"
    """Its lease says nothing: we don't hear the exchange, or too many leases were lost at once. Kept."""
    ABSENT = "Absent"
    """It never published."""
    UNKNOWN = "Unknown"
    """Nothing whole of it was read."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What is seen of one peer at one moment."""

    known: bool
    """Whether what it published is known: read whole, or known to be nothing."""
    published: bool
    leased: bool
    """Whether it renewed its lease in time."""
    gateway: bool | None
    """Whether its gateways answer our probe: True where one does, False where none does; None: not known."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done about one peer, and why."""

    state: State
    reason: str = ""
    """For whoever reads the status: one sentence, lower case, no final period; empty for a peer that lives."""
    demoted: bool = False
    """Called behind all others."""
    lost_since: float | None = None
    """Since when its lease has been lost while we heard the exchange; carried from one judgement to the next."""

    @property
    def withdrawn(self) -> bool:
        """Whether it is not called at all."""
        return self.state is State.DEAD


UNJUDGED = Verdict(State.UNKNOWN, "nothing whole of it was read yet")


def judge(
    peers: Mapping[ClusterId, Signals], before: Mapping[ClusterId, Verdict], *, connected: bool, now: float
) -> dict[ClusterId, Verdict]:
    """The verdict on every peer. ``before``: the last one; ``connected``: whether we hear the exchange; ``now`` in
    seconds of a clock that never jumps.
    """
    dead = {cluster for cluster, verdict in before.items() if verdict.withdrawn}
    in_question = [signals for cluster, signals in peers.items() if signals.published and cluster not in dead]
    many = _lost_at_once(in_question)

    def unheard(peer: Signals) -> str:
        if not connected:
            return "the exchange is not heard"
        return "more than half of the leases are lost at once" if many and not peer.leased else ""

    return {
        cluster: _verdict(signals, before.get(cluster, UNJUDGED), unheard(signals), now)
        for cluster, signals in peers.items()
    }


def places(verdicts: Mapping[ClusterId, Verdict]) -> tuple[frozenset[ClusterId], frozenset[ClusterId]]:
    """Who is called last, and who is not called."""
    return (
        frozenset(cluster for cluster, verdict in verdicts.items() if verdict.demoted),
        frozenset(cluster for cluster, verdict in verdicts.items() if verdict.withdrawn),
    )


def _lost_at_once(peers: Collection[Signals]) -> bool:
    """Whether so many leases are lost that it must be the exchange, or us."""
    lost = sum(1 for peer in peers if not peer.leased)
    return lost >= 2 and lost * 2 > len(peers)


def _verdict(peer: Signals, before: Verdict, unheard: str, now: float) -> Verdict:
    if not peer.known:
        return UNJUDGED
    if not peer.published:
        return Verdict(State.ABSENT, "it never published")
    silent = peer.gateway is False
    if before.withdrawn and silent and (unheard or not peer.leased):
        # It comes back by a good signal, not because a signal can't be had.
        return before
    if unheard:
        what = ", and its gateway does not answer: called last" if silent else ""
        return Verdict(State.UNHEARD, unheard + what, demoted=silent)
    if peer.leased:
        if silent:
            return Verdict(State.UNREACHABLE, "its gateway does not answer this cluster: called last", demoted=True)
        return Verdict(State.LIVE)
    since = now if before.lost_since is None else before.lost_since
    if not silent:
        return Verdict(State.BLIND, "its lease is lost, its gateway is not: kept", lost_since=since)
    if now - since < GRACE_SECONDS:
        reason = "its gateway does not answer, and its lease has just been lost: called last"
        return Verdict(State.UNREACHABLE, reason, demoted=True, lost_since=since)
    reason = "its lease is lost and its gateway does not answer: its endpoints are withdrawn"
    return Verdict(State.DEAD, reason, demoted=True, lost_since=since)
