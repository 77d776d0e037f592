"""What of the cluster tells which mesh it has, as it was last told. In-memory state without I/O or clock.

Few objects are kept: definitions of meshes, which are large and so kept as JSON, namespaces that name a network, and
what a control plane is known by. Which resources there are to read follows from the definitions: in a cluster without
any mesh nothing more is read than anyway.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from controllers.kube.observed_objects import WRITER_RESOURCES
from controllers.mcs.objects import Document, Observed, id_of, is_terminating, section
from controllers.mesh.detect import MeshKind, config_name, has_definitions, is_definition
from controllers.sources.manifests import ObjectId
from controllers.sources.watched_objects import Resource, trim_managed_fields

# The same as the writer's, so that a shared watch reads them once.
_SHARED: Final = {resource.kind: resource for resource in WRITER_RESOURCES}
BASE: Final = (_SHARED["CustomResourceDefinition"], _SHARED["Namespace"])
ISTIODS: Final = Resource("Deployment", ("apps/v1",), "deployments", "app=istiod", trim_managed_fields)

_NETWORK_LABEL: Final = "topology.istio.io/network"


def config_map(name: str) -> Resource:
    """The ConfigMaps of one name, in whatever namespace the mesh is."""
    return Resource(
        "ConfigMap", ("v1",), "configmaps", trim=trim_managed_fields, field_selector=f"metadata.name={name}"
    )


class MeshFacts:
    """What is known, by resource."""

    def __init__(self) -> None:
        self._found: dict[Resource, dict[ObjectId, tuple[object, bytes]]] = {}
        self.unreadable: dict[Resource, str] = {}
        """Why, of the resources that are followed and can't be read at the moment."""
        self.changed = True
        """Whether there is news since ``observed`` was asked for."""

    @property
    def whole(self) -> bool:
        """Whether all that is followed is known and current."""
        return not self.unreadable

    def observed(self) -> Observed:
        """For ``mesh.detect``."""
        self.changed = False
        found = (one for objects in self._found.values() for one in objects.items())
        return {id_: msgspec.json.decode(content, type=dict[str, object]) for id_, (_, content) in found}

    def forget(self, resource: Resource) -> None:
        """It is followed no more."""
        self.unreadable.pop(resource, None)
        self.changed |= self._found.pop(resource, None) is not None

    def replace(self, resource: Resource, items: Iterable[Document]) -> None:
        """See ``sources.resource_watch.Objects``; likewise the others."""
        listed = tuple(items)
        gone = self._found.get(resource, {}).keys() - {id_of(item, resource.kind) for item in listed}
        for id_ in gone:
            self._drop(resource, id_)
        for item in listed:
            self.put(resource, item)

    def put(self, resource: Resource, item: Document) -> None:
        id_, version = id_of(item, resource.kind), section(item, "metadata").get("resourceVersion")
        if not _is_looked_at(id_, item):
            self._drop(resource, id_)
            return
        objects = self._found.setdefault(resource, {})
        if id_ not in objects or objects[id_][0] != version:
            objects[id_] = (version, msgspec.json.encode(item))
            self.changed = True

    def remove(self, resource: Resource, item: Document) -> None:
        self._drop(resource, id_of(item, resource.kind))

    def mark_unreadable(self, resource: Resource, cause: str) -> None:
        self.changed |= resource not in self.unreadable
        self.unreadable[resource] = cause

    def mark_readable(self, resource: Resource) -> None:
        self.changed |= self.unreadable.pop(resource, None) is not None

    def _drop(self, resource: Resource, id_: ObjectId) -> None:
        self.changed |= self._found.get(resource, {}).pop(id_, None) is not None


def wanted_facts(observed: Observed) -> tuple[Resource, ...]:
    """What must be read to tell the mesh of a cluster that is known so far."""
    wanted = list(BASE)
    if has_definitions(MeshKind.ISTIO, observed):
        wanted += [ISTIODS, *(config_map(name) for name in sorted({"istio", config_name(observed)}))]
    if has_definitions(MeshKind.LINKERD, observed):
        wanted.append(config_map("linkerd-config"))
    return tuple(wanted)


def _is_looked_at(id_: ObjectId, item: Document) -> bool:
    match id_.kind:
        case "CustomResourceDefinition":
            return is_definition(id_.name) and not is_terminating(item)
        case "Namespace":
            return _NETWORK_LABEL in section(item, "metadata", "labels")
        case _:
            return True
