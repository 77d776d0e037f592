"""Locality: which clusters serve a port for this one, in which order, and how much each counts.

Reads the merged service and where the members are; what it returns becomes Envoy's priorities and weights.
It knows no message of Envoy, which decides at request time what answers; whom it is told to put last it puts last.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from federation.model.names import ClusterId
from federation.model.view import MergedPort, MergedService

MAX_READY = 150_000
"""More ready endpoints than this count as this many: the number of pods Kubernetes supports in one cluster.
It keeps what a peer claims inside Envoy's limit, under which the weights of one locality add up to at most
4,294,967,295."""

WEIGHT_PER_ENDPOINT = 120
"""Weight that one ready endpoint adds. 120 splits evenly over 1 to 6 and 8 gateway addresses, and 150,000
endpoints at 120 each leave room for 238 clusters in one locality."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a cluster is, from its gateway record (our own: from the settings)."""

    cluster: ClusterId
    region: str
    """Empty where unknown; an unknown region is near to nobody."""
    network: str
    """Members that share a network name reach each other's endpoints without a gateway."""


@dataclass(frozen=True, slots=True)
class Shares:
    """How much of its calls a member still takes, in percent, while it is drained; by its gateway record."""

    cluster: int = 100
    """1 to 100, of the calls that are this cluster's turn."""
    addresses: tuple[int, ...] = ()
    """1 to 100, of each gateway beside the others in the order of the record; empty: all alike."""


ALL: Final = Shares()
NO_SHARES: Final[Mapping[ClusterId, Shares]] = MappingProxyType({})
"""Nobody is drained."""


@dataclass(frozen=True, slots=True, order=True)
class LocalityGroup:
    """One cluster among those that serve a port."""

    priority: int
    """0 is tried first; the priorities of one plan have no gaps, which Envoy demands."""
    cluster: ClusterId
    region: str
    weight: int
    """Ready endpoints behind the port, 1 to MAX_READY."""
    scale: Fraction = Fraction(1)
    """What an endpoint of it counts beside those of others: 1 unless a cluster is drained little by little."""
    share: int = 0
    """Weight among those of its priority, as a policy states it; 0: by ``weight``."""


def plan_localities(
    port: MergedPort,
    service: MergedService,
    *,
    own: Site,
    sites: Mapping[ClusterId, Site],
    local_ready: int,
    demoted: Collection[ClusterId] = (),
    shares: Mapping[ClusterId, Shares] = NO_SHARES,
) -> tuple[LocalityGroup, ...]:
    """Order the clusters that back ``port``: our own, those of our region, the others; ties by cluster id.

    ``demoted`` clusters come behind all that are not, in the same order among themselves: where all are demoted nothing
    changes.

    Left out are clusters without a ready endpoint and clusters whose site is unknown (no gateway record, so
    no way to them). Our own counts ``local_ready``, which is newer than what we published; it takes part
    only where it exports the port, since an unexported local service is not part of the clusterset
    (KEP-1645).

    What clusters that are drained by ``shares`` give up goes to the others of their distance in proportion, and where
    all of a distance give up something, to the next: it takes part in their priority for as much as is given up.
    Clusters that are demoted get nothing so.
    """
    ready = {backend.cluster: backend.ready for backend in service.backends}
    ready[own.cluster] = local_ready
    known = {**sites, own.cluster: own}
    serving = [known[cluster] for cluster in port.clusters if cluster in known and ready.get(cluster, 0) > 0]
    ranks = {site.cluster: (site.cluster in demoted, distance(own, site)) for site in serving}
    levels: list[list[LocalityGroup]] = []
    given_up = Fraction(0)
    last_demoted = False
    for step in sorted(set(ranks.values())):
        is_demoted, _ = step
        level = [_group(site, ready, shares) for site in serving if ranks[site.cluster] == step]
        if given_up and is_demoted == last_demoted:
            levels[-1] += _taking(level, given_up)
            given_up = Fraction(0)
        else:
            given_up = sum((group.weight * (1 - group.scale) for group in level), Fraction(0))
            if not all(group.scale < 1 for group in level):
                keeping = [group for group in level if group.scale < 1]
                whole = [group for group in level if group.scale == 1]
                level = [*keeping, *_taking(whole, given_up + sum(group.weight for group in whole))]
                given_up = Fraction(0)
            levels.append(level)
        last_demoted = is_demoted
    return tuple(sorted(replace(group, priority=priority) for priority, level in enumerate(levels) for group in level))


