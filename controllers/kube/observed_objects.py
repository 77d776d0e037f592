"""The objects that the writer looks at, as they were last told, by service. In-memory state without I/O or clock.

Unlike ``sources.watched_objects`` it judges nothing and keeps documents as they came: what is written depends on every
field that is ours. Only entries of ``managedFields`` that are not ours are dropped, which are half of an object. Those
of services are kept as compressed JSON: most of thousands are not looked at for days.

- Nothing is whole before every resource was listed, nor while one can't be read: empty is not unknown.
- What a write was answered with counts at once; an event that is older is ignored.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from controllers.kube.attribution import Attribution
from controllers.mcs.derived_service import key_of
from controllers.mcs.objects import (
    MANAGED_BY,
    MANAGER,
    MCS_GROUP,
    SERVICE_NAME_LABEL,
    Document,
    Observed,
    derived_id,
    export_id,
    id_of,
    import_id,
    is_terminating,
    section,
    text,
    version_number,
)
from controllers.mcs.served_api import ServedApi, parse_served_api
from controllers.sources.manifests import ObjectId
from controllers.sources.watched_objects import Resource, trim_managed_fields
from federation.model.names import ServiceKey, is_dns_label
from federation.model.problems import Problem

_MCS_VERSIONS: Final = (f"{MCS_GROUP}/v1beta1", f"{MCS_GROUP}/v1alpha1")
_SLICES: Final = f"{MANAGED_BY['EndpointSlice']}={MANAGER}"

WRITER_RESOURCES: Final = (
    Resource(
        "CustomResourceDefinition", ("apiextensions.k8s.io/v1",), "customresourcedefinitions", trim=trim_managed_fields
    ),
    Resource("Namespace", ("v1",), "namespaces", trim=trim_managed_fields),
    Resource("ServiceExport", _MCS_VERSIONS, "serviceexports", trim=trim_managed_fields),
    Resource("ServiceImport", _MCS_VERSIONS, "serviceimports", trim=trim_managed_fields),
    # All of them: one of somebody else that has the name of ours must be seen. Few are kept.
    Resource("Service", ("v1",), "services", trim=trim_managed_fields),
    Resource("EndpointSlice", ("discovery.k8s.io/v1",), "endpointslices", _SLICES, trim_managed_fields),
)
_WINDOW: Final = -13
"""Raw deflate over 8 KiB: enough for an object and the one before it, and quick to set up."""
_DERIVED: Final = derived_id(ServiceKey("x", "x")).name.partition("-")[0] + "-"


@dataclass(frozen=True, slots=True)
class _Kept:
    """One object, as it was told."""

    uid: object
    version: object
    content: bytes
    """Packed; empty where the object itself is kept elsewhere, or only that it is there."""


class _Packing:
    """Documents of one kind in few bytes. They are all alike, so the first one serves as the dictionary of the others:
    a tenth of their JSON is left, which is a sixth of what they take as values."""

    def __init__(self) -> None:
        self._like = b""

    def packed(self, document: Document) -> bytes:
        content = msgspec.json.encode(document)
        self._like = self._like or content
        deflate = zlib.compressobj(level=1, wbits=_WINDOW, memLevel=5, zdict=self._like)
        return deflate.compress(content) + deflate.flush()

    def whole(self, packed: bytes) -> Document:
        content = zlib.decompressobj(wbits=_WINDOW, zdict=self._like).decompress(packed)
        return msgspec.json.decode(content, type=dict[str, object])


class ObservedObjects:
    """What is known of the cluster, and which services it is news for."""

    def __init__(self, resources: Iterable[Resource] = WRITER_RESOURCES) -> None:
        self._unlisted = set(resources)
        self._resources = {resource.kind: resource for resource in self._unlisted}
        self._unreadable: dict[Resource, str] = {}
        self._objects: dict[str, dict[ObjectId, _Kept]] = {kind: {} for kind in self._resources}
        self._packing = {kind: _Packing() for kind in self._resources}
        self._definitions: dict[str, Document] = {}
        self._namespaces: set[str] = set()
        self._services = Attribution()
        self._changed_namespaces: set[str] = set()
        self._all_changed = True
        self.api: ServedApi | None = None
        """None while the MCS API is not served: nothing can be written then."""
        self.namespaces: frozenset[str] = frozenset()
        """Those that exist and are not about to go."""

    @property
    def whole(self) -> bool:
        """Whether all of it is known and current, so that it may be written by."""
        return not self._unlisted and not self._unreadable and self.api is not None

    @property
    def keys(self) -> frozenset[ServiceKey]:
        """The services that have any object."""
        return self._services.keys

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What can't be read at the moment."""
        return tuple(
            sorted(
                Problem(resource.plural, "Unreadable", f"{cause}; nothing is written until they are read")
                for resource, cause in self._unreadable.items()
            )
        )

    def of(self, key: ServiceKey) -> Observed:
        """The objects of one service, and whatever has a name that one of them would have."""
        ids = {*self._services.of(key), import_id(key), export_id(key), derived_id(key)}
        return {
            id_: self._packing[id_.kind].whole(found.content)
            for id_ in ids
            if (found := self._objects[id_.kind].get(id_)) is not None
        }

    def __contains__(self, id_: ObjectId) -> bool:
        return id_ in self._objects[id_.kind]

    def take_changed(self, known: Iterable[ServiceKey]) -> set[ServiceKey]:
        """The services that there was news for since this was last asked; ``known`` are those besides ``keys``."""
        if self._all_changed or self._changed_namespaces:
            everybody = {*known, *self.keys}
            self._services.mark(
                key for key in everybody if self._all_changed or key.namespace in self._changed_namespaces
            )
        self._all_changed = False
        self._changed_namespaces = set()
        return self._services.take_changed()

    def replace(self, resource: Resource, items: Iterable[Document]) -> None:
        """Take in a whole list."""
        listed = set()
        # One at a time: together they would take more room than all that is kept of them.
        for item in items:
            if (id_ := _id(resource.kind, item)) is not None:
                self._keep(id_, item)
                listed.add(id_)
        for id_ in self._objects[resource.kind].keys() - listed:
            self._forget(id_)
        self._unlisted.discard(resource)
        self._summarize(resource.kind)

    def put(self, resource: Resource, item: Document) -> None:
        """Take in an object that is new or another."""
        self.put_written(resource.kind, item)
        self._summarize(resource.kind)

    def put_written(self, kind: str, item: Document) -> None:
        """Take in an object as the answer to a write tells it."""
        id_ = _id(kind, item)
        if id_ is not None and not self._is_older(id_, item):
            self._keep(id_, item)

    def remove(self, resource: Resource, item: Document) -> None:
        """Take in that an object is gone."""
        id_ = _id(resource.kind, item)
        if id_ is not None and not self._is_older(id_, item):
            self._forget(id_)
            self._summarize(resource.kind)

    def mark_unreadable(self, resource: Resource, cause: str) -> None:
        """Take in that the resource can't be read at the moment."""
        self._unreadable[resource] = cause

    def mark_readable(self, resource: Resource) -> None:
        """Take in that the resource is read again."""
        self._unreadable.pop(resource, None)

    def _keep(self, id_: ObjectId, item: Document) -> None:
        if not _is_looked_at(id_, item):
            self._forget(id_)
            return
        before = self._objects[id_.kind].get(id_)
        metadata = section(item, "metadata")
        uid, version = metadata.get("uid"), metadata.get("resourceVersion")
        if before is not None and (before.uid, before.version) == (uid, version):
            return
        content = b""
        match id_.kind:
            case "CustomResourceDefinition":
                self._definitions[id_.name] = item
            case "Namespace":
                (self._namespaces.discard if is_terminating(item) else self._namespaces.add)(id_.name)
            case _:
                content = self._packing[id_.kind].packed(_named(self._resources[id_.kind], item))
        self._objects[id_.kind][id_] = _Kept(uid, version, content)
        self._services.assign(id_, _service_of(id_, item))

    def _forget(self, id_: ObjectId) -> None:
        if self._objects[id_.kind].pop(id_, None) is not None:
            match id_.kind:
                case "CustomResourceDefinition":
                    self._definitions.pop(id_.name, None)
                case "Namespace":
                    self._namespaces.discard(id_.name)
            self._services.assign(id_, None)

    def _is_older(self, id_: ObjectId, item: Document) -> bool:
        known = self._objects[id_.kind].get(id_)
        version = section(item, "metadata").get("resourceVersion")
        return known is not None and version_number(version) < version_number(known.version)

    def _summarize(self, kind: str) -> None:
        if kind == "Namespace" and self._namespaces != self.namespaces:
            self._changed_namespaces |= self._namespaces ^ self.namespaces
            self.namespaces = frozenset(self._namespaces)
        if kind == "CustomResourceDefinition":
            api = parse_served_api(item for item in self._definitions.values() if not is_terminating(item))
            self._all_changed |= api != self.api
            self.api = api


