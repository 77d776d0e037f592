"""The objects of one cluster put together as ClusterState, service by service.

In-memory state without I/O: objects go in and out by identity, and only the services that they speak of are put
together again. Every ClusterState it has given stays as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from controllers.sources.manifests import ManifestObject, Namespace, ObjectId
from federation.model.names import ServiceKey
from federation.model.state import ClusterState, EndpointSlice, Service, ServiceExport, ServiceState

_NOTHING = ServiceState()


class Inventory:
    """All valid objects of the cluster, and the ClusterState that they make."""

    def __init__(self) -> None:
        self._objects: dict[ObjectId, ManifestObject] = {}
        self._slices: dict[ServiceKey, dict[str, EndpointSlice]] = {}
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
        membership_changed = False
        for key, value in changes.items():
            before = self._objects.pop(key, None)
            membership_changed |= (before is None) is not (value is None)
            if before is not None:
                touched |= self._unlink(before)
            if value is not None:
                self._objects[key] = value
                touched |= self._link(value)
        changed = {key: service for key in touched if (service := self._service(key)) != self._current(key)}
        if changed:
            services = {**self._state.services, **changed}
            for service_key, service in changed.items():
                if service == _NOTHING:
                    del services[service_key]
            self._state = ClusterState(MappingProxyType(services), self._state.namespaces)
        if membership_changed and (namespaces := self._namespaces()) != self._state.namespaces:
            self._state = ClusterState(self._state.services, namespaces)
        return frozenset(changed)

    def _unlink(self, value: ManifestObject) -> set[ServiceKey]:
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

    def _link(self, value: ManifestObject) -> set[ServiceKey]:
        match value:
            case Namespace():
                return set()
            case EndpointSlice():
                self._slices.setdefault(value.service, {})[value.name] = value
                return {value.service}
            case Service() | ServiceExport():
                return {value.key}

    def _current(self, key: ServiceKey) -> ServiceState:
        return self._state.services.get(key, _NOTHING)

    def _service(self, key: ServiceKey) -> ServiceState:
        service = self._objects.get(ObjectId("Service", key.namespace, key.name))
        export = self._objects.get(ObjectId("ServiceExport", key.namespace, key.name))
        slices = self._slices.get(key, {})
        return ServiceState(
            service=service if isinstance(service, Service) else None,
            export=export if isinstance(export, ServiceExport) else None,
            slices=tuple(slices[name] for name in sorted(slices)),
        )

    def _namespaces(self) -> frozenset[str]:
        # An object can't be in a namespace that doesn't exist, so it proves its own.
        return frozenset(key.namespace or key.name for key in self._objects)
