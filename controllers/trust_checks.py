"""Checks of trust: what is wrong, what would break, and what to do about it. Pure: a report in, findings out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from controllers.checks import Check, Level
from controllers.liveness import State
from controllers.trust_report import AuthorityReport, DomainReport, TrustReport

_HEARD = frozenset({State.LIVE, State.UNREACHABLE})
_LATE = 5 / 6


def trust_checks(report: TrustReport) -> tuple[Check, ...]:
    """Every check, the own CA first, then peer by peer, then what would break."""
    own, *peers = report.domains
    return (
        *_own_authorities(own, report),
        _publication(own, report),
        _leaves(report),
        *(check for peer in peers for check in _peer(peer, report)),
        *_would_break(peers, report),
    )


def _own_authorities(own: DomainReport, report: TrustReport) -> Iterator[Check]:
    signing = [one for one in own.authorities if one.state in {"signing", "tainted", "accepted"}]
    upcoming = [one for one in own.authorities if one.state == "next"]
    if not signing:
        yield Check("own CA", Level.FAILED, "no CA is in force", "see the controller's log: it makes one at once")
        return
    last = max((*signing, *upcoming), key=lambda one: one.not_after)
    if _late(last, report):
        yield Check(
            "own CA",
            Level.FAILED,
            f"{last.id} ends at {_time(last)} and nothing follows it",
            "see the controller's log: a next CA should have been made at half of its life",
        )
    else:
        yield Check("own CA", Level.OK, f"{last.id} lasts until {_time(last)}")
    for one in own.authorities:
        if one.state == "tainted":
            waits = f", waits for {', '.join(report.rotation.waiting_for)}" if report.rotation.waiting_for else ""
            yield Check(
                "tainted CA",
                Level.FAILED,
                f"{one.id} is still in the bundle{waits}",
                "it leaves within minutes; `federation trust show` tells how far it is",
            )
    if upcoming:
        yield Check("next CA", Level.OK, f"{upcoming[0].id} is made ({report.rotation.step})")


def _publication(own: DomainReport, report: TrustReport) -> Check:
    if report.published == own.sequence:
        return Check("own bundle", Level.OK, f"sequence {own.sequence} is published")
    return Check(
        "own bundle",
        Level.FAILED,
        f"sequence {own.sequence} is not in the exchange yet",
        "see the exchange in `federation status`; no next CA signs before peers can know it",
    )


def _leaves(report: TrustReport) -> Check:
    if report.soonest_leaf is None:
        return Check("node certificates", Level.OK, "no node has one")
    ends = f"{report.soonest_leaf:%Y-%m-%d %H:%M:%SZ}"
    if report.soonest_leaf > report.now:
        return Check("node certificates", Level.OK, f"the first one ends at {ends}")
    return Check("node certificates", Level.FAILED, f"one ended at {ends}", "see the controller's log on renewals")


def _peer(peer: DomainReport, report: TrustReport) -> Iterator[Check]:
    name = f"peer {peer.cluster}"
    if peer.problem:
        stays = "the one before stays in force" if peer.trusted else "it gets no calls"
        yield Check(
            name, Level.FAILED, f"its bundle is refused: {peer.problem}; {stays}", f"see to it on {peer.cluster}"
        )
    elif not peer.trusted:
        why = "it has published no bundle" if peer.sequence is None else "all of its authorities have ended"
        yield Check(name, Level.FAILED, f"not trusted: {why}", f"is the controller of {peer.cluster} running?")
    if peer.trusted:
        yield _peer_expiry(name, peer, report)
        yield _acknowledgement(name, peer, report)


def _peer_expiry(name: str, peer: DomainReport, report: TrustReport) -> Check:
    last = max(peer.authorities, key=lambda one: one.not_after)
    if not _late(last, report):
        return Check(name, Level.OK, f"bundle {peer.sequence} lasts until {_time(last)}")
    return Check(
        name,
        Level.FAILED,
        f"its last authority ends at {_time(last)} and nothing follows it: {_loss(peer)}",
        f"run `federation rotate ca` on {peer.cluster}",
    )


def _acknowledgement(name: str, peer: DomainReport, report: TrustReport) -> Check:
    if peer.acknowledged is None:
        return Check(name, Level.NOTE, "does not say which bundle of ours it has: an older program, or none was heard")
    if report.published is None or peer.acknowledged >= report.published:
        return Check(name, Level.OK, f"verifies us by bundle {peer.acknowledged}")
    held = "none of our bundles" if peer.acknowledged < 0 else f"bundle {peer.acknowledged}"
    since = "" if report.published_at is None else f" since {report.published_at:%Y-%m-%d %H:%M:%SZ}"
    message = f"has {held}, {report.published} is published{since}"
    if peer.state not in _HEARD:
        return Check(name, Level.NOTE, f"{message}; it is not heard ({peer.state})")
    return Check(name, Level.FAILED, message, f"run `federation trust check` on {peer.cluster}: it may refuse ours")


def _would_break(peers: Sequence[DomainReport], report: TrustReport) -> Iterator[Check]:
    deaf = [peer.cluster for peer in peers if peer.trusted and peer.state not in _HEARD]
    behind = [peer.cluster for peer in peers if peer.trusted and peer.state in _HEARD and _is_behind(peer, report)]
    missing = sorted({*deaf, *behind})
    if missing:
        yield Check(
            "if the CA was tainted now",
            Level.NOTE,
            f"{', '.join(missing)} could not verify this cluster until heard again",
            "taint after they are back, unless the key is in wrong hands",
        )
    else:
        yield Check("if the CA was tainted now", Level.OK, "every trusted peer would verify this cluster")
    for peer in peers:
        if peer.trusted and peer.services:
            yield Check(f"if the CA of {peer.cluster} ended", Level.NOTE, _loss(peer))


def _is_behind(peer: DomainReport, report: TrustReport) -> bool:
    return peer.acknowledged is not None and report.published is not None and peer.acknowledged < report.published


def _loss(peer: DomainReport) -> str:
    if not peer.services:
        return "no service here would lose a backend"
    shared = [service for service in peer.services if service not in peer.sole]
    parts = [f"{', '.join(peer.sole)} would have no backend"] if peer.sole else []
    parts += [f"{', '.join(shared)} would lose one of several"] if shared else []
    return "; ".join(parts)


def _late(authority: AuthorityReport, report: TrustReport) -> bool:
    return report.now > authority.not_before + (authority.not_after - authority.not_before) * _LATE


def _time(authority: AuthorityReport) -> str:
    return f"{authority.not_after:%Y-%m-%d %H:%M:%SZ}"
