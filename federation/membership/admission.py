"""Admission: what the authority grants, by its ledger, a request and the time. Pure.

Every decision gives the next ledger or says why not; the ledger that it started from stays as it is. Signing,
publishing and the exchange's users are carried out by the wiring.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from federation.membership.ledger import Farewell, Ledger, TokenEntry
from federation.membership.requests import Refusal, Request, Wish
from federation.membership.roster import Handover, RosterMember, has_room
from federation.model.errors import InvariantError
from federation.model.names import ClusterId, is_dns_label, is_trust_domain

MAX_SKEW = timedelta(seconds=60)
"""The farthest that the clock of a cluster may be from the authority's when it joins: certificates of an hour and
rotations of seconds bear a minute, not more."""
RETIRING = timedelta(minutes=5)
"""How long the member key before the present one is still believed: far longer than a member takes to change over."""
FAREWELL = timedelta(seconds=5)
"""How long the exchange still lets in who has left: it reads so in the roster, even if it missed the notice."""
KEEP_TOKENS = timedelta(days=7)
"""How long a token that has ended is remembered, so that whoever comes with it is told what became of it."""
MAX_TTL = timedelta(hours=24)
"""The longest life of a token: what is left lying about must not open the door."""


class Reason(StrEnum):
    """Why a request is refused: stable codes."""

    UNKNOWN = "TokenUnknown"
    USED = "TokenUsed"
    REVOKED = "TokenRevoked"
    EXPIRED = "TokenExpired"
    SPENT = "TokenSpent"
    """The exchange knows the token's user no more: used or revoked."""
    FOR_ANOTHER = "TokenForAnotherCluster"
    BAD_TTL = "BadTimeToLive"
    BAD_CLUSTER = "BadClusterId"
    BAD_TRUST_DOMAIN = "BadTrustDomain"
    CLUSTER_TAKEN = "ClusterTaken"
    TRUST_DOMAIN_TAKEN = "TrustDomainTaken"
    KEY_TAKEN = "KeyTaken"
    KEY_RETIRING = "KeyRetiring"
    FULL = "ClustersetFull"
    CLOCK_SKEW = "ClockSkew"
    NOT_A_MEMBER = "NotAMember"
    STALE = "StaleRequest"
    IS_SEAT = "HoldsTheAuthority"


@dataclass(frozen=True, slots=True)
class Granted:
    """The ledger after the request; the same one where there was nothing left to do."""

    ledger: Ledger


def judge(ledger: Ledger, request: Request, now: datetime) -> Granted | Refusal:
    """What the authority says to a request whose signatures hold."""
    if not is_dns_label(request.cluster):
        return _bad_cluster(request.cluster)
    match request.wish:
        case Wish.JOIN:
            return _join(ledger, request, now)
        case Wish.REKEY:
            return _rekey(ledger, request, now)
        case Wish.LEAVE:
            return _leave(ledger, request, now)


def found(ledger: Ledger, member: RosterMember) -> Ledger:
    """The ledger of a new clusterset, with its first member, which needs no token: it has the authority."""
    return replace(ledger, roster=ledger.roster.with_members([*ledger.roster.members, member]))


def offer(ledger: Ledger, entry: TokenEntry, now: datetime) -> Ledger | Refusal:
    """The ledger with a new token; what has ended long ago is forgotten."""
    if not is_dns_label(entry.cluster):
        return _bad_cluster(entry.cluster)
    if ledger.roster.member(entry.cluster) is not None:
        return _taken(entry.cluster)
    if not timedelta(0) < entry.expires_at - entry.created_at <= MAX_TTL:
        return Refusal(
            Reason.BAD_TTL, f"a token must live for more than 0 s and at most {MAX_TTL.total_seconds():.0f} s"
        )
    kept = tuple(token for token in ledger.tokens if now - _ended(token) < KEEP_TOKENS)
    return replace(ledger, tokens=kept).with_token(entry)


def revoke(ledger: Ledger, token_id: str, now: datetime) -> Ledger | Refusal:
    """The ledger in which a token is no longer good."""
    entry = next((token for token in ledger.tokens if token.id == token_id), None)
    if entry is None:
        return Refusal(Reason.UNKNOWN, f"there is no token {token_id}")
    if entry.used_by is not None:
        return Refusal(Reason.USED, f"token {token_id} was used: {entry.cluster} has joined with it")
    return ledger if entry.revoked_at is not None else ledger.with_token(replace(entry, revoked_at=now))


