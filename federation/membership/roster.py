"""The roster: who belongs to the clusterset, as its authority signs it, and the rules by which a member believes one.

One statement holds all members, so that nobody can be left out, put back or mixed from two moments; its serial number
only grows. The authority's key is known since the join; when it is replaced, the old key hands over to the new one, and
the roster carries these handovers, so that a member that slept through several finds its way. Pure: ``now`` is an
argument. It must not know how a roster travels (see the exchange's board).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.membership.statements import (
    SCHEMA_MAJOR,
    Kind,
    is_signed_by,
    read_body,
    read_statement,
    sign_body,
    sign_statement,
)
from federation.model.errors import WireError
from federation.model.names import ClusterId, is_dns_label, is_trust_domain
from federation.model.records import Member
from federation.model.sizes import MAX_ROSTER_BYTES
from federation.model.wire import UNREADABLE, Reason

MAX_HANDOVERS = 32
"""A member that missed more replacements of the authority's key than this has to join anew."""

_KEY_BYTES = 32
# What a key that retires adds to its member, a handover to the roster, and signature and frame to the body, at most.
_RETIRING_BYTES, _HANDOVER_BYTES, _ENVELOPE_BYTES = 48, 224, 256


@dataclass(frozen=True, slots=True)
class RosterMember:
    """One admitted cluster."""

    cluster: ClusterId
    trust_domain: str
    public_key: bytes
    """Ed25519, 32 raw bytes: what it signs its records with."""
    admitted_at: datetime
    retiring_key: bytes | None = None
    """The key before this one, still believed until ``retiring_until``."""
    retiring_until: datetime | None = None

    def at(self, now: datetime) -> Member:
        """The binding that its records are verified against at ``now``."""
        retiring = self.retiring_key if self.retiring_until is not None and now < self.retiring_until else None
        return Member(self.cluster, self.trust_domain, self.public_key, retiring)


@dataclass(frozen=True, slots=True)
class Handover:
    """The authority's old key names the new one, and the new one agrees."""

    old: bytes
    new: bytes
    old_signature: bytes
    new_signature: bytes


@dataclass(frozen=True, slots=True)
class Roster:
    """The members of a clusterset at one moment."""

    clusterset: str
    serial: int
    """Grows with every change."""
    seat: ClusterId
    """The cluster whose controller holds the authority: whom to ask when admissions stand still."""
    members: tuple[RosterMember, ...] = ()
    """Sorted by cluster."""
    handovers: tuple[Handover, ...] = ()
    """Oldest first."""

    def member(self, cluster: ClusterId) -> RosterMember | None:
        return next((member for member in self.members if member.cluster == cluster), None)

    def at(self, now: datetime) -> tuple[Member, ...]:
        """All members, as their records are verified at ``now``."""
        return tuple(member.at(now) for member in self.members)

    def next_change(self, now: datetime) -> datetime | None:
        """When the next retiring key is no longer believed; None where none is."""
        ends = (member.retiring_until for member in self.members if member.retiring_until is not None)
        return min((end for end in ends if end > now), default=None)

    def with_members(self, members: Iterable[RosterMember]) -> Roster:
        """The next roster, with exactly these members."""
        ordered = tuple(sorted(members, key=lambda member: member.cluster))
        return replace(self, serial=self.serial + 1, members=ordered)

    def with_handover(self, handover: Handover) -> Roster:
        """The next roster, after the authority's key was replaced."""
        return replace(self, serial=self.serial + 1, handovers=(*self.handovers, handover)[-MAX_HANDOVERS:])


@dataclass(frozen=True, slots=True)
class KnownRoster:
    """What a member believes: the newest roster it has seen, and the key it is now signed with."""

    authority_key: bytes
    """Ed25519, 32 raw bytes."""
    roster: Roster
    blob: bytes
    """As it was signed, for the disk."""


class _Member(msgspec.Struct, array_like=True):
    cluster: str
    trust_domain: str
    public_key: bytes
    admitted_at: int
    retiring_key: bytes | None = None
    retiring_until: int | None = None


class _Handover(msgspec.Struct, array_like=True):
    old: bytes
    new: bytes
    old_signature: bytes
    new_signature: bytes


class _Roster(msgspec.Struct, array_like=True):
    major: int
    clusterset: str
    serial: int
    seat: str
    members: list[_Member]
    handovers: list[_Handover]


_encoder = msgspec.msgpack.Encoder()
_rosters = msgspec.msgpack.Decoder(_Roster)


def sign_roster(roster: Roster, authority: Ed25519PrivateKey) -> bytes:
    """The roster as the authority says it: the same bytes for the same roster and key."""
    return sign_statement(Kind.ROSTER, _body(roster), [authority])


def has_room(roster: Roster) -> bool:
    """Whether members will read this roster, also once every key of it has been replaced."""
    spare = len(roster.members) * _RETIRING_BYTES + MAX_HANDOVERS * _HANDOVER_BYTES + _ENVELOPE_BYTES
    return len(_body(roster)) + spare <= MAX_ROSTER_BYTES


