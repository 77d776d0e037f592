"""Candidacy: one replica's view of the Lease by which replicas agree who leads. In-memory state without I/O or clock.

The rules are those of client-go's leaderelection, and safe whatever the clocks of the replicas say: times in the Lease
are for people. ``at`` is any seconds of the own machine that only go forward, also while it sleeps.

- A leader counts from before it *asked* for its last renewal, everybody else from after they *saw* the Lease change,
  which is later. It stops before they may begin, by the margin of ``LeaseTiming``.
- Every write names the version that was read, so that of two who try one is refused.
- Stricter than client-go: a Lease that somebody emptied or deleted by hand is no release, and those who knew it wait as
  long as for a leader that is silent. Only who never saw it makes a new one at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from controllers.mcs.objects import Document, section, text
from controllers.sources.manifests import ObjectId

API_VERSION: Final = "coordination.k8s.io/v1"
_RELEASED_SECONDS: Final = 1
"""The duration in a Lease that its holder gave back, as client-go writes it."""


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """How long a Lease holds and how often it is renewed, in seconds; the defaults are those of Kubernetes' own."""

    duration_seconds: int = 15
    """Since the Lease last changed, after which a silent leader may be replaced."""
    renew_seconds: float = 10.0
    """Since it asked for its last renewal, after which a leader no longer leads. The rest of the duration is the margin
    for writes that the API server still carries out, and for clocks that differ in speed."""
    retry_seconds: float = 2.0
    """Between two attempts of a leader; others add up to ``jitter`` times as much."""
    jitter: float = 1.2
    request_seconds: float = 3.0
    """For one request and its answer, so that a leader has more than one attempt before its time is over."""

    def __post_init__(self) -> None:
        if not self.duration_seconds > self.renew_seconds > self.retry_seconds > 0:
            raise ValueError("a lease must hold longer than its renewal may take, and that longer than one retry")


@dataclass(frozen=True, slots=True)
class _Record:
    """What a Lease says; another value is a sign of life of whoever wrote it."""

    holder: str
    duration_seconds: int
    transitions: int
    acquired: str
    renewed: str


@dataclass(frozen=True, slots=True)
class Bid:
    """A Lease to be written: made anew, or put in the place of the version that it names."""

    document: Document
    creates: bool


class Candidacy:
    """``identity`` must be unique, also among the lives of a pod: who has the same is taken for oneself."""

    def __init__(self, lease: ObjectId, identity: str, timing: LeaseTiming) -> None:
        self._lease = lease
        self._identity = identity
        self._timing = timing
        self._document: Document | None = None
        """The Lease as it was last read or written; None where it is not there."""
        self._current = False
        """Whether nothing is known to have changed it since."""
        self._record: _Record | None = None
        """What it last said, kept when it is deleted; None where it was never seen."""
        self._changed_at = 0.0
        self._renewed_at: float | None = None
        """When the last renewal that was granted was asked for; None for who does not lead."""

    @property
    def leader(self) -> str:
        """Who leads as far as is known; empty where nobody does."""
        return self._record.holder if self._record else ""

    @property
    def holds(self) -> bool:
        """Whether the Lease says this one as far as is known, which does not mean that it leads."""
        return self.leader == self._identity

    @property
    def must_read(self) -> bool:
        """Whether the Lease is to be read before a bid: only its holder knows it."""
        return not (self._current and self._document is not None and self.holds)

    def seconds_left(self, at: float) -> float:
        """How long this one leads for certain: until then every write must have ended. 0 where it does not lead."""
        if self._renewed_at is None:
            return 0.0
        return max(self._renewed_at + self._timing.renew_seconds - at, 0.0)

    def read(self, document: Document | None, at: float) -> None:
        """Take in the Lease, None where there is none; ``at`` is when the answer was here."""
        before, self._document, self._current = self._document, document, True
        if document is None:
            if before is not None:
                # What it said last, and to whom, nobody can tell.
                self._changed_at = at
            return
        record = _parse(document)
        if record != self._record:
            self._record, self._changed_at = record, at
        if record.holder not in {"", self._identity}:
            self._renewed_at = None

    def bid(self, at: float, now: datetime) -> Bid | None:
        """The write by which the Lease is won or renewed; None while it must be left to another."""
        if not self._is_free(at):
            return None
        known, stamp = self._record, _micro_time(now)
        held = known is not None and known.holder == self._identity
        transitions = 0 if known is None else known.transitions + (0 if held else 1)
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._timing.duration_seconds,
            "acquireTime": known.acquired if known is not None and held and known.acquired else stamp,
            "renewTime": stamp,
            "leaseTransitions": transitions,
        }
        return Bid(self._stating(spec), creates=self._document is None)

    def won(self, document: Document, asked_at: float, at: float) -> None:
        """Take in that a bid was accepted: the Lease as it is now, when it was asked for and when the answer came."""
        self.read(document, at)
        self._renewed_at = asked_at if self.holds else None

    def lost_sight(self) -> None:
        """Take in that a bid was refused, or that its answer never came: what the Lease says is to be read."""
        self._current = False

    def resign(self) -> None:
        """Lead no longer, whatever the Lease says."""
        self._renewed_at = None

    def release(self, now: datetime) -> Document | None:
        """The write that gives the Lease back, so that another need not wait; None for who does not hold it."""
        if self._document is None or not self.holds:
            return None
        stamp = _micro_time(now)
        spec = {"leaseDurationSeconds": _RELEASED_SECONDS, "acquireTime": stamp, "renewTime": stamp}
        return self._stating({"holderIdentity": "", **spec})

    def _is_free(self, at: float) -> bool:
        """Whether nobody else can be leading, given that a bid succeeds only if nothing changed."""
        record = self._record
        if record is None or self.seconds_left(at) > 0:
            return True
        if self._document is not None:
            if record.holder == self._identity:
                return True
            if not record.holder and record.duration_seconds == _RELEASED_SECONDS:
                return True
        # The longer of two durations: the own one counts where somebody cut the other short by hand.
        return at > self._changed_at + max(record.duration_seconds, self._timing.duration_seconds)

    def _stating(self, spec: Document) -> Document:
        """The Lease with these fields, and with everything that others have put there."""
        if self._document is None:
            metadata: Document = {"namespace": self._lease.namespace, "name": self._lease.name}
            return {"apiVersion": API_VERSION, "kind": "Lease", "metadata": metadata, "spec": spec}
        stated = {**section(self._document, "spec"), **spec}
        return {**self._document, "apiVersion": API_VERSION, "kind": "Lease", "spec": stated}


def _parse(document: Document) -> _Record:
    spec = section(document, "spec")
    return _Record(
        holder=text(spec.get("holderIdentity")),
        duration_seconds=_number(spec.get("leaseDurationSeconds")),
        transitions=_number(spec.get("leaseTransitions")),
        acquired=text(spec.get("acquireTime")),
        renewed=text(spec.get("renewTime")),
    )


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _micro_time(time: datetime) -> str:
    """A time as ``metav1.MicroTime`` spells it: UTC, always six digits of a second."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
