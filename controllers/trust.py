"""Whom we trust and who can verify us: from the exchange's records and what was accepted before. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from controllers.liveness import State, Verdict
from federation.exchange.base import ExchangeSnapshot, MemberSnapshot
from federation.model.names import BUNDLE_KEY, TRUST_KEY, ClusterId
from federation.model.problems import Problem
from federation.model.records import BundleRecord, Member, TrustRecord
from gateway.xds.status import StreamStatus
from trustbundle.bundle import BundleRejected, Claims, TrustBundle, TrustView, accept
from trustbundle.identity import TrustDomain

_HEARD = frozenset({State.LIVE, State.UNREACHABLE})
_MUTE = frozenset({State.BLIND, State.UNHEARD, State.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Whom we trust after looking at every member's bundle."""

    view: TrustView
    trusted: frozenset[ClusterId]
    """Members with at least one authority in force: only they may get traffic."""
    claims: Claims
    """Which CA keys belong to whom: to be kept, over restarts too, and given to the next judgement."""
    problems: tuple[Problem, ...]


def accept_bundles(
    own: TrustBundle,
    members: Iterable[Member],
    peers: ExchangeSnapshot,
    before: TrustView,
    claims: Claims,
    now: datetime,
) -> Acceptance:
    """Judge the members' bundles, in the order of their cluster ids; a refused one leaves the last good in place.

    ``claims`` are those of the judgement before: who came first with a CA key has it as long as it is a member, until
    an accepted bundle of it has it no more. Whoever comes first in the alphabet can't take it, nor can a restart.
    """
    view = TrustView().with_bundle(own)
    by_cluster = sorted(members, key=lambda member: member.cluster)
    domains = {member.cluster: TrustDomain(member.trust_domain) for member in by_cluster}
    kept = {domain: claims[domain] for domain in domains.values() if domain in claims}
    kept[own.trust_domain] = own.keys
    trusted: set[ClusterId] = set()
    problems: list[Problem] = []
    for member in by_cluster:
        domain = domains[member.cluster]
        previous = before.bundles.get(domain)
        found = peers.members.get(member.cluster)
        record = None if found is None else found.records.get(BUNDLE_KEY)
        bundle = previous if found is not None and record is not None else None
        if isinstance(record, BundleRecord):
            judged = accept(record, member, previous, now, claims=kept)
            if isinstance(judged, BundleRejected):
                problems.append(Problem(f"bundle of {member.cluster}", judged.reason, judged.message))
            else:
                bundle, kept[domain] = judged, judged.keys
        if bundle is not None:
            view = view.with_bundle(bundle)
            if bundle.authorities:
                trusted.add(member.cluster)
    return Acceptance(view, frozenset(trusted), kept, tuple(problems))


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Who verifies by a bundle of ours of some sequence, or a later one."""

    lacking: tuple[ClusterId, ...] = ()
    """Trusted peers that are heard, and say that they have none of it yet."""
    unknown: tuple[ClusterId, ...] = ()
    """Trusted peers that don't say (older programs) or can't be heard now: time has to tell."""


def acknowledged(
    domain: str,
    sequence: int,
    peers: ExchangeSnapshot,
    verdicts: Mapping[ClusterId, Verdict],
    trusted: Collection[ClusterId],
) -> Acknowledgement:
    """Who of the trusted peers has our bundle (of trust domain ``domain``) of this sequence. The dead and those that
    never came are waited for by nobody."""
    lacking: list[ClusterId] = []
    unknown: list[ClusterId] = []
    for cluster, member in sorted(peers.members.items()):
        if cluster not in trusted:
            continue
        state = verdicts[cluster].state if cluster in verdicts else State.UNKNOWN
        held = acknowledged_sequence(domain, member)
        if held is not None and held >= sequence:
            continue
        if state in _MUTE or (state in _HEARD and held is None):
            unknown.append(cluster)
        elif state in _HEARD:
            lacking.append(cluster)
    return Acknowledgement(tuple(lacking), tuple(unknown))


def acknowledged_sequence(domain: str, member: MemberSnapshot) -> int | None:
    """The sequence of the bundle of ``domain`` that a member verifies by: -1 for none, None where it doesn't say."""
    record = member.records.get(TRUST_KEY)
    return dict(record.accepted).get(domain, -1) if isinstance(record, TrustRecord) else None


def held_sequences(view: TrustView, own: str) -> tuple[tuple[str, int], ...]:
    """Trust domain and sequence of every bundle but the own one: what there is to acknowledge."""
    return tuple(sorted((str(name), bundle.sequence) for name, bundle in view.bundles.items() if name != own))


def lagging(streams: Iterable[StreamStatus], wanted: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
    """The connected nodes that have not accepted a secret as it now is. ``wanted``: by node, its secrets' versions;
    what a node never asked for is nothing that it lacks."""
    behind = {
        stream.node
        for stream in streams
        for kind in stream.types
        for name, version in kind.taken.items()
        if name in (now := wanted.get(stream.node, {})) and version != now[name]
    }
    return tuple(sorted(behind))
