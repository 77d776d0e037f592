"""Cluster east with the objects of an Istio on its API server, and what adapts to it at work.

The definitions are this project's own and only as much of Istio's as matters to whoever writes: names and versions.
What they would refuse is tested against the projects' own, see tests/golden/test_mesh.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from controllers.kube.client import KubeAccess, open_client
from controllers.kube.cluster_watch import ClusterWatch
from controllers.kube.mesh_watch import MeshWatch
from controllers.kube.mesh_writer import MeshWriter
from controllers.mesh.base import Whole
from support.exchange import until
from support.kube.cluster import MERGE, SOMEBODY, requests
from support.kube.housekeeping import CRDS, NAMESPACES
from support.kube.identity import MASTERS
from support.kube.kinds import ResourceType
from support.kube.objects import GroupResource, Json, Key
from support.kube.registry import Write
from support.kube.server import StandIn, multicluster_definitions, running
from support.kubernetes_site import QUICK
from support.writer_site import WriterSite, writer_site

MESH_USER = "mesh-writer"
ROOT = "istio-system"
ISTIO: dict[str, GroupResource] = {
    "AuthorizationPolicy": ("security.istio.io", "authorizationpolicies"),
    "DestinationRule": ("networking.istio.io", "destinationrules"),
    "ServiceEntry": ("networking.istio.io", "serviceentries"),
}
WANTED = {
    "AuthorizationPolicy": {f"{ROOT}/federation-foreign-callers"},
    "DestinationRule": {"demo/federation-echo"},
    "ServiceEntry": {"demo/federation-echo"},
}
"""What there is for service demo/echo of west."""
NOTHING: dict[str, set[str]] = {kind: set() for kind in ISTIO}


def istio_definitions() -> list[Json]:
    """The CRDs."""
    return [_definition(kind, *resource) for kind, resource in ISTIO.items()]


def _definition(kind: str, group: str, plural: str, version: str = "v1") -> Json:
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": anything}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()},
            "versions": [{"name": version, "served": True, "storage": True, "schema": schema}],
        },
    }


class MeshSite:
    """The cluster with both writers."""

    def __init__(self, site: WriterSite, kubeconfig: Path) -> None:
        self.site = site
        self.anchors: dict[str, tuple[bytes, ...]] = {"west.test": (b"west",)}
        opened = partial(open_client, KubeAccess(kubeconfig))
        self.watch = ClusterWatch(opened, QUICK)
        self.mesh = MeshWatch(self.watch, self._on_mesh)
        self.writer = MeshWriter(opened, self.mesh, self.watch, patience=QUICK)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Both, and what they look at; the writer of the MCS API as ``ClusterSide`` does."""
        self.site.writer.on_derived_annotations(None)
        self.site.start()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(one.run()) for one in (self.watch, self.mesh, self.writer)]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def tell(self) -> None:
        """Let both know what is exported now."""
        computed = self.site.computed()
        around = replace(computed.around, sidecar_port=0)
        self.site.tell()
        self.writer.tell(Whole(computed.results, computed.services, around, self.anchors), tuple(computed.results))

    def install(self, *, trust_domain: str = "east.test", revision: str = "default") -> None:
        """Istio, as its charts leave it."""
        install_istio(self.site.server, trust_domain, revision)

    def uninstall(self) -> None:
        """Its control plane; definitions stay, as `istioctl uninstall` leaves them."""
        for resource, body in control_plane():
            self.site.server.registry.delete(self._kind(resource), Key(ROOT, body["metadata"]["name"]), {})

    async def create(self, kind: str, body: Json) -> None:
        """Somebody else makes one in namespace demo, once the kind is served."""
        await until(lambda: _is_served(self.site.server, ISTIO[kind]))
        served = self._kind(ISTIO[kind])
        whole = {**body, "apiVersion": served.api_version, "kind": kind}
        self.site.server.registry.create(served, "demo", whole, Write(SOMEBODY))

    def objects(self) -> dict[str, set[str]]:
        """The names of all there are of the mesh's kinds."""
        return mesh_objects(self.site.server)

    def one(self, kind: str) -> dict[str, Any]:
        """The only object of a kind."""
        (found,) = self.site.cluster.objects(ISTIO[kind]).values()
        return found

    def edit(self, kind: str, patch: dict[str, Any]) -> None:
        """Somebody edits the only object of a kind by hand."""
        (key,) = self.site.cluster.objects(ISTIO[kind])
        self.site.server.registry.patch(self._kind(ISTIO[kind]), key, MERGE, patch, Write(SOMEBODY))

    def delete(self, kind: str) -> None:
        (key,) = self.site.cluster.objects(ISTIO[kind])
        self.site.server.registry.delete(self._kind(ISTIO[kind]), key, {})

    async def in_order(self, wanted: dict[str, set[str]] = WANTED) -> None:
        """Until there are these objects, and nothing is left to write."""
        await until(lambda: self.objects() == wanted and self.writer.settled and self.site.writer.settled)

    @property
    def writes(self) -> list[tuple[str, str, int]]:
        """Every write of the mesh's writer so far: verb, resource, and how it was answered."""
        asked = requests(self.site.cluster, MESH_USER)
        return [
            (one.asked.verb, one.asked.plural, one.code)
            for one in asked
            if one.asked.verb not in {"get", "list", "watch"}
        ]

    def reads(self) -> set[str]:
        """The resources that the mesh's side has asked for."""
        return {one.asked.plural for one in requests(self.site.cluster, MESH_USER)}

    def _kind(self, resource: GroupResource) -> ResourceType:
        return next(one for one in self.site.server.registry.catalog.all() if one.resource == resource)

    def _on_mesh(self) -> None:
        self.site.writer.on_derived_annotations(self.mesh.derived_annotations)
        self.writer.on_mesh()


