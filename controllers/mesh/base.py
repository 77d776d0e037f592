"""MeshAdapter: what renders the objects of a local mesh of another make, so that its sidecars call the federation.

An adapter is pure: it decides what there is to be, as ``mcs.desired`` does for the MCS API's objects; observing them,
writing what differs and deleting what is no longer stated is the writer's part. Adapters know nothing of one another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Protocol

from controllers.mcs.objects import Apply, Observed, derived_id, section, texts
from controllers.projection import ServiceResult, Surroundings
from controllers.sources.watched_objects import Resource
from federation.model.names import ServiceKey
from federation.model.problems import Problem
from federation.model.state import ServiceState

Anchors = Mapping[str, tuple[bytes, ...]]
"""CA certificates (DER) by trust domain: the accepted bundles of the peers, without the own cluster's."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """Objects as they are to be, and what can't be had of them."""

    applied: tuple[Apply, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Whole:
    """What the objects that belong to no single service follow from."""

    results: Mapping[ServiceKey, ServiceResult]
    services: Mapping[ServiceKey, ServiceState]
    """The own cluster's."""
    around: Surroundings
    anchors: Anchors = field(default_factory=dict)


class MeshAdapter(Protocol):
    """One mesh, as it was detected in the cluster."""

    @property
    def name(self) -> str:
        """``istio`` or ``linkerd``."""

    @property
    def resources(self) -> tuple[Resource, ...]:
        """The kinds that it writes. All of their objects must be observed, not ours alone: one of somebody else that
        has the name of ours must be seen."""

    @property
    def derived_annotations(self) -> Mapping[str, str]:
        """Annotations that every derived Service must carry beside its own."""

    def objects(
        self,
        key: ServiceKey,
        result: ServiceResult | None,
        local: ServiceState,
        observed: Observed,
        around: Surroundings,
    ) -> Rendered:
        """The objects of one service; none where nobody exports it. ``observed`` holds its derived Service."""

    def shared(self, whole: Whole) -> Rendered:
        """The objects that belong to no single service, and what the mesh as a whole lacks."""


def clusterset_ips(key: ServiceKey, observed: Observed) -> tuple[str, ...]:
    """The addresses that the API server gave to the derived Service; none where it has none (yet)."""
    return tuple(ip for ip in texts(section(observed.get(derived_id(key)), "spec").get("clusterIPs")) if _is_ip(ip))


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
