"""What a TrafficPolicy makes of the localities of an imported port. Pure; ``build`` gives them as without a policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from federation.model.locality import WEIGHT_PER_ENDPOINT, LocalityGroup
from federation.model.names import ClusterId
from federation.model.traffic_policy import Algorithm, HashKey, HashSource, LoadBalancing, TrafficSettings
from federation.model.view import MergedPort, MergedService
from gateway.ir.model import Upstream, UpstreamLocality

_SCALE: Final = 10_000
"""Of weights that a policy states, so that zones of one cluster can share one. A tier of 64 clusters with the greatest
weight stays below Envoy's limit, 4,294,967,295 for a priority."""


def settings_for(settings: TrafficSettings, service: MergedService) -> TrafficSettings:
    """What counts, with the session affinity of the Service put into it where the policy keeps that."""
    balancing = settings.load_balancing
    if not (balancing.service_affinity and service.session_affinity == "ClientIP"):
        return settings
    kept = LoadBalancing(Algorithm.RING_HASH, HashKey(HashSource.SOURCE_ADDRESS), service_affinity=True)
    return replace(settings, load_balancing=kept)


def sheds(service: MergedService, port: MergedPort, own: ClusterId) -> bool:
    """Whether a cluster that may be called refuses calls beyond what it can take."""
    return any(one.capacity and one.cluster in port.clusters and one.cluster != own for one in service.backends)


def with_unready(
    localities: Sequence[UpstreamLocality], own: ClusterId, unready: Mapping[str, Sequence[Upstream]]
) -> tuple[UpstreamLocality, ...]:
    """The own cluster's localities with endpoints that are not ready, as unhealthy: a threshold counts them.

    Without them one ready endpoint of thirty would be all there is, and would get all calls. ``unready`` is by zone. A
    cluster with nothing ready stays out.
    """
    near = {one.zone: one for one in localities if one.cluster == own}
    if not near:
        return tuple(localities)
    any_zone = next(iter(near.values()))
    # While an endpoint moves between slices it is in both, and may be ready in one.
    ready = {upstream for one in near.values() for upstream in one.upstreams}
    found = dict(near)
    for zone, upstreams in unready.items():
        here = found.get(zone, UpstreamLocality(any_zone.priority, own, any_zone.region, zone, ()))
        added = tuple(replace(each, healthy=False) for each in upstreams if each not in ready)
        if added:
            found[zone] = replace(here, upstreams=(*here.upstreams, *added))
    return tuple(sorted((*found.values(), *(one for one in localities if one.cluster != own))))


def weigh(localities: Sequence[UpstreamLocality], groups: Sequence[LocalityGroup]) -> tuple[UpstreamLocality, ...]:
    """The localities with their weights in their priority: as the policy states them, else by what is ready.

    For where a policy orders clusters. Hosts alone can't say it: own endpoints are hosts by themselves, a gateway is
    one host and stands for many.
    """
    by_cluster = {group.cluster: group for group in groups}
    sizes: dict[ClusterId, int] = {}
    for one in localities:
        sizes[one.cluster] = sizes.get(one.cluster, 0) + len(one.upstreams)
    return tuple(
        replace(one, share=_share(by_cluster[one.cluster], len(one.upstreams), sizes[one.cluster]))
        for one in localities
    )


def _share(group: LocalityGroup, part: int, whole: int) -> int:
    total = group.share * _SCALE if group.share else round(group.weight * group.scale * WEIGHT_PER_ENDPOINT)
    return max(1, total * part // whole)
