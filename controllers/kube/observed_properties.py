"""The ClusterProperties that matter here, as they were last told, and in which version they are served.

In-memory state without I/O or clock. Nothing is whole before all was listed: empty is not unknown.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from controllers.kube.observed_objects import WRITER_RESOURCES
from controllers.mcs.cluster_properties import CLUSTER_PROPERTY, CLUSTERSET_PROPERTY, GROUP
from controllers.mcs.objects import Document, Observed, is_terminating, mapping, section, sequence, text, version_of
from controllers.sources.manifests import ObjectId
from controllers.sources.watched_objects import Resource
from federation.model.problems import Problem

_VERSIONS: Final = (f"{GROUP}/v1beta1", f"{GROUP}/v1alpha1")
_PROPERTIES: Final = Resource("ClusterProperty", _VERSIONS, "clusterproperties")
_DEFINITIONS: Final = next(one for one in WRITER_RESOURCES if one.kind == "CustomResourceDefinition")
PROPERTY_RESOURCES: Final = (_DEFINITIONS, _PROPERTIES)
_DEFINITION: Final = f"{_PROPERTIES.plural}.{GROUP}"


class ObservedProperties:
    """What is known of the cluster's properties."""

    def __init__(self) -> None:
        self._unlisted = {*PROPERTY_RESOURCES}
        self._unreadable: dict[Resource, str] = {}
        self._found: dict[ObjectId, Document] = {}
        self.api_version = ""
        """In which they are written; empty where they are not served."""

    @property
    def whole(self) -> bool:
        """Whether all of it is known and current, so that it may be written by."""
        return not self._unlisted and not self._unreadable and bool(self.api_version)

    @property
    def found(self) -> Observed:
        """The two properties that say who the cluster is, those of them that there are."""
        return dict(self._found)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Why they can't be read."""
        if _DEFINITIONS not in self._unlisted and not self.api_version:
            told = (
                f"the cluster has no CRD {_DEFINITION}, so nobody learns from it which cluster this is;"
                " install that of the About API (KEP-2149) if anybody is to"
            )
            return (Problem("ClusterProperty", "NotServed", told),)
        return tuple(
            Problem(resource.plural, "Unreadable", f"{cause}; the cluster's properties stay as they are until then")
            for resource, cause in sorted(self._unreadable.items(), key=lambda one: one[0].plural)
        )

    def replace(self, resource: Resource, items: Iterable[Document]) -> None:
        """Take in a whole list; see ``sources.resource_watch.Objects``, likewise for the others."""
        listed = {text(section(item, "metadata").get("name")): item for item in items}
        if resource == _DEFINITIONS:
            self._define(listed.get(_DEFINITION))
        else:
            self._found = {id_: listed[id_.name] for id_ in _OURS if id_.name in listed}
        self._unlisted.discard(resource)

    def put(self, resource: Resource, item: Document) -> None:
        name = text(section(item, "metadata").get("name"))
        if resource == _DEFINITIONS:
            if name == _DEFINITION:
                self._define(item)
        else:
            self.put_written(item)

    def put_written(self, item: Document) -> None:
        """Take in a property as the answer to a write tells it."""
        id_ = ObjectId("ClusterProperty", "", text(section(item, "metadata").get("name")))
        if id_ in _OURS and not self._is_older(id_, item):
            self._found[id_] = item

    def remove(self, resource: Resource, item: Document) -> None:
        name = text(section(item, "metadata").get("name"))
        if resource == _DEFINITIONS:
            if name == _DEFINITION:
                self._define(None)
        elif not self._is_older(id_ := ObjectId("ClusterProperty", "", name), item):
            self._found.pop(id_, None)

    def mark_unreadable(self, resource: Resource, cause: str) -> None:
        self._unreadable[resource] = cause

    def mark_readable(self, resource: Resource) -> None:
        self._unreadable.pop(resource, None)

    def _define(self, definition: Document | None) -> None:
        served = set()
        if definition is not None and not is_terminating(definition):
            versions = [mapping(one) for one in sequence(section(definition, "spec").get("versions"))]
            served = {f"{GROUP}/{text(one.get('name'))}" for one in versions if one.get("served") is True}
        self.api_version = next((version for version in _VERSIONS if version in served), "")

    def _is_older(self, id_: ObjectId, item: Document) -> bool:
        return id_ in self._found and version_of(item) < version_of(self._found[id_])


_OURS: Final = (CLUSTER_PROPERTY, CLUSTERSET_PROPERTY)
