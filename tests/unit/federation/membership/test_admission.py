"""What the authority grants, what it refuses, and in which words."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from federation.membership.admission import (
    FAREWELL,
    KEEP_TOKENS,
    MAX_TTL,
    RETIRING,
    Granted,
    Reason,
    evict,
    found,
    judge,
    offer,
    replace_authority,
    revoke,
)
from federation.membership.ledger import Ledger
from federation.membership.requests import Refusal, Request
from federation.membership.roster import RosterMember, hand_over
from federation.model.errors import InvariantError
from federation.model.names import ClusterId
from support.membership_values import (
    CLUSTERSET,
    EAST,
    NORTH,
    NOW,
    WEST,
    digest,
    join,
    key,
    leave,
    ledger_of,
    public,
    rekey,
    roster_member,
    token_entry,
)

SECOND = timedelta(seconds=1)
TOKEN = token_entry(WEST)
OFFERED = ledger_of(EAST).with_token(TOKEN)


def granted(ledger: Ledger, request: Request, now: datetime = NOW) -> Ledger:
    outcome = judge(ledger, request, now)
    assert isinstance(outcome, Granted), outcome
    return outcome.ledger


JOINED = granted(OFFERED, replace(join(WEST), access_digest=digest("west")))
REKEYED = granted(JOINED, rekey(WEST, "west", "fresh"))
LATER = NOW + RETIRING
THIRD = granted(REKEYED, rekey(WEST, "fresh", "third", LATER), LATER)
EVICTED = evict(JOINED, WEST, NOW)
assert isinstance(EVICTED, Ledger)
BACK = granted(EVICTED.with_token(token_entry(WEST, "again")), join(WEST, "other", "again"))


def test_a_cluster_joins() -> None:
    """A request with a good token makes a member of its key, spends the token, and sets the member's own password."""
    assert JOINED.roster.serial == OFFERED.roster.serial + 1
    assert JOINED.roster.members == (roster_member(EAST), roster_member(WEST))
    assert JOINED.tokens == (replace(TOKEN, used_by=public("west")),)
    assert JOINED.users(NOW) == {WEST: (digest("west"),)}


def test_a_cluster_without_a_password_of_its_own() -> None:
    """Who made no password keeps that of the token, for longer than the token lasts."""
    assert granted(OFFERED, join(WEST)).users(NOW + KEEP_TOKENS) == {WEST: (digest("token"),)}


@pytest.mark.parametrize("later", [timedelta(0), timedelta(days=30)])
def test_to_join_twice_is_to_join_once(later: timedelta) -> None:
    """Whoever did not hear the answer asks again with the same key, however late, and nothing changes."""
    assert granted(JOINED, join(WEST), NOW + later) is JOINED


def test_a_member_takes_another_key() -> None:
    """The new key counts at once, the one before for five minutes more."""
    assert REKEYED.roster.serial == JOINED.roster.serial + 1
    member = REKEYED.roster.member(WEST)
    assert member == replace(
        roster_member(WEST, "fresh"), retiring_key=public("west"), retiring_until=NOW + timedelta(minutes=5)
    )
    assert granted(REKEYED, rekey(WEST, "west", "fresh")) is REKEYED
    assert REKEYED.access == JOINED.access


def test_a_member_leaves() -> None:
    """A member that asks to leave is out, also long after it asked; its user of the exchange outlasts that by a
    farewell, in which it reads so."""
    for now in (NOW, NOW + timedelta(days=1)):
        left = granted(JOINED, leave(WEST), now)
        assert (left.roster.serial, left.roster.members) == (JOINED.roster.serial + 1, (roster_member(EAST),))
        assert (left.access, left.users(now)) == ({}, {WEST: (digest("west"),)})
        end = now + FAREWELL
        assert (left.parted(end - SECOND), left.parted(end), left.users(end)) == ((), (WEST,), {})


def test_whoever_comes_back_during_its_farewell_stays() -> None:
    """Nothing is removed of a cluster that is a member again."""
    left = granted(JOINED, leave(WEST)).with_token(token_entry(WEST, "again"))
    assert left.users(NOW) == {WEST: (digest("west"), digest("again"))}
    back = granted(left, join(WEST, "other", "again"))
    assert (back.leaving, back.users(NOW)) == ({}, {WEST: (digest("again"),)})