def _taking(groups: Sequence[LocalityGroup], weight: Fraction) -> list[LocalityGroup]:
    """The groups as they count when so much weight in all is theirs."""
    factor = weight / sum(group.weight * group.scale for group in groups)
    return [replace(group, scale=group.scale * factor) for group in groups]


def _group(site: Site, ready: Mapping[ClusterId, int], shares: Mapping[ClusterId, Shares]) -> LocalityGroup:
    share = shares.get(site.cluster, ALL).cluster
    return LocalityGroup(0, site.cluster, site.region, min(ready[site.cluster], MAX_READY), Fraction(share, 100))


def spread_weight(ready: int, addresses: int) -> tuple[int, ...]:
    """Share the weight of one cluster's ``ready`` endpoints among its gateway ``addresses``, one integer
    each.

    The shares add up to exactly ``WEIGHT_PER_ENDPOINT`` × ``ready``, whatever the number of addresses, so
    that clusters of one priority are used in proportion to their endpoints. They differ by at most 1, the
    first addresses getting more. Two bounds bend the sum: ``ready`` counts as 1 to MAX_READY, and no share
    is below 1, Envoy's minimum.
    """
    if addresses < 1:
        return ()
    share, rest = divmod(WEIGHT_PER_ENDPOINT * min(max(ready, 1), MAX_READY), addresses)
    return tuple(max(1, share + (index < rest)) for index in range(addresses))


def drained_weights(weights: Sequence[int], scale: Fraction, shares: Sequence[int]) -> tuple[int, ...]:
    """The ``weights`` of a cluster's gateways as they are while something is drained: in all ``scale`` times as much,
    and each gateway as much as it takes beside the others by its share (percent; none are given: all alike).

    No weight is below 1, Envoy's minimum.
    """
    if not shares:
        return tuple(max(1, round(weight * scale)) for weight in weights)
    fair = scale * sum(weights) / sum(weight * share for weight, share in zip(weights, shares, strict=True))
    return tuple(max(1, round(weight * share * fair)) for weight, share in zip(weights, shares, strict=True))


def rank_clusters(
    service: MergedService, *, own: Site, sites: Mapping[ClusterId, Site], demoted: Collection[ClusterId] = ()
) -> tuple[tuple[ClusterId, ...], ...]:
    """The clusters whose endpoints may be handed out by address, in the order of ``plan_localities``.

    In groups of equal distance, sorted within. Who is not in ``sites`` is left out.
    """
    known = {**sites, own.cluster: own}
    groups: dict[tuple[bool, int], list[ClusterId]] = {}
    for cluster in sorted(backend.cluster for backend in service.backends):
        if cluster in known:
            groups.setdefault((cluster in demoted, distance(own, known[cluster])), []).append(cluster)
    return tuple(tuple(groups[rank]) for rank in sorted(groups))


def nearest_distance(port: MergedPort, *, own: Site, sites: Mapping[ClusterId, Site]) -> int:
    """How far the nearest cluster is that exports ``port``, whether or not anything there is ready (``distance``)."""
    known = {**sites, own.cluster: own}
    return min((distance(own, known[cluster]) for cluster in port.clusters if cluster in known), default=0)


def distance(own: Site, other: Site) -> int:
    """0 for our own cluster, 1 for one of our region, 2 for the others."""
    if other.cluster == own.cluster:
        return 0
    return 1 if own.region and other.region == own.region else 2
