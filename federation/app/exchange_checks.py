"""Judges the exchange as it is seen from here: way, TLS, login, rights, version, clock, and its roster. Pure.

Facts in, findings out; ``exchange_sight`` goes and looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

from controllers.checks import Check
from federation.app.preflight_lines import Line, failed, note, ok
from federation.exchange.access import has_member_users
from federation.membership.admission import MAX_SKEW
from federation.membership.join_token import JoinToken
from federation.membership.roster import KnownRoster, accept_roster, open_roster
from federation.model.errors import WireError
from federation.model.names import ClusterId

EXPIRY_NOTE = timedelta(days=14)
SKEW_NOTE = timedelta(seconds=5)
SLOW = timedelta(milliseconds=250)
"""A round trip that alone uses up what a change may take from one cluster to the next."""
_OLDEST_REDIS = (6, 2)
_FIXES = (
    "check the host in exchange.url, and DNS",
    "is the server running, and do firewalls let this host through to it?",
    "is it a TLS port? redis:// is without TLS, rediss:// with it",
)
"""The next step for each stage, where the error itself has none."""


class Stage(IntEnum):
    """Steps on the way to a server."""

    NAME = 1
    CONNECTION = 2
    TLS = 3
    THERE = 4


@dataclass(frozen=True, slots=True)
class Sight:
    """What came of going to one server of the exchange."""

    where: str
    stage: Stage
    """The step that failed; THERE where none did."""
    message: str = ""
    """What went wrong."""
    fix: str = ""
    tls_version: str = ""
    certificate_ends: datetime | None = None
    """Set where it has TLS."""


@dataclass(frozen=True, slots=True)
class Way:
    """How the settings say that the exchange is reached."""

    tls: bool
    pinned: bool
    """Whether it is known by a CA of its own."""
    local: bool
    """Whether it is on this host."""


@dataclass(frozen=True, slots=True)
class ClockSample:
    """One question for the time."""

    sent: datetime
    """By the own clock."""
    round_trip: timedelta
    told: datetime
    """By the exchange's."""


@dataclass(frozen=True, slots=True)
class Denial:
    """Something that the exchange did not let us do."""

    what: str
    message: str
    fix: str


def judge_way(sights: Sequence[Sight], way: Way, now: datetime) -> Iterator[Check]:
    """Name, connection and TLS, up to the step at which nobody is reached any more."""
    for stage, line, words in (
        (Stage.NAME, Line.EXCHANGE_NAME, "resolves"),
        (Stage.CONNECTION, Line.EXCHANGE_CONNECTION, "takes connections"),
        (Stage.TLS, Line.EXCHANGE_TLS, ""),
    ):
        lost = [sight for sight in sights if sight.stage is stage]
        through = [sight for sight in sights if sight.stage > stage]
        if lost and not through:
            yield failed(line, lost[0].message, lost[0].fix or _FIXES[stage - 1])
            return
        if lost:
            yield note(
                line, f"{len(lost)} of {len(sights)} servers: {lost[0].message}", lost[0].fix or _FIXES[stage - 1]
            )
        elif stage is Stage.TLS:
            yield _judge_tls(through, way, now)
        else:
            yield ok(line, f"{', '.join(sight.where for sight in through)} {words}")


def _judge_tls(sights: Sequence[Sight], way: Way, now: datetime) -> Check:
    line = Line.EXCHANGE_TLS
    if not way.tls:
        if way.local:
            return ok(line, "none, and none is needed on this host")
        return note(
            line,
            "none: passwords and records can be read and changed on the way",
            "give the server a certificate, and exchange.url the scheme rediss://",
        )
    first = min(sights, key=lambda sight: sight.certificate_ends or now)
    ends = first.certificate_ends or now
    known_by = "the CA of exchange.caFile" if way.pinned else "a CA that this system trusts"
    if ends - now < EXPIRY_NOTE:
        return note(
            line,
            f"the certificate of {first.where} ends at {_time(ends)}",
            "renew it: from then on nobody gets in; `federation exchange up` renews its own when it starts",
        )
    return ok(line, f"{first.tls_version}, certificate by {known_by}, until {_time(ends)}")


def judge_login(user: str, *, local: bool) -> Check:
    """That a command was answered; ``user`` is empty where none was named."""
    if user or local:
        return ok(Line.EXCHANGE_LOGIN, f"user {user} is let in" if user else "without a user, on this host")
    return note(
        Line.EXCHANGE_LOGIN,
        "lets in whoever reaches it, without a user",
        "give each member its own user: `federation exchange acl` prints the rules",
    )


def judge_server(version: str, samples: Sequence[ClockSample], *, member_user: bool) -> Check:
    """Program and version, such as ``redis 7.0.15``, and how fast it answers."""
    program, _, number = version.partition(" ")
    parts = number.split(".")
    release = tuple(int(part) for part in parts[:2] if part.isdigit())
    if program == "redis" and release < _OLDEST_REDIS:
        return failed(Line.EXCHANGE_SERVER, f"{version} is too old", "upgrade to Redis 6.2 or later, or to Valkey")
    if member_user and not has_member_users(version):
        return failed(
            Line.EXCHANGE_SERVER,
            f"{version} can't keep members apart: their own users need Redis 7 or Valkey",
            "upgrade the server, or give all members one user",
        )
    round_trip = min(sample.round_trip for sample in samples)
    words = f"{version} answers in {round_trip.total_seconds() * 1000:.1f} ms"
    if round_trip > SLOW:
        return note(Line.EXCHANGE_SERVER, words, "changes reach the others as late: use a server that is nearer")
    return ok(Line.EXCHANGE_SERVER, words)


