"""The order of a failover policy: which clusters are called together, which after those, and in what proportion. Pure.

Takes the plan that holds without a policy (``locality``) and moves its clusters. What is demoted stays behind all that
is not, whatever a policy says: it is known not to answer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from federation.model.locality import LocalityGroup, Site
from federation.model.names import ClusterId
from federation.model.traffic_policy import Failover, Scope, Tier, Unlisted


def order_groups(
    groups: Sequence[LocalityGroup], failover: Failover, *, own: Site, demoted: Collection[ClusterId] = ()
) -> tuple[LocalityGroup, ...]:
    """The clusters of ``groups`` by the tiers of ``failover``; priorities without gaps.

    A cluster is in the first tier that has it. One with weight 0 is as if no tier had it.
    """
    if not failover.order:
        return tuple(groups)
    ranked: list[tuple[tuple[bool, int], int, LocalityGroup]] = []
    for group in groups:
        tier, share = _place(group, failover.order, own)
        if tier is None and failover.unlisted is Unlisted.NEVER:
            continue
        # Priorities of the plan tell distances apart, once demoted ones are compared with one another alone.
        rank = len(failover.order) + group.priority if tier is None else tier
        ranked.append(((group.cluster in demoted, rank), share, group))
    ranks = sorted({rank for rank, _, _ in ranked})
    return tuple(sorted(replace(group, priority=ranks.index(rank), share=share) for rank, share, group in ranked))


def weigh_by_capacity(
    groups: Sequence[LocalityGroup], capacities: Mapping[ClusterId, int]
) -> tuple[LocalityGroup, ...]:
    """The groups, those of a priority weighed by what they can take where all of them say so.

    ``capacities`` are of one ready endpoint each; 0: it is not said, and then all count by what is ready, since the two
    can't be compared.
    """
    silent = {group.priority for group in groups if not capacities.get(group.cluster)}
    most = {
        priority: max(capacities[group.cluster] for group in groups if group.priority == priority)
        for priority in {group.priority for group in groups} - silent
    }
    return tuple(
        replace(group, scale=group.scale * Fraction(capacities[group.cluster], most[group.priority]))
        if group.priority in most
        else group
        for group in groups
    )


def _place(group: LocalityGroup, order: Sequence[Tier], own: Site) -> tuple[int | None, int]:
    """Tier and share of a cluster; a share of 0 is by what is ready."""
    rest: int | None = None
    for index, tier in enumerate(order):
        for share in tier.clusters:
            if share.cluster == group.cluster and share.weight != 0:
                return index, share.weight or 0
        if tier.region and tier.region == group.region:
            return index, 0
        if tier.scope is Scope.OTHERS:
            rest = index if rest is None else rest
        elif tier.scope is not None and _is_near(group, tier.scope, own):
            return index, 0
    return rest, 0


def _is_near(group: LocalityGroup, scope: Scope, own: Site) -> bool:
    if group.cluster == own.cluster:
        return True
    return scope is Scope.OWN_REGION and bool(own.region) and group.region == own.region