def install_istio(server: StandIn, trust_domain: str, revision: str = "default") -> None:
    """Istio, as its charts leave it."""
    for definition in istio_definitions():
        server.put(CRDS, definition)
    server.put(NAMESPACES, {"metadata": {"name": ROOT}})
    for resource, body in control_plane(trust_domain, revision):
        server.put(resource, body)


def mesh_objects(server: StandIn) -> dict[str, set[str]]:
    """The names of all there are of Istio's kinds."""
    return {
        kind: {f"{key.namespace}/{key.name}" for key in server.objects(resource)}
        if _is_served(server, resource)
        else set()
        for kind, resource in ISTIO.items()
    }


def _is_served(server: StandIn, resource: GroupResource) -> bool:
    return resource in {one.resource for one in server.registry.catalog.all()}


def control_plane(trust_domain: str = "east.test", revision: str = "default") -> list[tuple[GroupResource, Json]]:
    """What Istio is known by."""
    labels = {"app": "istiod", "istio.io/rev": revision, "app.kubernetes.io/version": "1.30.1"}
    container = {"name": "discovery", "image": "istio/pilot:1.30.1", "env": [_MULTIROOT]}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    deployment = {"selector": {"matchLabels": {"app": "istiod"}}, "template": pod}
    mesh = f'trustDomain: {trust_domain}\ndefaultConfig: {{proxyMetadata: {{PROXY_CONFIG_XDS_AGENT: "true"}}}}\n'
    name = "istio" if revision == "default" else f"istio-{revision}"
    metadata = {"namespace": ROOT, "name": "istiod", "labels": labels}
    return [
        (("", "configmaps"), {"metadata": {"namespace": ROOT, "name": name}, "data": {"mesh": mesh}}),
        (("apps", "deployments"), {"metadata": metadata, "spec": deployment}),
    ]


def linkerd() -> list[tuple[GroupResource, Json]]:
    """What Linkerd is known by, and its definitions."""
    group = "policy.linkerd.io"
    kinds = {"AuthorizationPolicy": "authorizationpolicies", "MeshTLSAuthentication": "meshtlsauthentications"}
    values = "linkerdVersion: edge-26.8.1\nidentityTrustDomain: east.test\n"
    config = {"metadata": {"namespace": "linkerd", "name": "linkerd-config"}, "data": {"values": values}}
    return [
        *((CRDS, _definition(kind, group, plural, "v1alpha1")) for kind, plural in kinds.items()),
        (NAMESPACES, {"metadata": {"name": "linkerd"}}),
        (("", "configmaps"), config),
    ]


_MULTIROOT = {"name": "ISTIO_MULTIROOT_MESH", "value": "true"}


@asynccontextmanager
async def mesh_site(
    directory: Path, server: StandIn | None = None, *, groups: tuple[str, ...] = (MASTERS,)
) -> AsyncIterator[MeshSite]:
    """A site on a stand-in, of its own if none is given; what looks at the mesh asks as ``MESH_USER``, who may do
    everything unless other groups are named."""
    async with AsyncExitStack() as stack:
        if server is None:
            server = await stack.enter_async_context(running(definitions=multicluster_definitions()))
        base = await stack.enter_async_context(writer_site(directory, server))
        base.namespace()
        kubeconfig = server.write_kubeconfig(directory / "mesh.kubeconfig", user=MESH_USER, groups=groups)
        site = MeshSite(base, kubeconfig)
        try:
            yield site
        finally:
            await site.stop()