def _id(kind: str, item: Document) -> ObjectId | None:
    found = id_of(item, kind)
    return found if found.name else None


def _is_looked_at(id_: ObjectId, item: Document) -> bool:
    match id_.kind:
        case "Service":
            return id_.name.startswith(_DERIVED)
        case "CustomResourceDefinition":
            return section(item, "spec").get("group") == MCS_GROUP
        case _:
            return True


def _service_of(id_: ObjectId, item: Document) -> ServiceKey | None:
    match id_.kind:
        case "ServiceImport" | "ServiceExport":
            name = id_.name
        case "EndpointSlice":
            name = text(section(item, "metadata", "labels").get(SERVICE_NAME_LABEL))
        case "Service":
            name = key_of(item).removeprefix(f"{id_.namespace}/")
        case _:
            return None
    if not (is_dns_label(name) and is_dns_label(id_.namespace)):
        return None
    key = ServiceKey(id_.namespace, name)
    # A derived Service that says another service than its name does tells nothing.
    return key if id_.kind != "Service" or derived_id(key) == id_ else None


def _named(resource: Resource, item: Document) -> Document:
    """In a list of a built-in kind the items don't say what they are; what is stated does."""
    return {"apiVersion": resource.api_versions[0], "kind": resource.kind, **trim_managed_fields(item)}