UNKNOWN = "the token is not one of this authority, was altered, or is long past"
TAKEN = "cluster id west is taken by a member; if it is dead, evict it first"
BEFORE = "the key of west was a member's before: none is admitted twice, make a new one"
USED = f"token {TOKEN.id} was used already: each is good for one cluster, once"
RETIRING_REKEY = (
    "the key of west was replaced a short while ago: the former one is believed until 2026-01-01 12:05:00 UTC, "
    "and cannot be followed by another before"
)
STALE_REKEY = "the new key of west is not vouched for by its present one"
STALE_LEAVE = "the request to leave is not one of the present member west"
NO_LABEL = "is no DNS label: lower case letters, digits and inner dashes, at most 63"
REVOKED = OFFERED.with_token(replace(TOKEN, revoked_at=NOW))


@pytest.mark.parametrize(
    ("ledger", "request_", "reason", "text"),
    [
        (OFFERED, join(WEST, token="other"), "TokenUnknown", UNKNOWN),
        (
            JOINED,
            join(WEST, "other"),
            "TokenUsed",
            USED,
        ),
        (EVICTED, join(WEST), "TokenUsed", USED),
        (REVOKED, join(WEST), "TokenRevoked", f"token {TOKEN.id} was revoked"),
        (
            ledger_of(EAST).with_token(replace(TOKEN, expires_at=NOW)),
            join(WEST),
            "TokenExpired",
            f"token {TOKEN.id} expired at 2026-01-01 12:00:00 UTC",
        ),
        (OFFERED, join(NORTH), "TokenForAnotherCluster", "the token is for cluster west, not for north"),
        (OFFERED, join(ClusterId("West")), "BadClusterId", f"cluster id 'West' {NO_LABEL}"),
        (OFFERED, join(ClusterId("a.b")), "BadClusterId", f"cluster id 'a.b' {NO_LABEL}"),
        (OFFERED, join(ClusterId("")), "BadClusterId", f"cluster id '' {NO_LABEL}"),
        (OFFERED, leave(ClusterId("wést\n")), "BadClusterId", f"cluster id 'wést\\n' {NO_LABEL}"),
        (OFFERED, join(ClusterId("x" * 5000)), "BadClusterId", f"cluster id '{'x' * 255}' {NO_LABEL}"),
        (
            OFFERED,
            replace(join(WEST), trust_domain="West/\x1b[0m"),
            "BadTrustDomain",
            "'West/\\x1b[0m' is no SPIFFE trust domain",
        ),
        (OFFERED, replace(join(WEST), trust_domain=""), "BadTrustDomain", "'' is no SPIFFE trust domain"),
        (JOINED.with_token(token_entry(WEST, "t2")), join(WEST, "other", "t2"), "ClusterTaken", TAKEN),
        (
            OFFERED,
            replace(join(WEST), trust_domain="east.example"),
            "TrustDomainTaken",
            "trust domain east.example is taken by cluster east",
        ),
        (OFFERED, join(WEST, "east"), "KeyTaken", "the member key of west is that of cluster east already"),
        (
            REKEYED.with_token(token_entry(NORTH, "t2")),
            join(NORTH, "west", "t2"),
            "KeyTaken",
            "the member key of north is that of cluster west already",
        ),
        (
            EVICTED.with_token(token_entry(WEST, "t2")),
            join(WEST, "west", "t2"),
            "KeyTaken",
            BEFORE,
        ),
        (
            OFFERED,
            join(WEST, made_at=NOW + 61 * SECOND),
            "ClockSkew",
            "the clock of west is 61 s ahead of the authority's, 60 s are allowed",
        ),
        (
            OFFERED,
            join(WEST, made_at=NOW - 61 * SECOND),
            "ClockSkew",
            "the clock of west is 61 s behind the authority's, or its request lay that long; 60 s are allowed",
        ),
        (OFFERED, rekey(WEST, "west", "fresh"), "NotAMember", "west is no member of clusterset demo"),
        (OFFERED, leave(WEST), "NotAMember", "west is no member of clusterset demo"),
        (
            JOINED,
            rekey(WEST, "other", "fresh"),
            "StaleRequest",
            STALE_REKEY,
        ),
        (
            REKEYED,
            rekey(WEST, "west", "more"),
            "StaleRequest",
            STALE_REKEY,
        ),
        (JOINED, rekey(WEST, "west", "east"), "KeyTaken", "the new key of west is known already"),
        (REKEYED, rekey(WEST, "fresh", "west"), "KeyTaken", "the new key of west is known already"),
        (THIRD, rekey(WEST, "third", "west"), "KeyTaken", BEFORE),
        (
            JOINED,
            rekey(WEST, "west", "fresh", NOW - 3600 * SECOND),
            "ClockSkew",
            "the clock of west is 3600 s behind the authority's, or its request lay that long; 60 s are allowed",
        ),
        (
            REKEYED,
            rekey(WEST, "fresh", "third"),
            "KeyRetiring",
            RETIRING_REKEY,
        ),
        (JOINED, leave(WEST, "other"), "StaleRequest", STALE_LEAVE),
        (REKEYED, leave(WEST, "west"), "StaleRequest", STALE_LEAVE),
        (JOINED, leave(EAST), "HoldsTheAuthority", "east holds the authority of clusterset demo"),
        # An evicted cluster whose place another has taken repeats what it once said.
        (BACK, join(WEST), "TokenUsed", USED),
        (
            BACK,
            rekey(WEST, "west", "fresh"),
            "StaleRequest",
            STALE_REKEY,
        ),
        (BACK, leave(WEST), "StaleRequest", STALE_LEAVE),
    ],
)
def test_refusals(ledger: Ledger, request_: Request, reason: str, text: str) -> None:
    """Everything that is refused is refused for its own reason, in words that say what to do about it."""
    assert judge(ledger, request_, NOW) == Refusal(reason, text)