def evict(ledger: Ledger, cluster: ClusterId, now: datetime) -> Ledger | Refusal:
    """The ledger without a member, dead or hostile, and without a token that would let it in again."""
    if ledger.roster.member(cluster) is None:
        return Refusal(Reason.NOT_A_MEMBER, f"{cluster} is no member of clusterset {ledger.roster.clusterset}")
    if cluster == ledger.roster.seat:
        return Refusal(Reason.IS_SEAT, f"{cluster} holds the authority of clusterset {ledger.roster.clusterset}")
    for token in ledger.tokens:
        if token.cluster == cluster and token.state(now) == "Pending":
            ledger = ledger.with_token(replace(token, revoked_at=now))
    return _without(ledger, cluster)


def replace_authority(ledger: Ledger, handover: Handover) -> Ledger:
    """The ledger after the authority's key was replaced; raises InvariantError for a handover that members could not
    follow, or that would make an earlier one count again."""
    former = {step.old for step in ledger.roster.handovers} | {ledger.authority_key}
    if handover.old != ledger.authority_key or handover.new in former:
        raise InvariantError("the authority's key is handed over by another key, or to a former one")
    return replace(ledger, authority_key=handover.new, roster=ledger.roster.with_handover(handover))


def _join(ledger: Ledger, request: Request, now: datetime) -> Granted | Refusal:
    cluster = request.cluster
    token = ledger.token(request.voucher_key)
    if token is None:
        return Refusal(Reason.UNKNOWN, "the token is not one of this authority, was altered, or is long past")
    if token.cluster != cluster:
        return Refusal(Reason.FOR_ANOTHER, f"the token is for cluster {token.cluster}, not for {cluster}")
    member = ledger.roster.member(cluster)
    if member is not None and member.public_key == request.public_key:
        # The answer to the first one was not heard: to join twice with one key is to join once.
        return Granted(ledger)
    refusal = _unusable(token, now) or _unfit(ledger, request, now)
    if refusal is not None:
        return refusal
    admitted = RosterMember(cluster, request.trust_domain, request.public_key, now.replace(microsecond=0))
    ledger = ledger.with_token(replace(token, used_by=request.public_key))
    ledger = ledger.with_access(cluster, request.access_digest or token.access_digest).with_farewell(cluster, None)
    roster = ledger.roster.with_members([*ledger.roster.members, admitted])
    if not has_room(roster):
        return Refusal(
            Reason.FULL,
            f"clusterset {roster.clusterset} has {len(roster.members) - 1} members: no other one fits into its roster",
        )
    return Granted(replace(ledger, roster=roster))


def _unusable(token: TokenEntry, now: datetime) -> Refusal | None:
    match token.state(now):
        case "Used":
            return Refusal(Reason.USED, f"token {token.id} was used already: each is good for one cluster, once")
        case "Revoked":
            return Refusal(Reason.REVOKED, f"token {token.id} was revoked")
        case "Expired":
            return Refusal(Reason.EXPIRED, f"token {token.id} expired at {token.expires_at:%Y-%m-%d %H:%M:%S} UTC")
    return None


def _unfit(ledger: Ledger, request: Request, now: datetime) -> Refusal | None:
    cluster, domain = request.cluster, request.trust_domain
    if not is_trust_domain(domain):
        return Refusal(Reason.BAD_TRUST_DOMAIN, f"{domain[:255]!r} is no SPIFFE trust domain")
    if skewed := _skewed(request, now):
        return skewed
    if ledger.roster.member(cluster) is not None:
        return _taken(cluster)
    for other in ledger.roster.members:
        if other.trust_domain == domain:
            return Refusal(Reason.TRUST_DOMAIN_TAKEN, f"trust domain {domain} is taken by cluster {other.cluster}")
        if request.public_key in {other.public_key, other.retiring_key}:
            return Refusal(Reason.KEY_TAKEN, f"the member key of {cluster} is that of cluster {other.cluster} already")
    return _spent(ledger, request)


