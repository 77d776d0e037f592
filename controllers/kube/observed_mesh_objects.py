"""The objects of a mesh that may be ours, as they were last told, by service. In-memory state without I/O or clock.

A cluster with a mesh has thousands that are not: kept are those that carry our label, and those that have a name of
the kind that ours have, whoever made them. An object belongs to the service that its name says, which nobody can edit.
What belongs to no service belongs to ``SHARED``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from controllers.kube.attribution import Attribution
from controllers.kube.observed_objects import WRITER_RESOURCES
from controllers.mcs.derived_service import key_of
from controllers.mcs.objects import (
    SERVICE_NAME_LABEL,
    Document,
    Observed,
    derived_id,
    id_of,
    is_ours,
    is_terminating,
    section,
    text,
    version_of,
)
from controllers.sources.manifests import ObjectId
from controllers.sources.watched_objects import Resource, trim_managed_fields
from federation.model.names import ServiceKey, parse_service_key
from federation.model.problems import Problem

SHARED: Final = ServiceKey("", "")
"""Stands for the objects that belong to no single service."""

_PREFIX: Final = "federation-"
_SHARED_KINDS: Final = frozenset({"AuthorizationPolicy", "MeshTLSAuthentication"})

# The same as the writer's, so that a shared watch reads them once.
_RESOURCES: Final = {resource.kind: resource for resource in WRITER_RESOURCES}
NAMESPACES: Final = _RESOURCES["Namespace"]
SERVICES: Final = _RESOURCES["Service"]
BASE: Final = (NAMESPACES, SERVICES)


class ObservedMeshObjects:
    """What is known, and which services it is news for."""

    def __init__(self) -> None:
        self._found: dict[Resource, dict[ObjectId, tuple[int, bytes]]] = {}
        """With the version of each."""
        self._services = Attribution()
        self._namespaces: set[str] = set()
        self._changed_namespaces: set[str] = set()
        self.unreadable: dict[Resource, str] = dict.fromkeys(BASE, "they are not followed yet")
        """Why, of the resources that are followed and can't be read at the moment."""

    @property
    def whole(self) -> bool:
        """Whether all of it is known and current, so that it may be written by."""
        return not self.unreadable

    @property
    def namespaces(self) -> frozenset[str]:
        """Those that exist and are not about to go."""
        return frozenset(self._namespaces)

    @property
    def keys(self) -> frozenset[ServiceKey]:
        """The services that have any object, a derived Service at least."""
        return self._services.keys

    def problems(self) -> tuple[Problem, ...]:
        """What can't be read at the moment."""
        return tuple(
            sorted(
                Problem(resource.plural, "Unreadable", f"{cause}; objects of the mesh stay as they are until then")
                for resource, cause in self.unreadable.items()
                if resource not in BASE
            )
        )

    def derived(self, key: ServiceKey) -> Observed:
        """The derived Service, for whoever renders."""
        return self._whole([derived_id(key)])

    def of(self, key: ServiceKey, names: Iterable[ObjectId]) -> Observed:
        """The objects of a mesh that belong to a service, or to ``SHARED``, and whatever has one of these names."""
        return self._whole({*names, *(id_ for id_ in self._services.of(key) if id_.kind != "Service")})

    def take_changed(self, known: Iterable[ServiceKey]) -> set[ServiceKey]:
        """The services that there was news for since this was last asked; ``known`` are those besides ``keys``."""
        found = self._services.take_changed()
        if self._changed_namespaces:
            found |= {key for key in {*known, *self.keys} if key.namespace in self._changed_namespaces}
            found.add(SHARED)
            self._changed_namespaces = set()
        return found

    def forget(self, resource: Resource) -> None:
        """It is followed no more."""
        self.unreadable.pop(resource, None)
        for id_ in tuple(self._found.get(resource, {})):
            self._drop(resource, id_)
        self._found.pop(resource, None)

    def replace(self, resource: Resource, items: Iterable[Document]) -> None:
        """See ``sources.resource_watch.Objects``; likewise the others."""
        listed = tuple(items)
        ids = {id_of(item, resource.kind) for item in listed}
        if resource == NAMESPACES:
            for gone in self._namespaces - {id_.name for id_ in ids}:
                self._mark_namespace(gone, there=False)
        for id_ in tuple(self._found.get(resource, {}).keys() - ids):
            self._drop(resource, id_)
        for item in listed:
            self.put(resource, item)

    def put(self, resource: Resource, item: Document) -> None:
        id_ = id_of(item, resource.kind)
        if resource == NAMESPACES:
            self._mark_namespace(id_.name, there=not is_terminating(item))
        elif not _is_looked_at(id_, item):
            self._drop(resource, id_)
        else:
            self._keep(resource, id_, item)

    def put_written(self, kind: str, item: Document) -> None:
        """Take in an object as the answer to a write tells it."""
        version = text(item.get("apiVersion"))
        resource = next((one for one in self._found if (one.kind, one.api_versions[0]) == (kind, version)), None)
        if resource is not None:
            self.put(resource, item)

    def remove(self, resource: Resource, item: Document) -> None:
        id_ = id_of(item, resource.kind)
        if resource == NAMESPACES:
            self._mark_namespace(id_.name, there=False)
        elif version_of(item) >= self._found.get(resource, {}).get(id_, (0, b""))[0]:
            self._drop(resource, id_)

    def mark_unreadable(self, resource: Resource, cause: str) -> None:
        self._found.setdefault(resource, {})
        self.unreadable[resource] = cause

    def mark_readable(self, resource: Resource) -> None:
        self.unreadable.pop(resource, None)

    def _mark_namespace(self, name: str, *, there: bool) -> None:
        if there != (name in self._namespaces):
            (self._namespaces.add if there else self._namespaces.discard)(name)
            self._changed_namespaces.add(name)

    def _keep(self, resource: Resource, id_: ObjectId, item: Document) -> None:
        objects, version = self._found.setdefault(resource, {}), version_of(item)
        if version and version <= objects.get(id_, (0, b""))[0]:
            return
        named = {"apiVersion": resource.api_versions[0], "kind": resource.kind, **trim_managed_fields(item)}
        objects[id_] = (version, msgspec.json.encode(named))
        self._services.assign(id_, _service_of(id_, item))

    def _drop(self, resource: Resource, id_: ObjectId) -> None:
        if self._found.get(resource, {}).pop(id_, None) is not None:
            self._services.assign(id_, None)

    def _whole(self, ids: Iterable[ObjectId]) -> Observed:
        return {
            id_: msgspec.json.decode(kept[1], type=dict[str, object])
            for id_ in ids
            for objects in self._found.values()
            if (kept := objects.get(id_)) is not None
        }


