"""All objects of one service as they are to be in this cluster: the parts of this package put together. Pure.

Slices refer to the import by its uid, and the import's clusterset IP is the one that the API server gave the derived
Service. So a service needs a few rounds of observing and writing until nothing is left to write; each round is sound
in itself, and none takes away what the rounds before it gave.

Empty is not unknown: the import of a cluster that was not read yet, for the exchange has lost it and this process never
had it, stays with its address (KEP-1645: a service that can't be reached is imported still). Endpoints that nobody
knows go.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from controllers.mcs.derived_service import Allocation, allocation, derived_service
from controllers.mcs.endpoint_slices import endpoint_slices, slice_groups
from controllers.mcs.export_status import Publication, export_conditions, export_status
from controllers.mcs.objects import (
    Apply,
    Observed,
    derived_id,
    export_id,
    import_id,
)
from controllers.mcs.owned_fields import is_ours_to_write
from controllers.mcs.served_api import ServedApi
from controllers.mcs.service_import import (
    build_import,
    import_reference,
    import_spec,
    import_status,
    recorded_clusters,
    unknown_status,
)
from controllers.projection import ServiceResult, Surroundings
from controllers.sources.manifests import ObjectId
from federation.model.names import ClusterId, ServiceKey
from federation.model.problems import Problem
from federation.model.records import ImportType
from federation.model.state import ServiceState
from federation.model.view import MergedService


@dataclass(frozen=True, slots=True)
class KubernetesCluster:
    """What is known of the cluster that the objects are for."""

    namespaces: frozenset[str]
    """Those that exist and are not about to go."""
    api: ServedApi
    """As its CRDs say: what their schemas lack must not be stated, or it would be written for ever."""
    ip_families: tuple[str, ...] = ("IPv4",)
    """Families that its Services may have."""
    taken: frozenset[str] = frozenset()
    """Clusterset IPs that were asked for again and that the API server has given to others."""
    derived_annotations: Mapping[str, str] | None = field(default_factory=dict)
    """What every derived Service must carry for the local mesh; None while it is not known whether there is one."""


@dataclass(frozen=True, slots=True)
class DesiredObjects:
    """What one service is to have, and what of it can't be had."""

    applied: tuple[Apply, ...]
    problems: tuple[Problem, ...] = ()
    kept: frozenset[ObjectId] = frozenset()
    """What is to stay as it is, if it is there."""


def desired_objects(
    key: ServiceKey,
    result: ServiceResult | None,
    local: ServiceState,
    observed: Observed,
    *,
    around: Surroundings,
    cluster: KubernetesCluster,
    publication: Publication,
    noted: Sequence[Problem] = (),
    unread: Collection[ClusterId] = frozenset(),
    now: datetime,
) -> DesiredObjects:
    """The objects of ``key``, given those of its objects that were observed.

    ``result`` is None where nobody exports it; ``noted`` is what the source found wrong about its objects, and
    ``unread`` are the members of whom it is not known what they export.
    """
    if key.namespace not in cluster.namespaces:
        return DesiredObjects(())
    applied: list[Apply] = []
    problems: tuple[Problem, ...] = ()
    if (export := observed.get(export_id(key))) is not None:
        conditions = export_conditions(key, result, publication, noted)
        applied.append(export_status(key, export, conditions, api_version=cluster.api.version, now=now))
    kept: frozenset[ObjectId] = frozenset()
    known = observed.get(import_id(key))
    unknown = frozenset(unread).intersection(recorded_clusters(known))
    if result is not None and result.merged is not None:
        objects, problems = _imported(result.merged, local, observed, around, cluster, unknown, now)
        applied += objects
    elif known is not None and unknown and is_ours_to_write(import_id(key), known):
        kept = frozenset({import_id(key), derived_id(key)})
        applied.append(unknown_status(key, known, api_version=cluster.api.version))
    return DesiredObjects(tuple(cluster.api.prune(one) for one in applied), problems, kept)


def _imported(
    merged: MergedService,
    local: ServiceState,
    observed: Observed,
    around: Surroundings,
    cluster: KubernetesCluster,
    unknown: frozenset[ClusterId],
    now: datetime,
) -> tuple[tuple[Apply, ...], tuple[Problem, ...]]:
    version = cluster.api.version
    service_import, derived = observed.get(import_id(merged.key)), observed.get(derived_id(merged.key))
    if merged.type is ImportType.HEADLESS or not merged.ports:
        allocated = Allocation((), ())
    else:
        allocated = allocation(
            merged.ip_families or cluster.ip_families[:1],
            supported=cluster.ip_families,
            derived=derived,
            service_import=service_import,
            taken=cluster.taken,
        )
    built, problems = build_import(merged, allocated)
    stated = import_spec(built, api_version=version)
    if service_import is not None and not is_ours_to_write(stated.id, service_import):
        # The plan says so; what would belong to the import has no place beside one of somebody else.
        return (stated,), problems
    owner = None if service_import is None else import_reference(merged.key, service_import, api_version=version)
    slices = tuple(endpoint_slices(merged.key, slice_groups(merged, local, around), owner, observed))
    status = import_status(built, service_import, slices=bool(slices), unknown=unknown, api_version=version, now=now)
    if not allocated.families:
        return (stated, *slices, status), problems
    service = derived_service(merged, allocated, derived, cluster.derived_annotations)
    return (stated, service, *slices, status), problems
