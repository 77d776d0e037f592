"""A cluster as tests see and change it beside what they test: the same on the stand-in and on a real API server.

Nothing here is asked of the client under test: on the stand-in it goes behind the API, on a real server it asks as the
administrator. Reading and writing block, also on a real server, which answers from a process of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Protocol
from urllib.parse import urlencode

from support.kube.api import Audited
from support.kube.authorization import GROUP as RBAC
from support.kube.housekeeping import NAMESPACES
from support.kube.kinds import ResourceType
from support.kube.objects import GroupResource, Json, Key
from support.kube.real import RealServer
from support.kube.registry import Write
from support.kube.server import FIRST_NAMESPACES, StandIn

SOMEBODY = "kubectl"
MERGE = "application/merge-patch+json"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

_LOCATIONS: Mapping[GroupResource, tuple[str, str]] = {
    NAMESPACES: ("v1", "Namespace"),
    ("", "nodes"): ("v1", "Node"),
    ("", "pods"): ("v1", "Pod"),
    ("", "events"): ("v1", "Event"),
    ("", "services"): ("v1", "Service"),
    ("discovery.k8s.io", "endpointslices"): ("discovery.k8s.io/v1", "EndpointSlice"),
    ("multicluster.x-k8s.io", "serviceexports"): ("multicluster.x-k8s.io/v1beta1", "ServiceExport"),
    ("multicluster.x-k8s.io", "serviceimports"): ("multicluster.x-k8s.io/v1beta1", "ServiceImport"),
    ("about.k8s.io", "clusterproperties"): ("about.k8s.io/v1beta1", "ClusterProperty"),
    ("coordination.k8s.io", "leases"): ("coordination.k8s.io/v1", "Lease"),
    (RBAC, "clusterroles"): (f"{RBAC}/v1", "ClusterRole"),
    (RBAC, "clusterrolebindings"): (f"{RBAC}/v1", "ClusterRoleBinding"),
}
"""API version and kind of what tests look at and change."""
_CLUSTER_WIDE = {
    NAMESPACES,
    ("", "nodes"),
    ("about.k8s.io", "clusterproperties"),
    (RBAC, "clusterroles"),
    (RBAC, "clusterrolebindings"),
}
_ALL = Key("", "")
_ITS_OWN = Key("default", "kubernetes")
"""The Service of the API server itself, and its slice."""


class Cluster(Protocol):
    """What tests do in a cluster."""

    server: StandIn | RealServer

    @property
    def has_controllers(self) -> bool:
        """Whether somebody empties namespaces and collects garbage."""

    def objects(self, resource: GroupResource) -> dict[Key, Json]:
        """All there are, but those that the API server makes for itself."""

    def create(self, resource: GroupResource, namespace: str, body: Json) -> None: ...

    def patch(self, resource: GroupResource, key: Key, patch: Json, subresource: str = "") -> None:
        """Merge patch, by hand."""

    def delete(self, resource: GroupResource, key: Key) -> None: ...

    async def vanish(self, *, hang: bool = False) -> None:
        """Let the API server be gone; or, with ``hang``, take everything and answer nothing."""

    async def come_back(self) -> None: ...

    async def forget(self) -> None:
        """End all watches, and let none go on from where it was: whoever watches must list again."""

    async def delete_definition(self, name: str) -> Json:
        """Delete a CRD with all its objects; returns it."""

    async def restore_definition(self, definition: Json) -> None:
        """The CRD again, as a new one."""


class StandInCluster:
    has_controllers = True

    def __init__(self, server: StandIn) -> None:
        self.server = server

    def objects(self, resource: GroupResource) -> dict[Key, Json]:
        return self.server.objects(resource)

    def create(self, resource: GroupResource, namespace: str, body: Json) -> None:
        kind = self._kind(resource)
        whole = {**body, "apiVersion": kind.api_version, "kind": kind.kind}
        self.server.registry.create(kind, namespace, whole, Write(SOMEBODY))

    def patch(self, resource: GroupResource, key: Key, patch: Json, subresource: str = "") -> None:
        write = Write(SOMEBODY, subresource=subresource)
        kind = self._kind(resource)
        whole = {**patch, "apiVersion": kind.api_version, "kind": kind.kind}
        self.server.registry.patch(kind, key, MERGE, whole, write)

    def delete(self, resource: GroupResource, key: Key) -> None:
        self.server.registry.delete(self._kind(resource), key, {})

    async def vanish(self, *, hang: bool = False) -> None:
        await self.server.vanish(hang=hang)

    async def come_back(self) -> None:
        await self.server.come_back()

    async def forget(self) -> None:
        self.server.compact()
        self.server.drop_watches()

    async def delete_definition(self, name: str) -> Json:
        return await self.server.delete_definition(name)

    async def restore_definition(self, definition: Json) -> None:
        await self.server.restore_definition(definition)

    def _kind(self, resource: GroupResource) -> ResourceType:
        """In the version that is looked at, or in what there is."""
        version, _ = _LOCATIONS[resource]
        served = [one for one in self.server.registry.catalog.all() if one.resource == resource]
        return next((one for one in served if one.api_version == version), served[0])


class RealCluster:
    """On a server that lives for the whole run: ``emptied`` takes away what a test made."""

    def __init__(self, server: RealServer) -> None:
        self.server = server

    @property
    def has_controllers(self) -> bool:
        return self.server.has_controllers

    def objects(self, resource: GroupResource) -> dict[Key, Json]:
        found = self.server.ask("GET", _path(resource), accept=(HTTPStatus.OK, HTTPStatus.NOT_FOUND)).get("items") or []
        keyed = {Key(one["metadata"].get("namespace", ""), one["metadata"]["name"]): one for one in found}
        return {key: one for key, one in keyed.items() if key != _ITS_OWN}

    def create(self, resource: GroupResource, namespace: str, body: Json) -> None:
        version, kind = _LOCATIONS[resource]
        whole = {"apiVersion": version, "kind": kind, **body}
        self.server.ask("POST", _path(resource, Key(namespace, "")) + f"?{_BY_HAND}", whole)

    def patch(self, resource: GroupResource, key: Key, patch: Json, subresource: str = "") -> None:
        path = _path(resource, key) + (f"/{subresource}" if subresource else "")
        self.server.ask("PATCH", f"{path}?{_BY_HAND}", patch, media=MERGE)

    def delete(self, resource: GroupResource, key: Key) -> None:
        self.server.ask("DELETE", _path(resource, key))

    async def vanish(self, *, hang: bool = False) -> None:
        if hang:
            self.server.freeze()
        else:
            self.server.kill()

    async def come_back(self) -> None:
        await asyncio.to_thread(self.server.come_back)

    async def forget(self) -> None:
        self.server.kill()
        await self.come_back()

    async def delete_definition(self, name: str) -> Json:
        path = f"{DEFINITIONS}/{name}"
        definition = self.server.ask("DELETE", path)
        while self.server.ask("GET", path, accept=(HTTPStatus.OK, HTTPStatus.NOT_FOUND))["kind"] != "Status":
            await asyncio.sleep(0.05)
        return definition

    async def restore_definition(self, definition: Json) -> None:
        kept = {
            name: definition["metadata"][name] for name in ("name", "annotations") if name in definition["metadata"]
        }
        await asyncio.to_thread(self.server.install, {**definition, "metadata": kept, "status": None})

    def empty(self) -> None:
        """Take away all that tests made of what is looked at here, and their namespaces."""
        for resource in _LOCATIONS:
            if resource in {NAMESPACES, (RBAC, "clusterroles"), (RBAC, "clusterrolebindings")}:
                continue
            for key in self.objects(resource):
                self._remove(_path(resource, key))
        for resource in ((RBAC, "clusterroles"), (RBAC, "clusterrolebindings")):
            for key, body in self.objects(resource).items():
                if BOOTSTRAPPED not in (body["metadata"].get("labels") or {}) and not key.name.startswith("system:"):
                    self._remove(_path(resource, key))
        for key in self.objects(NAMESPACES):
            if key.name not in FIRST_NAMESPACES:
                self._remove(_path(NAMESPACES, key))
                # What is left in it is no test's concern, so nobody waits for it to be emptied.
                freed = {"metadata": {"name": key.name}, "spec": {"finalizers": []}}
                accept = (HTTPStatus.OK, HTTPStatus.NOT_FOUND)
                self.server.ask("PUT", f"{_path(NAMESPACES, key)}/finalize", freed, accept=accept)

    def _remove(self, path: str) -> None:
        self.server.ask("DELETE", path, accept=(HTTPStatus.OK, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT))


_BY_HAND = urlencode({"fieldManager": SOMEBODY})
BOOTSTRAPPED = "kubernetes.io/bootstrapping"


def _path(resource: GroupResource, key: Key = _ALL) -> str:
    """Where an object is, or all of a namespace, or all of the cluster."""
    version, _ = _LOCATIONS[resource]
    parts = ["/apis" if "/" in version else "/api", version]
    if key.namespace and resource not in _CLUSTER_WIDE:
        parts += ["namespaces", key.namespace]
    return "/".join([*parts, resource[1], *([key.name] if key.name else [])])


def resource_of(body: Json) -> GroupResource:
    """Which resource a document is of."""
    return next(resource for resource, (_, kind) in _LOCATIONS.items() if kind == body["kind"])


def cluster_of(server: StandIn | RealServer) -> StandInCluster | RealCluster:
    return StandInCluster(server) if isinstance(server, StandIn) else RealCluster(server)


@asynccontextmanager
async def emptied(server: StandIn | RealServer) -> AsyncIterator[StandInCluster | RealCluster]:
    """The cluster of a server, without anything that earlier tests left in it; what this one leaves goes as well."""
    cluster = cluster_of(server)
    if isinstance(cluster, RealCluster):
        cluster.empty()
    try:
        yield cluster
    finally:
        if isinstance(cluster, RealCluster):
            cluster.server.thaw()
            if not cluster.server.runs:
                await cluster.come_back()
            cluster.empty()


def grant(cluster: Cluster, name: str, user: str, rules: Sequence[Json]) -> None:
    """A ClusterRole of these rules, bound to a user."""
    cluster.create((RBAC, "clusterroles"), "", {"metadata": {"name": name}, "rules": list(rules)})
    reference = {"kind": "ClusterRole", "apiGroup": RBAC, "name": name}
    subjects = [{"kind": "User", "apiGroup": RBAC, "name": user}]
    body = {"metadata": {"name": name}, "roleRef": reference, "subjects": subjects}
    cluster.create((RBAC, "clusterrolebindings"), "", body)


def requests(cluster: Cluster, user: str) -> list[Audited]:
    """What a user asked for, and how it was answered."""
    return [one for one in cluster.server.audit if one.user == user]
