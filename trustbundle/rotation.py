"""Rotation of a cluster's CA: which slots there are, and what is due at a given time.

Pure: ``decide`` says what to do, the small functions below it say what the state is once it is done; keys
and certificates are made in ``authority``. The order that no handshake may ever see broken: the next CA is
published, and has been for ``propagation``, before it signs; an old CA stays published until nothing that
it signed can be valid.

Two exceptions. A CA that was tainted leaves as soon as the nodes have other certificates, whatever it signed. And
with no living CA at all (the very first start, or a controller that was down until its CA expired) the next one signs
at once: there is nothing left to break, and the cluster's own workloads should not wait for peers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

CLOCK_SKEW = timedelta(seconds=10)
"""An old CA stays published this much longer than its last leaf, for verifiers whose clocks are late."""

ACKNOWLEDGE_BOUND = timedelta(seconds=60)
"""Peers that do not say that they have the next CA keep a tainted one in service no longer than this after the next
was published: a stolen CA does more harm than a peer that has to catch up."""

REISSUE_BOUND = timedelta(seconds=60)
"""Nodes that do not take their new certificate keep a tainted CA in the bundle no longer than this after it stopped
signing, or was tainted if it had stopped before."""

_PREPARE_CAP = timedelta(days=30)
_ACTIVATE_CAP = timedelta(days=7)
# A certificate is valid up to and including its last second (RFC 5280 §4.1.2.5): it is expired from the
# next instant on.
_INSTANT = timedelta.resolution


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    """How long things live. Raises ValueError where the parts don't fit together."""

    leaf_ttl: timedelta = timedelta(hours=1)
    ca_ttl: timedelta = timedelta(days=30)
    propagation: timedelta = timedelta(minutes=10)
    """How long a published bundle may take to reach every verifier; SPIFFE asks for 3 to 5 refresh hints."""

    def __post_init__(self) -> None:
        if self.leaf_ttl <= timedelta(0) or self.propagation < timedelta(0):
            raise ValueError("leaf ttl must be positive and propagation not negative")
        # A CA retires this long before it expires, so every leaf of a CA in service gets its full lifetime.
        if self.leaf_ttl > activation_lead(self.ca_ttl):
            raise ValueError(
                f"leaf ttl {self.leaf_ttl} is longer than {activation_lead(self.ca_ttl)}, a sixth of the CA's"
            )
        slack = preparation_lead(self.ca_ttl) - activation_lead(self.ca_ttl)
        if self.propagation > slack:
            raise ValueError(f"propagation {self.propagation} is longer than {slack}, what the CA's ttl leaves for it")


def preparation_lead(lifetime: timedelta) -> timedelta:
    """How long before a CA of this lifetime expires the next one is prepared and published (SPIRE's rule)."""
    return min(lifetime / 2, _PREPARE_CAP)


def activation_lead(lifetime: timedelta) -> timedelta:
    """How long before a CA of this lifetime expires the next one starts to sign (SPIRE's rule)."""
    return min(lifetime / 6, _ACTIVATE_CAP)


@dataclass(frozen=True, slots=True)
class CaSlot:
    """One CA certificate of this cluster and what has happened to it."""

    id: str
    certificate: bytes
    """DER."""
    not_before: datetime
    not_after: datetime
    sequence: int
    """Of the first bundle that holds this certificate."""
    published_at: datetime | None = None
    """When that bundle was first handed to the exchange successfully."""
    retired_at: datetime | None = None
    """When it stopped signing."""
    longest_leaf: timedelta = timedelta(0)
    """No leaf of it lives longer than this from its issue."""
    tainted: bool = False
    """Whether a forced rotation replaced it: its leaves are to be replaced at once, not at half life."""
    revoked_at: datetime | None = None
    """When it was said to be no longer trustworthy: it leaves the bundle once its leaves are replaced."""

    @property
    def short_id(self) -> str:
        """What people call it."""
        return authority_id(self.certificate)

    def expired(self, now: datetime) -> bool:
        return now > self.not_after

    @property
    def prepare_next_at(self) -> datetime:
        return self.not_after - preparation_lead(self.not_after - self.not_before)

    @property
    def activate_next_at(self) -> datetime:
        return self.not_after - activation_lead(self.not_after - self.not_before)

    @property
    def activate_next_by(self) -> datetime:
        """The latest time for the next one to take over, whoever may lack it: half of the lead is left."""
        return self.not_after - activation_lead(self.not_after - self.not_before) / 2

    @property
    def leaves_until(self) -> datetime:
        """Last instant at which a leaf of it may be valid. That of a CA which may sign yet, or whose key others may
        have, is its own end."""
        if self.retired_at is None or self.revoked_at is not None:
            return self.not_after
        return min(self.not_after, self.retired_at + self.longest_leaf)

    @property
    def needed_until(self) -> datetime:
        """Last instant at which this CA must be in the bundle."""
        if self.retired_at is None:
            return self.not_after
        last = min(self.not_after, self.retired_at + self.longest_leaf + CLOCK_SKEW)
        return last if self.revoked_at is None else min(last, max(self.retired_at, self.revoked_at) + REISSUE_BOUND)


