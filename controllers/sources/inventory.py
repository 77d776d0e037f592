"""The objects of one cluster put together as ClusterState, service by service.

In-memory state without I/O: objects go in and out by identity, and only the services that they speak of are put
together again. Every ClusterState it has given stays as it was.

A namespace that is about to go exports nothing, and is not among those that there are: its workloads may end before its
exports do, or a finalizer may hold something for ever. KEP-1645 leaves it open; callers had better turn away at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from controllers.sources.manifests import ManifestObject, Namespace, ObjectId
from federation.model.names import ServiceKey
from federation.model.state import ClusterState, EndpointSlice, Service, ServiceExport, ServiceState
from federation.model.traffic_policy import TrafficPolicy

_NOTHING = ServiceState()


class Inventory:
    """All valid objects of the cluster, and the ClusterState that they make."""

    def __init__(self) -> None:
        self._objects: dict[ObjectId, ManifestObject] = {}
        self._slices: dict[ServiceKey, dict[str, EndpointSlice]] = {}
        self._services: dict[ServiceKey, ServiceState] = {}
        """What the state has, as a plain dict: a copy of such is quick, however many there are."""
        self._policies: dict[str, dict[str, TrafficPolicy]] = {}
        self._namespaces: Counter[str] = Counter()
        """How many objects are in each, itself included."""
        self._terminating: frozenset[str] = frozenset()
        self._state = ClusterState(MappingProxyType({}))

    @property
    def state(self) -> ClusterState:
        """The same object until something in it changes."""
        return self._state

    def __contains__(self, key: ObjectId) -> bool:
        return key in self._objects

    def apply(self, changes: Mapping[ObjectId, ManifestObject | None]) -> frozenset[ServiceKey]:
        """Put objects in, or take them out (None); returns the services whose state is another by value."""
        touched: set[ServiceKey] = set()
        ruled: set[str] = set()
        for key, value in changes.items():
            before = self._objects.get(key)
            if before == value:
                continue
            if isinstance(before, TrafficPolicy) or isinstance(value, TrafficPolicy):
                ruled.add(key.namespace)
            if before is not None:
                touched |= self._unlink(key, before)
            if value is not None:
                touched |= self._link(key, value)
        changed = {key: service for key in touched if (service := self._service(key)) != self._current(key)}
        if changed:
            # The state that was given keeps the dict that it has.
            self._services = {**self._services, **changed}
            for service_key, service in changed.items():
                if service == _NOTHING:
                    del self._services[service_key]
        namespaces = self._state.namespaces
        if (
            self._namespaces.keys() - self._terminating if self._terminating else self._namespaces.keys()
        ) != namespaces:
            namespaces = frozenset(self._namespaces.keys() - self._terminating)
        policies = self._ruled(ruled) if ruled else self._state.policies
        if changed or namespaces is not self._state.namespaces or policies is not self._state.policies:
            self._state = ClusterState(MappingProxyType(self._services), namespaces, policies)
        return frozenset(changed)

    def _unlink(self, key: ObjectId, value: ManifestObject) -> set[ServiceKey]:
        del self._objects[key]
        namespace = _namespace_of(key)
        self._namespaces[namespace] -= 1
        if not self._namespaces[namespace]:
            del self._namespaces[namespace]
            # Not before: what was in it may be heard to be gone later than it.
            self._terminating -= {namespace}
        match value:
            case Namespace():
                return set()
            case EndpointSlice():
                slices = self._slices[value.service]
                del slices[value.name]
                if not slices:
                    del self._slices[value.service]
                return {value.service}
            case Service() | ServiceExport():
                return {value.key}
            case TrafficPolicy():
                # Which services it concerns, depends on those of other clusters, too: the controller finds out.
                del self._policies[value.namespace][value.name]
                return set()

    def _link(self, key: ObjectId, value: ManifestObject) -> set[ServiceKey]:
        self._objects[key] = value
        self._namespaces[_namespace_of(key)] += 1
        match value:
            case Namespace():
                return self._mark(value)
            case EndpointSlice():
                self._slices.setdefault(value.service, {})[value.name] = value
                return {value.service}
            case Service() | ServiceExport():
                return {value.key}
            case TrafficPolicy():
                self._policies.setdefault(value.namespace, {})[value.name] = value
                return set()

    def _ruled(self, namespaces: set[str]) -> Mapping[str, tuple[TrafficPolicy, ...]]:
        """The policies of all namespaces, after those of some have changed."""
        policies = dict(self._state.policies)
        for namespace in namespaces:
            there = self._policies.get(namespace, {})
            policies[namespace] = tuple(there[name] for name in sorted(there))
            if not there:
                self._policies.pop(namespace, None)
                del policies[namespace]
        return MappingProxyType(policies)

    def _mark(self, namespace: Namespace) -> set[ServiceKey]:
        """Take in whether a namespace is about to go; returns the services in it where that is news."""
        if (namespace.name in self._terminating) is namespace.terminating:
            return set()
        self._terminating ^= {namespace.name}
        return {
            ServiceKey(id_.namespace, id_.name)
            for id_ in self._objects
            if id_.kind == "ServiceExport" and id_.namespace == namespace.name
        }

    def _current(self, key: ServiceKey) -> ServiceState:
        return self._services.get(key, _NOTHING)

    def _service(self, key: ServiceKey) -> ServiceState:
        service = self._objects.get(ObjectId("Service", key.namespace, key.name))
        export = self._objects.get(ObjectId("ServiceExport", key.namespace, key.name))
        slices = self._slices.get(key, {})
        return ServiceState(
            service=service if isinstance(service, Service) else None,
            export=export if isinstance(export, ServiceExport) and key.namespace not in self._terminating else None,
            slices=tuple(slices[name] for name in sorted(slices)),
        )


def _namespace_of(key: ObjectId) -> str:
    """An object can't be in a namespace that doesn't exist, so it proves its own."""
    return key.namespace or key.name