def _body(roster: Roster) -> bytes:
    return _encoder.encode(
        _Roster(
            SCHEMA_MAJOR,
            roster.clusterset,
            roster.serial,
            roster.seat,
            [
                _Member(
                    member.cluster,
                    member.trust_domain,
                    member.public_key,
                    _seconds(member.admitted_at),
                    member.retiring_key,
                    None if member.retiring_until is None else _seconds(member.retiring_until),
                )
                for member in roster.members
            ],
            [_Handover(h.old, h.new, h.old_signature, h.new_signature) for h in roster.handovers],
        )
    )


def hand_over(clusterset: str, old: Ed25519PrivateKey, new: Ed25519PrivateKey) -> Handover:
    """The authority's key ``old`` gives its place to ``new``."""
    keys = old.public_key().public_bytes_raw(), new.public_key().public_bytes_raw()
    body = _handover_body(clusterset, *keys)
    return Handover(*keys, sign_body(Kind.HANDOVER, body, old), sign_body(Kind.HANDOVER, body, new))


def open_roster(blob: bytes, clusterset: str, trusted_key: bytes) -> KnownRoster:
    """Verify that the authority which ``trusted_key`` was, or has handed over to, signed this roster.

    Raises WireError with Oversized, Malformed, UnknownSchema, WrongClusterset, BadSignature or Invalid.
    """
    statement = read_statement(blob, limit=MAX_ROSTER_BYTES, what="roster")
    body = read_body(statement.body, _rosters, "roster")
    try:
        roster = _roster(body)
    except UNREADABLE as error:
        raise WireError(Reason.MALFORMED, "roster is unreadable") from error
    if roster.clusterset != clusterset:
        raise WireError(Reason.WRONG_CLUSTERSET, f"roster is of clusterset {roster.clusterset[:253]!r}")
    if len(roster.handovers) > MAX_HANDOVERS:
        # Each may cost two verifications before it is known that the authority has said any of this.
        raise WireError(Reason.INVALID, f"roster has {len(roster.handovers)} handovers, more than {MAX_HANDOVERS}")
    key = _authority_after(roster, trusted_key)
    if len(statement.signatures) != 1 or not is_signed_by(Kind.ROSTER, statement.body, statement.signatures[0], key):
        raise WireError(Reason.BAD_SIGNATURE, "roster is not signed with the key of the clusterset's authority")
    if fault := _fault(roster):
        raise WireError(Reason.INVALID, f"roster {roster.serial} {fault}")
    return KnownRoster(key, roster, blob)


def accept_roster(blob: bytes, known: KnownRoster) -> KnownRoster:
    """What is believed after ``blob`` was read; raises WireError, also with Replayed for a roster that is older than
    the known one, or says something else under the same serial number."""
    if blob == known.blob:
        return known
    opened = open_roster(blob, known.roster.clusterset, known.authority_key)
    serial = opened.roster.serial
    if opened.roster == known.roster:
        return known
    if serial == known.roster.serial:
        raise WireError(Reason.REPLAYED, f"roster says something else than the known one with the same serial {serial}")
    if serial < known.roster.serial:
        raise WireError(Reason.REPLAYED, f"roster has serial {serial}, known is {known.roster.serial}")
    return opened


def _authority_after(roster: Roster, trusted_key: bytes) -> bytes:
    """Who speaks for the authority now, followed from a key that did."""
    key = trusted_key
    for step in roster.handovers:
        body = _handover_body(roster.clusterset, step.old, step.new)
        if (
            step.old == key
            and is_signed_by(Kind.HANDOVER, body, step.old_signature, step.old)
            and is_signed_by(Kind.HANDOVER, body, step.new_signature, step.new)
        ):
            key = step.new
    return key


def _handover_body(clusterset: str, old: bytes, new: bytes) -> bytes:
    return _encoder.encode([SCHEMA_MAJOR, clusterset, old, new])


def _fault(roster: Roster) -> str:
    """What no authority of ours writes, whoever signed it; empty if all is well."""
    keys = [key for member in roster.members for key in (member.public_key, member.retiring_key) if key is not None]
    for what, values in (
        ("cluster", [member.cluster for member in roster.members]),
        ("trust domain", [member.trust_domain for member in roster.members]),
        ("member key", keys),
    ):
        if len(set(values)) != len(values):
            return f"names one {what} twice"
    if not all(is_dns_label(member.cluster) for member in roster.members):
        return "names a cluster that is no DNS label"
    if not is_dns_label(roster.seat):
        return "names a seat that is no DNS label"
    if not all(is_trust_domain(member.trust_domain) for member in roster.members):
        return "names a trust domain that is none of SPIFFE's"
    if not all(len(key) == _KEY_BYTES for key in keys):
        return "holds a key that is no Ed25519 key"
    return "" if roster.serial >= 0 else "has a negative serial number"


def _roster(body: _Roster) -> Roster:
    return Roster(
        body.clusterset,
        body.serial,
        ClusterId(body.seat),
        tuple(
            RosterMember(
                ClusterId(member.cluster),
                member.trust_domain,
                member.public_key,
                _moment(member.admitted_at),
                member.retiring_key,
                None if member.retiring_until is None else _moment(member.retiring_until),
            )
            for member in sorted(body.members, key=lambda member: member.cluster)
        ),
        tuple(Handover(h.old, h.new, h.old_signature, h.new_signature) for h in body.handovers),
    )


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _moment(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError) as error:
        raise ValueError(f"{seconds} is no time") from error