FULL_TEXT = "clusterset demo has 4000 members: no other one fits into its roster"


def test_no_more_are_admitted_than_fit_into_the_roster() -> None:
    """A roster that is too large would be believed by nobody: whoever is one too many is told so."""
    crowd = (
        RosterMember(ClusterId(f"{number:063}"), f"{number:0255}", number.to_bytes(32, "big"), NOW)
        for number in range(4000)
    )
    ledger = replace(OFFERED, roster=replace(OFFERED.roster, members=tuple(crowd)))
    assert judge(ledger, join(WEST), NOW) == Refusal(Reason.FULL, FULL_TEXT)


def test_one_key_retires_at_a_time() -> None:
    """The next change of a key is granted in the moment in which the former key ends, and not before."""
    early = LATER - SECOND
    refused = judge(REKEYED, rekey(WEST, "fresh", "third", early), early)
    assert isinstance(refused, Refusal)
    assert refused.reason == Reason.KEY_RETIRING
    assert THIRD.roster.member(WEST) == replace(
        roster_member(WEST, "third"), retiring_key=public("fresh"), retiring_until=LATER + RETIRING
    )


@pytest.mark.parametrize("skew", [-60, 60])
def test_a_clock_may_be_off_by_a_minute(skew: int) -> None:
    """The allowed skew itself is allowed."""
    granted(OFFERED, join(WEST, made_at=NOW + skew * SECOND))


def test_a_token_is_offered() -> None:
    """A new token stands in the ledger; those that ended a week ago don't any more."""
    late = NOW + KEEP_TOKENS + timedelta(minutes=15)
    kept = offer(OFFERED, token_entry(NORTH, "t2", late - SECOND), late - SECOND)
    gone = offer(OFFERED, token_entry(NORTH, "t2", late), late)
    assert isinstance(kept, Ledger)
    assert isinstance(gone, Ledger)
    assert ([t.cluster for t in kept.tokens], [t.cluster for t in gone.tokens]) == ([WEST, NORTH], [NORTH])
    assert kept.roster == OFFERED.roster


def test_a_forgotten_token_is_still_refused() -> None:
    """A used token that was forgotten admits nobody."""
    late = NOW + timedelta(days=30)
    ledger = offer(JOINED, token_entry(NORTH, "t2", late), late)
    assert isinstance(ledger, Ledger)
    assert judge(ledger, join(WEST, "other", made_at=late), late) == Refusal(Reason.UNKNOWN, UNKNOWN)


