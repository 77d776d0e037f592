"""TrustReport: whose authorities are in force here, until when, and who verifies by which bundle of ours. Pure.

Built from what the other parts hold; nothing here flows back. `federation trust` prints it, `trust_checks` judges it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

from controllers.expiry import life_of
from controllers.liveness import UNJUDGED, Verdict
from controllers.projection import ServiceResult
from controllers.trust import Acknowledgement, acknowledged_sequence
from federation.exchange.base import ExchangeSnapshot
from federation.model.names import ClusterId, ServiceKey
from federation.model.problems import Problem
from federation.model.records import Member
from trustbundle.bundle import TrustBundle, TrustView
from trustbundle.identity import TrustDomain
from trustbundle.rotation import CaSlot, CaState


class AuthorityReport(msgspec.Struct, frozen=True, rename="camel"):
    """One CA certificate of a bundle."""

    id: str
    """The beginning of the certificate's SHA-256."""
    state: str
    """Of the own CA: ``signing``, ``next``, ``old`` or ``tainted``; otherwise ``accepted``."""
    not_before: datetime
    not_after: datetime


class RotationReport(msgspec.Struct, frozen=True, rename="camel"):
    """Where the life of the own CA stands."""

    step: str
    """What happens now: ``none``; ``prepare`` (a next CA is made), ``publish`` (the exchange is waited for),
    ``acknowledge`` (peers and nodes are waited for), ``wait`` (for its time, until it signs), ``reissue`` (nodes are
    waited for, before the tainted CA is gone)."""
    waiting_for: tuple[str, ...] = ()
    """The peers or nodes."""


class DomainReport(msgspec.Struct, frozen=True, rename="camel"):
    """One trust domain."""

    trust_domain: str
    cluster: str
    own: bool
    source: str
    """Where its bundle comes from."""
    trusted: bool
    sequence: int | None = None
    """Of the bundle in force; None where there is none."""
    authorities: tuple[AuthorityReport, ...] = ()
    state: str = ""
    """Of a peer: a controllers.liveness.State."""
    problem: str = ""
    """Why its newest bundle is not in force; empty where it is."""
    acknowledged: int | None = None
    """Of a peer: the sequence of our bundle that it verifies by, -1 for none; None where it doesn't say."""
    services: tuple[str, ...] = ()
    """Of a peer: services here that it backs."""
    sole: tuple[str, ...] = ()
    """Those of them that nobody else backs."""


class TrustReport(msgspec.Struct, frozen=True, rename="camel"):
    """The trust of one cluster."""

    cluster: str
    now: datetime
    published: int | None
    """Newest sequence of the own bundle that the exchange is known to hold."""
    published_at: datetime | None
    rotation: RotationReport
    soonest_leaf: datetime | None
    """When the first certificate of a node ends; None where no node has one."""
    domains: tuple[DomainReport, ...]
    """The own first, then by cluster."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What a report is made of, at one moment."""

    cluster: ClusterId
    own: TrustBundle
    source: str
    state: CaState | None
    """None where the CA is elsewhere."""
    view: TrustView
    members: Iterable[Member]
    peers: ExchangeSnapshot
    verdicts: Mapping[ClusterId, Verdict]
    trusted: frozenset[ClusterId]
    problems: tuple[Problem, ...]
    """Bundles that were refused."""
    services: Mapping[ServiceKey, ServiceResult]
    awaited: Acknowledgement
    lagging: tuple[str, ...]
    """Nodes that have not accepted their newest certificate or the newest bundles."""
    published: int | None
    published_at: datetime | None
    soonest_leaf: datetime | None
    now: datetime


def trust_report(trust: Trust) -> TrustReport:
    """The report of what is in force now."""
    return TrustReport(
        cluster=trust.cluster,
        now=trust.now,
        published=trust.published,
        published_at=trust.published_at,
        rotation=_rotation(trust),
        soonest_leaf=trust.soonest_leaf,
        domains=(_own(trust), *_peers(trust)),
    )