def _is_looked_at(id_: ObjectId, item: Document) -> bool:
    match id_.kind:
        case "Service":
            return _derived_of(id_, item) is not None
        case "EndpointSlice":
            return is_ours(id_.kind, item)
        case _:
            return is_ours(id_.kind, item) or id_.name.startswith(_PREFIX)


def _service_of(id_: ObjectId, item: Document) -> ServiceKey | None:
    if id_.kind in _SHARED_KINDS:
        return SHARED
    if id_.kind == "Service":
        return _derived_of(id_, item)
    if id_.kind == "EndpointSlice":
        return _parsed(key_of(item))
    # A dot in what follows the service's name tells it from that of a service of another name.
    name = id_.name.removeprefix(_PREFIX).partition(".")[0] if id_.name.startswith(_PREFIX) else ""
    name = name or text(section(item, "metadata", "labels").get(SERVICE_NAME_LABEL))
    return _parsed(f"{id_.namespace}/{name}")


def _derived_of(id_: ObjectId, item: Document) -> ServiceKey | None:
    key = _parsed(key_of(item))
    # One that says another service than its name does tells nothing.
    return key if key is not None and derived_id(key) == id_ else None


def _parsed(told: str) -> ServiceKey | None:
    try:
        return parse_service_key(told)
    except ValueError:
        return None