def judge_rights(denials: Sequence[Denial]) -> Check:
    """What a member has to do there and was tried, harmlessly."""
    if not denials:
        return ok(Line.EXCHANGE_RIGHTS, "may read what others write, and write its own")
    return failed(
        Line.EXCHANGE_RIGHTS,
        f"may not {', nor '.join(denial.what for denial in denials)}: {denials[0].message}",
        denials[0].fix or "`federation exchange acl` prints the rules that the user needs",
    )


def judge_clock(samples: Sequence[ClockSample]) -> Check:
    """This host's clock against the exchange's, by the fastest answer; half its time is what can't be known."""
    best = min(samples, key=lambda sample: sample.round_trip)
    doubt = best.round_trip / 2
    offset = best.told - (best.sent + doubt)
    certain = max(abs(offset) - doubt, timedelta(0))
    side = "behind" if offset > timedelta(0) else "ahead of"
    words = f"{abs(offset).total_seconds():.3f} s {side} the exchange's (give or take {doubt.total_seconds():.3f} s)"
    fix = "set the clocks of this host and of the exchange by NTP"
    if certain > MAX_SKEW:
        return failed(Line.CLOCK, f"{words}; {MAX_SKEW.total_seconds():.0f} s are allowed", fix)
    return note(Line.CLOCK, words, fix) if certain > SKEW_NOTE else ok(Line.CLOCK, words)


def judge_clusterset(blob: bytes | None, known: KnownRoster, cluster: ClusterId) -> Check:
    """The roster in the exchange against the one that is believed here."""
    seat = known.roster.seat
    if blob is None:
        return note(
            Line.CLUSTERSET, "the exchange holds no roster", f"the controller of {seat} puts it there: is it running?"
        )
    try:
        newest = accept_roster(blob, known).roster
    except WireError as error:
        return failed(
            Line.CLUSTERSET,
            f"the roster in the exchange is refused: {error}",
            f"is the controller of {seat} running? Then somebody else writes there: see to who may",
        )
    if newest.member(cluster) is None:
        return failed(
            Line.CLUSTERSET,
            f"{cluster} was evicted or has left: roster {newest.serial} does not have it",
            f"`federation token create --cluster {cluster}` on {seat}, then `federation join` here",
        )
    return ok(Line.CLUSTERSET, f"roster {newest.serial} has {len(newest.members)} members, the authority is at {seat}")


def judge_admission(blob: bytes | None, token: JoinToken, trust_domain: str, own_key: bytes | None) -> Check:
    """Whether the clusterset would have a place for the cluster that the token is for."""
    if blob is None:
        return failed(
            Line.CLUSTERSET,
            f"the exchange holds no roster of clusterset {token.clusterset}",
            f"is the controller of {token.seat} running? It puts it there",
        )
    try:
        roster = open_roster(blob, token.clusterset, token.authority_key).roster
    except WireError as error:
        return failed(
            Line.CLUSTERSET,
            f"the roster in the exchange can't be believed: {error}",
            f"tell whoever has the authority, at {token.seat}: the exchange may be tampered with",
        )
    present = roster.member(token.cluster)
    if present is not None and present.public_key == own_key:
        return ok(Line.CLUSTERSET, f"{token.cluster} is a member already, with the key that is here")
    if present is not None:
        return failed(
            Line.CLUSTERSET,
            f"{token.cluster} is a member already, with another key",
            f"`federation evict {token.cluster}` on {roster.seat} if that one is gone, or choose another cluster id",
        )
    if taken := [member.cluster for member in roster.members if member.trust_domain == trust_domain]:
        return failed(
            Line.CLUSTERSET,
            f"trust domain {trust_domain} is that of {taken[0]}",
            "choose another with --trust-domain",
        )
    return ok(Line.CLUSTERSET, f"roster {roster.serial} has {len(roster.members)} members, {token.cluster} is free")


def judge_authority(seat: ClusterId, *, heard: bool) -> Check:
    """Whether somebody would answer a request to join."""
    if heard:
        return ok(Line.AUTHORITY, f"the controller of {seat}, which admits, is heard")
    return failed(Line.AUTHORITY, f"the controller of {seat}, which admits, is not heard", f"start it on {seat}")


def judge_token(token: JoinToken, now: datetime) -> Check:
    """Whether it is still good, as far as it says itself."""
    if now >= token.expires_at:
        return failed(
            Line.TOKEN,
            f"for {token.cluster}, expired at {_time(token.expires_at)}",
            f"`federation token create --cluster {token.cluster}` on {token.seat} makes another",
        )
    return ok(Line.TOKEN, f"for {token.cluster} of clusterset {token.clusterset}, until {_time(token.expires_at)}")


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%SZ}"