def _skewed(request: Request, now: datetime) -> Refusal | None:
    skew = request.made_at - now
    if abs(skew) <= MAX_SKEW:
        return None
    allowed = f"{MAX_SKEW.total_seconds():.0f} s are allowed"
    seconds = f"{abs(skew).total_seconds():.0f} s"
    if skew > timedelta(0):
        return Refusal(
            Reason.CLOCK_SKEW, f"the clock of {request.cluster} is {seconds} ahead of the authority's, {allowed}"
        )
    return Refusal(
        Reason.CLOCK_SKEW,
        f"the clock of {request.cluster} is {seconds} behind the authority's, or its request lay that long; {allowed}",
    )


def _spent(ledger: Ledger, request: Request) -> Refusal | None:
    if request.public_key not in ledger.spent:
        return None
    return Refusal(
        Reason.KEY_TAKEN, f"the key of {request.cluster} was a member's before: none is admitted twice, make a new one"
    )


def _rekey(ledger: Ledger, request: Request, now: datetime) -> Granted | Refusal:
    member = ledger.roster.member(request.cluster)
    if member is None:
        return _stranger(ledger, request)
    if member.public_key == request.public_key:
        return Granted(ledger)
    if member.public_key != request.voucher_key:
        return Refusal(Reason.STALE, f"the new key of {request.cluster} is not vouched for by its present one")
    if any(request.public_key in {other.public_key, other.retiring_key} for other in ledger.roster.members):
        return Refusal(Reason.KEY_TAKEN, f"the new key of {request.cluster} is known already")
    # One that was held back must not install a key that the member has long thrown away.
    if refusal := _spent(ledger, request) or _skewed(request, now) or _retiring(member, now):
        return refusal
    fresh = replace(
        member,
        public_key=request.public_key,
        retiring_key=member.public_key,
        retiring_until=(now + RETIRING).replace(microsecond=0),
    )
    others = (other for other in ledger.roster.members if other.cluster != request.cluster)
    ledger = ledger.with_spent(member.public_key)
    return Granted(replace(ledger, roster=ledger.roster.with_members([*others, fresh])))


def _retiring(member: RosterMember, now: datetime) -> Refusal | None:
    """A change of keys goes to all members, and would end the key before the former one too early for them."""
    until = member.retiring_until
    if until is None or now >= until:
        return None
    return Refusal(
        Reason.KEY_RETIRING,
        f"the key of {member.cluster} was replaced a short while ago: the former one is believed until "
        f"{until:%Y-%m-%d %H:%M:%S} UTC, and cannot be followed by another before",
    )


def _leave(ledger: Ledger, request: Request, now: datetime) -> Granted | Refusal:
    member = ledger.roster.member(request.cluster)
    if member is None:
        return _stranger(ledger, request)
    if member.public_key != request.voucher_key:
        return Refusal(Reason.STALE, f"the request to leave is not one of the present member {request.cluster}")
    if request.cluster == ledger.roster.seat:
        return Refusal(
            Reason.IS_SEAT, f"{request.cluster} holds the authority of clusterset {ledger.roster.clusterset}"
        )
    farewell = Farewell(now.replace(microsecond=0) + FAREWELL, ledger.access.get(request.cluster, ""))
    return Granted(_without(ledger, request.cluster).with_farewell(request.cluster, farewell))


def _without(ledger: Ledger, cluster: ClusterId) -> Ledger:
    others = (other for other in ledger.roster.members if other.cluster != cluster)
    gone = (member.public_key for member in ledger.roster.members if member.cluster == cluster)
    return replace(ledger, roster=ledger.roster.with_members(others)).with_access(cluster, "").with_spent(*gone)


def _ended(token: TokenEntry) -> datetime:
    return min(token.expires_at, token.revoked_at or token.expires_at)


def _bad_cluster(cluster: str) -> Refusal:
    return Refusal(
        Reason.BAD_CLUSTER,
        f"cluster id {cluster[:255]!r} is no DNS label: lower case letters, digits and inner dashes, at most 63",
    )


def _taken(cluster: ClusterId) -> Refusal:
    return Refusal(Reason.CLUSTER_TAKEN, f"cluster id {cluster} is taken by a member; if it is dead, evict it first")


def _stranger(ledger: Ledger, request: Request) -> Refusal:
    return Refusal(Reason.NOT_A_MEMBER, f"{request.cluster} is no member of clusterset {ledger.roster.clusterset}")