@pytest.mark.parametrize(
    ("cluster", "ttl", "refusal"),
    [
        (ClusterId("West"), SECOND, Refusal(Reason.BAD_CLUSTER, f"cluster id 'West' {NO_LABEL}")),
        (
            EAST,
            SECOND,
            Refusal(Reason.CLUSTER_TAKEN, "cluster id east is taken by a member; if it is dead, evict it first"),
        ),
        (WEST, 0 * SECOND, Refusal("BadTimeToLive", "a token must live for more than 0 s and at most 86400 s")),
        (WEST, -SECOND, Refusal("BadTimeToLive", "a token must live for more than 0 s and at most 86400 s")),
        (WEST, MAX_TTL + SECOND, Refusal("BadTimeToLive", "a token must live for more than 0 s and at most 86400 s")),
    ],
)
def test_tokens_that_are_not_offered(cluster: ClusterId, ttl: timedelta, refusal: Refusal) -> None:
    """No token is given out for a name that can't join, nor for longer than a day."""
    entry = replace(token_entry(cluster), expires_at=NOW + ttl)
    assert offer(ledger_of(EAST), entry, NOW) == refusal


def test_a_token_is_revoked() -> None:
    """A revoked token stays so, and its password is worth nothing; one that was used can't be revoked."""
    assert revoke(OFFERED, TOKEN.id, NOW) == REVOKED
    assert REVOKED.users(NOW) == {}
    assert revoke(REVOKED, TOKEN.id, NOW + SECOND) is REVOKED
    assert revoke(OFFERED, "0000000000", NOW) == Refusal("TokenUnknown", "there is no token 0000000000")
    assert revoke(JOINED, TOKEN.id, NOW) == Refusal("TokenUsed", f"token {TOKEN.id} was used: west has joined with it")


def test_a_member_is_evicted() -> None:
    """An evicted member is gone, with its user, and the tokens that would let it in again are revoked."""
    out = evict(JOINED.with_token(token_entry(WEST, "t2")).with_token(token_entry(NORTH, "t3")), WEST, NOW)
    assert isinstance(out, Ledger)
    assert (out.roster.serial, out.roster.members) == (JOINED.roster.serial + 1, (roster_member(EAST),))
    assert {t.key: t.state(NOW) for t in out.tokens} == {
        public("token"): "Used",
        public("t2"): "Revoked",
        public("t3"): "Pending",
    }
    assert out.users(NOW) == {NORTH: (digest("t3"),)}


def test_who_is_not_evicted() -> None:
    """Neither a stranger nor the cluster that has the authority can be evicted."""
    assert evict(JOINED, NORTH, NOW) == Refusal("NotAMember", "north is no member of clusterset demo")
    assert evict(JOINED, EAST, NOW) == Refusal("HoldsTheAuthority", "east holds the authority of clusterset demo")


def test_the_first_member() -> None:
    """A clusterset is founded with its seat, without a token."""
    ledger = ledger_of()
    assert found(ledger, roster_member(EAST)).roster == ledger.roster.with_members([roster_member(EAST)])


def test_the_authority_is_replaced() -> None:
    """The next roster carries the handover, and the ledger the new key."""
    step = hand_over(CLUSTERSET, key("authority"), key("a2"))
    ledger = replace_authority(JOINED, step)
    assert ledger == replace(JOINED, authority_key=public("a2"), roster=JOINED.roster.with_handover(step))


@pytest.mark.parametrize(("old", "new"), [("other", "a2"), ("authority", "authority"), ("a2", "authority")])
def test_handovers_that_would_open_a_way_back(old: str, new: str) -> None:
    """Only the present key hands over, and never to one that was the authority's before."""
    ledger = JOINED
    if old == "a2":
        ledger = replace_authority(ledger, hand_over(CLUSTERSET, key("authority"), key("a2")))
    with pytest.raises(InvariantError):
        replace_authority(ledger, hand_over(CLUSTERSET, key(old), key(new)))


def test_every_reason_is_seen() -> None:
    """The tests above see each reason that the authority gives; a cluster itself finds out that a token is spent."""
    marks = [mark for mark in test_refusals.pytestmark if mark.name == "parametrize"]  # type: ignore[attr-defined]
    seen = {case[2] for case in marks[0].args[1]} | {"BadTimeToLive", "ClustersetFull"}
    assert seen == set(Reason) - {Reason.SPENT}


def test_a_retiring_key_lasts_for_its_time() -> None:
    """The time of a retiring key is counted from the grant."""
    member = REKEYED.roster.member(WEST)
    assert member is not None
    assert member.at(NOW + RETIRING - SECOND).keys == (public("fresh"), public("west"))
    assert member.at(NOW + RETIRING).keys == (public("fresh"),)