def _own(trust: Trust) -> DomainReport:
    return DomainReport(
        trust_domain=str(trust.own.trust_domain),
        cluster=trust.cluster,
        own=True,
        source=trust.source,
        trusted=True,
        sequence=trust.own.sequence,
        authorities=_accepted(trust.own) if trust.state is None else tuple(_slots(trust.state)),
    )


def _slots(state: CaState) -> Iterator[AuthorityReport]:
    for slot in state.slots:
        word = "signing" if slot is state.current else "next" if slot is state.next else "old"
        if slot.revoked_at is not None:
            word = "tainted"
        yield AuthorityReport(slot.short_id, word, slot.not_before, slot.not_after)


def _accepted(bundle: TrustBundle) -> tuple[AuthorityReport, ...]:
    lives = (life_of(authority) for authority in bundle.authorities)
    return tuple(AuthorityReport(life.id, "accepted", life.not_before, life.not_after) for life in lives)


def _peers(trust: Trust) -> Iterator[DomainReport]:
    backers = _backers(trust.services)
    refused = {problem.subject: str(problem) for problem in trust.problems}
    for member in sorted(trust.members, key=lambda member: member.cluster):
        cluster = member.cluster
        bundle = trust.view.bundles.get(TrustDomain(member.trust_domain))
        snapshot = trust.peers.members.get(cluster)
        backed = [key for key, clusters in sorted(backers.items()) if cluster in clusters]
        yield DomainReport(
            trust_domain=member.trust_domain,
            cluster=cluster,
            own=False,
            source="exchange",
            trusted=cluster in trust.trusted,
            sequence=None if bundle is None else bundle.sequence,
            authorities=() if bundle is None else _accepted(bundle),
            state=trust.verdicts.get(cluster, UNJUDGED).state,
            problem=refused.get(f"bundle of {cluster}", ""),
            acknowledged=None if snapshot is None else acknowledged_sequence(str(trust.own.trust_domain), snapshot),
            services=tuple(map(str, backed)),
            sole=tuple(str(key) for key in backed if backers[key] == {cluster}),
        )


def _backers(services: Mapping[ServiceKey, ServiceResult]) -> dict[ServiceKey, set[ClusterId]]:
    """Who has ready endpoints of each imported service."""
    return {
        key: {backend.cluster for backend in result.merged.backends if backend.ready}
        for key, result in services.items()
        if result.merged is not None
    }


def _rotation(trust: Trust) -> RotationReport:
    state = trust.state
    if state is None:
        return RotationReport("none")
    if any(_is_leaving(slot) for slot in state.old):
        return RotationReport("reissue", trust.lagging)
    if state.next is None:
        return RotationReport("none" if state.rotation_requested_at is None else "prepare")
    if state.next.published_at is None:
        return RotationReport("publish")
    missing = (*trust.awaited.lacking, *(trust.awaited.unknown if state.urgent else ()), *trust.lagging)
    return RotationReport("acknowledge" if missing else "wait", missing)


def _is_leaving(slot: CaSlot) -> bool:
    return slot.revoked_at is not None


def own_seconds_left(report: TrustReport) -> dict[str, float]:
    """Life left of the own CAs, by state; of several in one state, the one that ends first."""
    found: dict[str, float] = {}
    for authority in report.domains[0].authorities:
        left = (authority.not_after - report.now).total_seconds()
        found[authority.state] = min(left, found.get(authority.state, left))
    return found


def peers_seconds_left(report: TrustReport) -> dict[str, float]:
    """By cluster, how long until the last authority of its bundle ends."""
    return {
        domain.cluster: (max(one.not_after for one in domain.authorities) - report.now).total_seconds()
        for domain in report.domains
        if domain.authorities and not domain.own
    }


def peers_acknowledged(report: TrustReport) -> dict[str, int]:
    """By cluster, the sequence of our bundle that it verifies by, where it says."""
    return {domain.cluster: domain.acknowledged for domain in report.domains if domain.acknowledged is not None}