@dataclass(frozen=True, slots=True)
class CaState:
    """The CA slots of a cluster: at most one that signs, at most one that will, and those kept to verify."""

    sequence: int
    """Of the bundle; grows with every change of what it holds, or says of it: peers refuse another one of a sequence
    that they have."""
    current: CaSlot | None = None
    next: CaSlot | None = None
    old: tuple[CaSlot, ...] = ()
    rotation_requested_at: datetime | None = None
    urgent: bool = False
    """Whether the rotation that is requested waits for nothing but the peers' word, where all of them give it."""

    @property
    def slots(self) -> tuple[CaSlot, ...]:
        """All slots, the order of the bundle."""
        return tuple(slot for slot in (self.current, self.next, *self.old) if slot is not None)


@dataclass(frozen=True, slots=True)
class Reach:
    """How far the CA's certificates have got, as seen at one moment. By default nothing is known of it."""

    lacking: bool = False
    """A living peer is known not to have the bundle that holds the next CA."""
    unknown: bool = True
    """A peer doesn't say what it has: only time can tell that it does."""
    reissued: frozenset[str] = frozenset()
    """Ids of slots that no connected node has a leaf of any more."""


NOTHING_KNOWN = Reach()


@dataclass(frozen=True, slots=True)
class RotationPlan:
    """What is due, to be done in this order, after which ``decide`` is asked again; false when nothing is."""

    drop: tuple[str, ...] = ()
    """Ids of slots to take out of the bundle."""
    activate: bool = False
    """The next CA starts to sign."""
    prepare: bool = False
    """A next CA is made and published."""

    def __bool__(self) -> bool:
        return bool(self.drop) or self.activate or self.prepare


def initial_state(now: datetime) -> CaState:
    """No slot yet. The sequence starts at the Unix time, so that a CA made anew (its files lost) continues
    to grow for the peers, who refuse sequences smaller than what they have seen."""
    return CaState(sequence=int(now.timestamp()))


def authority_id(certificate: bytes) -> str:
    """The short name of a CA certificate (DER): the beginning of its SHA-256."""
    return hashlib.sha256(certificate).hexdigest()[:12]


def decide(state: CaState, now: datetime, policy: RotationPolicy, reach: Reach = NOTHING_KNOWN) -> RotationPlan:
    """What is due at ``now``: one kind of step at a time, because each one changes what the next is decided
    upon."""
    drop = tuple(slot.id for slot in state.slots if now > slot.needed_until or _replaced(slot, reach))
    if drop:
        return RotationPlan(drop=drop)
    if state.next is not None:
        activation = _activation(state, policy, reach)
        return RotationPlan(activate=state.current is None or (activation is not None and now >= activation))
    return RotationPlan(
        prepare=state.current is None or state.rotation_requested_at is not None or now >= state.current.prepare_next_at
    )


def _replaced(slot: CaSlot, reach: Reach) -> bool:
    """Whether a tainted CA has nothing left to do."""
    return slot.revoked_at is not None and slot.retired_at is not None and slot.id in reach.reissued


def _activation(state: CaState, policy: RotationPolicy, reach: Reach) -> datetime | None:
    """When the next CA takes over from a living one; None while it is not published, however late that is:
    a CA that peers have not heard of is no better than one that is about to expire."""
    if state.current is None or state.next is None or state.next.published_at is None:
        return None
    published = state.next.published_at
    due = published + policy.propagation
    if state.urgent and not reach.unknown:
        due = published
    elif state.rotation_requested_at is None:
        due = max(due, state.current.activate_next_at)
    if reach.lacking:
        due = max(due, state.current.activate_next_by)
    return due if state.current.revoked_at is None else min(due, published + ACKNOWLEDGE_BOUND)


