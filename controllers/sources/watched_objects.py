"""The objects of a Kubernetes cluster as they were last told, judged, and the state that they make.

In-memory state without I/O or clock: lists and events go in, SourceUpdates come out. What it promises:

- Nothing comes out before every resource was listed whole once: empty is not unknown.
- A list takes the place of all that was known of its resource, at once; a list cut short never gets here.
- A bad object harms itself only: its last good version stays in use, and the problem says so.
- A resource that can't be read leaves what was last read of it in use, and is a problem.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Final

from controllers.mcs.objects import FIELD_MANAGER, Document, is_ours, is_terminating, mapping, section, sequence
from controllers.sources.base import SourceUpdate
from controllers.sources.inventory import Inventory
from controllers.sources.manifests import Manifest, ManifestObject, Namespace, ObjectId, parse_manifests
from controllers.sources.pod_accounts import INJECTED_LABEL, PodAccounts, trim_pod
from controllers.sources.slice_bodies import SERVICE_LABEL
from federation.model.names import ServiceKey
from federation.model.problems import Problem
from federation.model.traffic_policy import API_VERSION as POLICY_VERSION
from federation.model.traffic_policy import KIND as TRAFFIC_POLICY

_by_order = attrgetter("subject", "reason", "message", "path")


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of the API that is read."""

    kind: str
    api_versions: tuple[str, ...]
    """Any of them shows the same objects; the first that is served is read."""
    plural: str
    label_selector: str = ""
    trim: Callable[[Document], Document] | None = None
    """Takes from an object what nobody looks at, before a list of thousands is whole."""
    field_selector: str = ""
    """``metadata.name=...`` where a role allows one name only."""
    optional: bool = False
    """Whether a cluster may lack it: one whose definitions are of an older release is not waited for."""

    def path(self, api_version: str) -> str:
        """Where all objects of the cluster are, in every namespace."""
        root = "/apis" if "/" in api_version else "/api"
        return f"{root}/{api_version}/{self.plural}"


def trim_managed_fields(document: Document) -> Document:
    """An object without who manages its fields, which is half of it; what this program manages is kept."""
    metadata = section(document, "metadata")
    ours = [one for one in sequence(metadata.get("managedFields")) if mapping(one).get("manager") == FIELD_MANAGER]
    return {**document, "metadata": {**metadata, "managedFields": ours}}


RESOURCES: Final = (
    Resource("Namespace", ("v1",), "namespaces", trim=trim_managed_fields),
    Resource("Service", ("v1",), "services", trim=trim_managed_fields),
    # Those that belong to a Service of this cluster; ours, which tell of other clusters, lack the label.
    Resource("EndpointSlice", ("discovery.k8s.io/v1",), "endpointslices", SERVICE_LABEL, trim_managed_fields),
    Resource(
        "ServiceExport",
        ("multicluster.x-k8s.io/v1beta1", "multicluster.x-k8s.io/v1alpha1"),
        "serviceexports",
        trim=trim_managed_fields,
    ),
    Resource(TRAFFIC_POLICY, (POLICY_VERSION,), "trafficpolicies", trim=trim_managed_fields, optional=True),
)


PODS: Final = Resource("Pod", ("v1",), "pods", f"{INJECTED_LABEL}=true", trim_pod)
"""Read besides ``RESOURCES`` where pods get sidecars: whose identity they have."""


class WatchedObjects:
    """What is known of the resources, and the ClusterState that it makes."""

    def __init__(self, resources: Iterable[Resource] = RESOURCES) -> None:
        self._unlisted = set(resources)
        self._known: dict[Resource, set[ObjectId]] = {resource: set() for resource in self._unlisted}
        self._pods = PodAccounts()
        self._inventory = Inventory()
        self._pending: dict[ObjectId, ManifestObject | None] = {}
        self._faults: dict[ObjectId, tuple[Problem, ...]] = {}
        """By object, of those that are bad at the moment."""
        self._unreadable: dict[Resource, str] = {}
        self._last: SourceUpdate | None = None

    def replace(self, resource: Resource, items: Iterable[Document]) -> None:
        """Take in a whole list."""
        if resource == PODS:
            self._pending |= self._pods.replace(items)
            self._unlisted.discard(resource)
            return
        listed = {found for item in items if (found := self._take(resource, item)) is not None}
        for gone in self._known[resource] - listed:
            self._remove(gone)
        self._known[resource] = listed
        self._unlisted.discard(resource)

    def put(self, resource: Resource, item: Document) -> None:
        """Take in an object that is new or another."""
        if resource == PODS:
            self._pending |= self._pods.put(item)
        elif (found := self._take(resource, item)) is not None:
            self._known[resource].add(found)

    def remove(self, resource: Resource, item: Document) -> None:
        """Take in that an object is gone."""
        if resource == PODS:
            self._pods.remove(item)
        elif (found := _parse(resource, item).id) is not None:
            self._known[resource].discard(found)
            self._remove(found)

    def mark_unreadable(self, resource: Resource, cause: str) -> None:
        """Take in that the resource can't be read at the moment."""
        self._unreadable[resource] = cause

    def mark_readable(self, resource: Resource) -> None:
        """Take in that the resource is read again."""
        self._unreadable.pop(resource, None)

    def update(self) -> SourceUpdate | None:
        """The update, if there is news; nothing before every resource was listed."""
        if self._unlisted:
            return None
        changed: frozenset[ServiceKey] = self._inventory.apply(self._pending)
        self._pending = {}
        problems = self._problems()
        last, state = self._last, self._inventory.state
        if last is not None and last.state is state and last.problems == problems:
            return None
        self._last = SourceUpdate(state, changed, problems)
        return self._last

    def _take(self, resource: Resource, item: Document) -> ObjectId | None:
        """Judge an object; returns which it is, None for one that is as good as gone, or does not say.

        An export that was deleted and waits for somebody's finalizer exports nothing. A derived Service is what this
        program makes of an import, and nothing that the cluster has of its own.
        """
        manifest = _parse(resource, item)
        if manifest.id is None:
            return None
        if is_ours(manifest.id.kind, item) or (manifest.id.kind == "ServiceExport" and is_terminating(item)):
            self._remove(manifest.id)
            return None
        self._faults.pop(manifest.id, None)
        if manifest.value is None:
            self._faults[manifest.id] = manifest.problems
        else:
            value = manifest.value
            if isinstance(value, Namespace) and is_terminating(item):
                value = replace(value, terminating=True)
            self._pending[manifest.id] = self._pods.told(manifest.id, value)
        return manifest.id

    def _remove(self, gone: ObjectId) -> None:
        self._faults.pop(gone, None)
        self._pending[gone] = self._pods.told(gone, None)

    def _problems(self) -> tuple[Problem, ...]:
        found = [problem for problems in self._faults.values() for problem in problems]
        found += [
            Problem(str(key), "LastGoodInUse", "the last good version stays in use")
            for key in self._faults
            if key in self._inventory
        ]
        found += [
            Problem(resource.plural, "Unreadable", f"{cause}; what was last read of them stays in use")
            for resource, cause in self._unreadable.items()
        ]
        return tuple(sorted(found, key=_by_order))


def _parse(resource: Resource, item: Document) -> Manifest:
    # The items of a list don't say what they are, the list does; in what version it was read makes no difference.
    (manifest,) = parse_manifests({**item, "apiVersion": resource.api_versions[0], "kind": resource.kind})
    return manifest
