"""Flat networks: members of one network call each other's sidecars by address, with no gateway between. Pure.

What of a service travels for it are the addresses of its sidecars; who is of another network doesn't look at them. Who
may be called, as whom, and in which order is the same as by gateways.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from federation.model.locality import WEIGHT_PER_ENDPOINT, Site
from federation.model.records import MAX_DIRECT, DirectEndpoint
from federation.model.view import MergedPort, MergedService
from gateway.ir.model import Upstream

_MAX_NAMES: Final = 4 * MAX_DIRECT
"""Names of ports in all endpoints of a service together: what keeps a record below its limit."""


def shares_network(own: Site, other: Site | None) -> bool:
    """Whether the workloads of two clusters reach each other."""
    return other is not None and own.network != "" and own.network == other.network


def direct_endpoints(sidecars: Mapping[str, Mapping[str, Iterable[Upstream]]]) -> tuple[DirectEndpoint, ...]:
    """What members of the same network are told of a service, from its ready sidecars by port name and zone.

    Nothing where there are too many: then it is called through the gateways, as by all others.
    """
    names: dict[tuple[str, int, str], set[str]] = {}
    for name, zones in sidecars.items():
        for zone, upstreams in zones.items():
            for upstream in upstreams:
                names.setdefault((upstream.address, upstream.port, zone), set()).add(name)
    if len(names) > MAX_DIRECT or sum(map(len, names.values())) > _MAX_NAMES:
        return ()
    return tuple(
        DirectEndpoint(address, port, zone, tuple(sorted(found)))
        for (address, port, zone), found in sorted(names.items())
    )


def direct_upstreams(
    service: MergedService, port: MergedPort, own: Site, other: Site | None
) -> dict[str, tuple[Upstream, ...]]:
    """The sidecars of another cluster behind a port, by zone; empty where they are to be called by its gateways."""
    if other is None or not shares_network(own, other):
        return {}
    zones: dict[str, set[Upstream]] = {}
    for backend in service.backends:
        if backend.cluster != other.cluster:
            continue
        for item in backend.direct:
            if port.name in item.ports:
                zones.setdefault(item.zone, set()).add(Upstream(item.address, item.port, WEIGHT_PER_ENDPOINT))
    return {zone: tuple(sorted(zones[zone])) for zone in sorted(zones)}
