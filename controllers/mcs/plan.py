"""Plan: the writes that make what is observed what is desired. Pure, and the only place that decides to delete.

It writes only what differs in fields that are ours, deletes only what carries our managed-by, and touches nothing in a
namespace that is gone: there the API server deletes, and refuses to create. Objects of others that have a name of ours
are left alone and told of. Applied and observed again, a plan leaves nothing to do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from controllers.mcs.objects import (
    Apply,
    Delete,
    Document,
    Observed,
    is_ours,
    is_terminating,
    section,
    text,
    uid_of,
)
from controllers.mcs.owned_fields import is_ours_to_write, needs_write
from controllers.sources.manifests import ObjectId
from federation.model.problems import Problem

# What others refer to, or have the address of, comes first and goes last; endpoints are there before those that they
# replace go.
_ORDER: Final[Mapping[str, int]] = {
    "ClusterProperty": 0,
    "Service": 1,
    "ServiceImport": 2,
    "EndpointSlice": 3,
    "ServiceExport": 4,
    # A mesh's: who finds an entry calls by its rule.
    "MeshTLSAuthentication": 5,
    "AuthorizationPolicy": 6,
    "DestinationRule": 7,
    "ServiceEntry": 8,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """Writes in the order in which they are to be made."""

    applied: tuple[Apply, ...] = ()
    deleted: tuple[Delete, ...] = ()
    """After all that is applied."""
    problems: tuple[Problem, ...] = ()

    @property
    def empty(self) -> bool:
        return not (self.applied or self.deleted)


def plan_writes(
    observed: Observed,
    desired: Iterable[Apply],
    *,
    namespaces: Collection[str],
    kept: Collection[ObjectId] = frozenset(),
) -> Plan:
    """The writes for the objects in ``observed``, which must be all of ours in the plan's scope (one service's, or all
    of the cluster's) and whatever else has the name of a desired one. Those that are ``kept`` are not deleted, though
    nothing is stated of them."""
    wanted = [one for one in desired if not one.id.namespace or one.id.namespace in namespaces]
    foreign = {
        one.id for one in wanted if (found := observed.get(one.id)) is not None and not is_ours_to_write(one.id, found)
    }
    applied = [
        one
        for one in wanted
        if one.id not in foreign
        and not _going(observed.get(one.id))
        and needs_write(observed.get(one.id), one.document, one.subresource)
    ]
    keep = {*kept, *(one.id for one in wanted)}
    deleted = [
        Delete(id_, uid_of(found), text(section(found, "metadata").get("resourceVersion")))
        for id_, found in observed.items()
        if id_ not in keep
        and (not id_.namespace or id_.namespace in namespaces)
        and is_ours(id_.kind, found)
        and not is_terminating(found)
    ]
    return Plan(
        tuple(sorted(applied, key=lambda one: (one.subresource != "", _ORDER[one.id.kind], one.id))),
        tuple(sorted(deleted, key=lambda one: (-_ORDER[one.id.kind], one.id))),
        tuple(_not_ours(id_) for id_ in sorted(foreign)),
    )


def _going(found: Document | None) -> bool:
    return found is not None and is_terminating(found)


def _not_ours(id_: ObjectId) -> Problem:
    return Problem(
        str(id_), "NotOurs", "is left as it is: it was made by somebody else, and has the name that ours would have"
    )
