"""A Kubernetes cluster in memory as the controller's writes meet it: real rules of apply, no HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from controllers.mcs.objects import FIELD_MANAGER, Observed
from controllers.mcs.plan import Plan
from controllers.sources.manifests import ObjectId
from support.builders import CREATED
from support.kube.admission import Admission
from support.kube.crds import resource_of
from support.kube.housekeeping import CRDS, NAMESPACES, Housekeeping
from support.kube.kinds import Catalog, ResourceType
from support.kube.objects import GroupResource, Json, Key
from support.kube.patches import APPLY_PATCH
from support.kube.registry import Registry, Write
from support.kube.server import multicluster_definitions
from support.kube.services import CLUSTER_IPS, ServiceAddresses
from support.kube.store import Store

RESOURCES: dict[str, GroupResource] = {
    "ClusterProperty": ("about.k8s.io", "clusterproperties"),
    "EndpointSlice": ("discovery.k8s.io", "endpointslices"),
    "Service": ("", "services"),
    "ServiceExport": ("multicluster.x-k8s.io", "serviceexports"),
    "ServiceImport": ("multicluster.x-k8s.io", "serviceimports"),
}


class McsCluster:
    """Objects of the kinds that we write, with all that an API server does to them."""

    def __init__(
        self,
        *namespaces: str,
        dual_stack: bool = False,
        clock: Callable[[], datetime] = lambda: CREATED,
        definitions: Iterable[Json] = (),
    ) -> None:
        """``definitions`` are of more kinds that we write: a mesh's."""
        self._store = Store()
        self._reactions: list[Callable[[], None]] = []
        addresses = ServiceAddresses(CLUSTER_IPS if dual_stack else CLUSTER_IPS[:1])
        self.registry = Registry(self._store, Catalog(), Admission(addresses), clock)
        Housekeeping(self.registry, self._reactions.append, lambda _: None)
        for namespace in ("default", *namespaces):
            self.registry.create_system(NAMESPACES, "", {"metadata": {"name": namespace}})
        self._resources = dict(RESOURCES)
        for definition in (*multicluster_definitions(), *definitions):
            self.registry.create_system(CRDS, "", definition)
            self._resources[definition["spec"]["names"]["kind"]] = resource_of(definition)
        self._settle()

    def observe(self) -> Observed:
        """All objects there are of our kinds."""
        return {
            ObjectId(kind, key.namespace, key.name): {**body, "kind": kind}
            for kind, resource in self._resources.items()
            for key, body in self._store.objects(resource).items()
        }

    def carry_out(self, plan: Plan) -> None:
        """Make the writes of a plan, in its order; raises what an API server would answer to a wrong one."""
        for apply in plan.applied:
            kind = self._kind(apply.id.kind, str(apply.document["apiVersion"]))
            write = Write(FIELD_MANAGER, force=True, validation="Strict", subresource=apply.subresource)
            self.registry.patch(kind, _key(apply.id), APPLY_PATCH, apply.document, write)
            self._settle()
        for delete in plan.deleted:
            preconditions = {"uid": delete.uid, "resourceVersion": delete.resource_version}
            self.registry.delete(self._kind(delete.id.kind), _key(delete.id), {"preconditions": preconditions})
            self._settle()

    def create(self, kind: str, namespace: str, body: Json) -> None:
        """An object that somebody else makes."""
        stored = self._kind(kind)
        whole = {"apiVersion": stored.api_version, "kind": stored.kind, **body}
        self.registry.create(stored, namespace, whole, Write("kubectl"))
        self._settle()

    def edit(self, id_: ObjectId, patch: Json) -> None:
        """Somebody edits an object by hand (a merge patch), whoever owns the fields."""
        media_type = "application/merge-patch+json"
        self.registry.patch(self._kind(id_.kind), _key(id_), media_type, patch, Write("kubectl"))
        self._settle()

    def delete(self, id_: ObjectId, **options: Any) -> None:
        """Somebody deletes an object by hand."""
        self.registry.delete(self._kind(id_.kind), _key(id_), options)
        self._settle()

    def _kind(self, kind: str, api_version: str = "") -> ResourceType:
        served = (one for one in self.registry.catalog.all() if one.resource == self._resources[kind])
        found = next((one for one in served if api_version in {"", one.api_version}), None)
        assert found is not None, f"{kind} is not served in {api_version}"
        return found

    def _settle(self) -> None:
        while self._reactions:
            self._reactions.pop(0)()


def _key(id_: ObjectId) -> Key:
    return Key(id_.namespace, id_.name)
