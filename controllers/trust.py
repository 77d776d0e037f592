"""Which peers' bundles are accepted: from the exchange's records and what was accepted before. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from federation.exchange.base import ExchangeSnapshot
from federation.model.names import BUNDLE_KEY, ClusterId
from federation.model.problems import Problem
from federation.model.records import BundleRecord, Member
from trustbundle.bundle import BundleRejected, TrustBundle, TrustView, accept
from trustbundle.identity import TrustDomain


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Whom we trust after looking at every member's bundle."""

    view: TrustView
    trusted: frozenset[ClusterId]
    """Members with at least one authority in force: only they may get traffic."""
    problems: tuple[Problem, ...]


def accept_bundles(
    own: TrustBundle, members: Iterable[Member], peers: ExchangeSnapshot, before: TrustView, now: datetime
) -> Acceptance:
    """Judge the members' bundles, in the order of their cluster ids; a refused one leaves the last good in place."""
    view = TrustView().with_bundle(own)
    trusted: set[ClusterId] = set()
    problems: list[Problem] = []
    for member in sorted(members, key=lambda member: member.cluster):
        previous = before.bundles.get(TrustDomain(member.trust_domain))
        found = peers.members.get(member.cluster)
        record = None if found is None else found.records.get(BUNDLE_KEY)
        bundle = previous if found is not None and record is not None else None
        if isinstance(record, BundleRecord):
            # A member is held against those accepted before it and those accepted earlier: whoever comes first in the
            # alphabet can't take a CA key from whom it belongs to.
            judged = accept(record, member, previous, now, view=TrustView({**before.bundles, **view.bundles}))
            if isinstance(judged, BundleRejected):
                problems.append(Problem(f"bundle of {member.cluster}", judged.reason, judged.message))
            else:
                bundle = judged
        if bundle is not None:
            view = view.with_bundle(bundle)
            if bundle.authorities:
                trusted.add(member.cluster)
    return Acceptance(view, frozenset(trusted), tuple(problems))