def next_wakeup(state: CaState, now: datetime, policy: RotationPolicy, reach: Reach = NOTHING_KNOWN) -> datetime:
    """The earliest time at which something is due, as far as only time decides it; ``now`` if something is
    due already.

    A publication that is confirmed, a rotation that is requested or another ``reach`` changes the answer.
    """
    if decide(state, now, policy, reach) or state.current is None:
        return now
    instants = [slot.not_after + _INSTANT for slot in (state.current, state.next) if slot is not None]
    instants += [slot.needed_until + _INSTANT for slot in state.old]
    if state.next is None:
        instants.append(state.current.prepare_next_at)
    activation = _activation(state, policy, reach)
    if activation is not None:
        instants.append(activation)
    return min(instants)


def request_rotation(state: CaState, now: datetime, *, urgent: bool = False) -> CaState:
    """The state in which a rotation is forced: a next CA is prepared now, or the prepared one taken, and signs as soon
    as it has been published for ``propagation`` and no living peer lacks it; if ``urgent``, as soon as every peer says
    that it has it. Asking again while one is under way can only make it urgent."""
    if state.current is None:
        return state
    return replace(state, rotation_requested_at=state.rotation_requested_at or now, urgent=state.urgent or urgent)


def revoke(state: CaState, slot_id: str, now: datetime) -> CaState:
    """The state in which a CA is no longer trustworthy. The one that signs is replaced urgently first; the next one,
    which has signed nothing, is gone at once; an old one goes when its leaves are replaced."""
    if state.next is not None and state.next.id == slot_id:
        return without(state, (slot_id,))
    if state.current is not None and state.current.id == slot_id:
        current = replace(state.current, revoked_at=state.current.revoked_at or now)
        return request_rotation(replace(state, current=current), now, urgent=True)
    old = tuple(
        replace(slot, tainted=True, revoked_at=slot.revoked_at or now) if slot.id == slot_id else slot
        for slot in state.old
    )
    return state if old == state.old else replace(state, sequence=state.sequence + 1, old=old)


def with_next(state: CaState, slot_id: str, certificate: bytes, not_before: datetime, not_after: datetime) -> CaState:
    """The state once a next CA is made; it appears in the bundle under a new sequence."""
    sequence = state.sequence + 1
    return replace(state, sequence=sequence, next=CaSlot(slot_id, certificate, not_before, not_after, sequence))


def with_published(state: CaState, sequence: int, now: datetime) -> CaState:
    """The state once the bundle of this sequence has reached the exchange."""

    def confirmed(slot: CaSlot) -> CaSlot:
        known = slot.published_at is None and slot.sequence <= sequence
        return replace(slot, published_at=now) if known else slot

    return replace(
        state,
        current=None if state.current is None else confirmed(state.current),
        next=None if state.next is None else confirmed(state.next),
        old=tuple(map(confirmed, state.old)),
    )


def with_activated(state: CaState, now: datetime, policy: RotationPolicy) -> CaState:
    """The state once the next CA signs and the one before it only verifies. The bundle tells of it, under a new
    sequence."""
    if state.next is None:
        return state
    retired: tuple[CaSlot, ...] = ()
    if state.current is not None:
        forced = state.rotation_requested_at is not None
        retired = (replace(state.current, retired_at=now, tainted=forced),)
    return replace(
        state,
        sequence=state.sequence + 1,
        current=replace(state.next, longest_leaf=policy.leaf_ttl),
        next=None,
        old=retired + state.old,
        rotation_requested_at=None,
        urgent=False,
    )


def with_leaf_ttl(state: CaState, leaf_ttl: timedelta) -> CaState:
    """The state once leaves of this lifetime are issued: the policy may have changed since the CA was
    activated."""
    if state.current is None or leaf_ttl <= state.current.longest_leaf:
        return state
    return replace(state, current=replace(state.current, longest_leaf=leaf_ttl))


def without(state: CaState, slot_ids: tuple[str, ...]) -> CaState:
    """The state once slots are out of the bundle, under a new sequence. Where the CA that signs is among
    them, a rotation that was requested has nothing left to replace."""

    def kept(slot: CaSlot | None) -> CaSlot | None:
        return None if slot is None or slot.id in slot_ids else slot

    current = kept(state.current)
    return replace(
        state,
        sequence=state.sequence + 1,
        current=current,
        next=kept(state.next),
        old=tuple(slot for slot in state.old if slot.id not in slot_ids),
        rotation_requested_at=None if current is None else state.rotation_requested_at,
        urgent=current is not None and state.urgent,
    )
