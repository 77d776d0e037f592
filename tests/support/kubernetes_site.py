"""A Kubernetes cluster for tests of what reads it: objects put there from behind the API, and a source over it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from controllers.kube.client import KubeAccess
from controllers.sources.base import Source
from controllers.sources.kubernetes import KubernetesSource
from controllers.sources.resource_watch import Patience
from federation.model.names import ServiceKey
from support.kube.cluster import Cluster, cluster_of, emptied, resource_of
from support.kube.housekeeping import NAMESPACES
from support.kube.objects import GroupResource, Key
from support.kube.real import RealServer
from support.kube.registry import Write
from support.kube.server import StandIn, running

QUICK = Patience(first_retry_seconds=0.02, last_retry_seconds=0.1, silence_seconds=5.0, page=2)
"""Pages of two, so that most lists have several."""

SOMEBODY = Write("kubectl")
SERVICES: GroupResource = ("", "services")
EXPORTS: GroupResource = ("multicluster.x-k8s.io", "serviceexports")
SLICES: GroupResource = ("discovery.k8s.io", "endpointslices")


class KubernetesSite:
    """A cluster, and a source that asks its API server as the administrator, or as whoever the kubeconfig names."""

    def __init__(self, cluster: Cluster, kubeconfig: Path, patience: Patience = QUICK) -> None:
        self.cluster = cluster
        self.kubeconfig = kubeconfig
        self.source: Source = KubernetesSource(KubeAccess(kubeconfig), patience)
        self.always = frozenset(key.name for key in cluster.objects(NAMESPACES))
        """Namespaces that every cluster has."""
        self.present = frozenset[ServiceKey]()
        """Services that it has."""
        self._placed: dict[str, tuple[GroupResource, Key]] = {}

    @property
    def server(self) -> StandIn:
        """For what only the stand-in has."""
        assert isinstance(self.cluster.server, StandIn)
        return self.cluster.server

    def put(self, name: str, text: str) -> None:
        """Make the object exist as the text says; ``name`` is the test's own handle of it."""
        body: dict[str, Any] = yaml.safe_load(text)
        resource = resource_of(body)
        key = Key(body["metadata"].get("namespace", ""), body["metadata"]["name"])
        if key.namespace and Key("", key.namespace) not in self.cluster.objects(NAMESPACES):
            self.cluster.create(NAMESPACES, "", {"metadata": {"name": key.namespace}})
        if key in self.cluster.objects(resource):
            self.cluster.patch(resource, key, body)
        else:
            self.cluster.create(resource, key.namespace, body)
        if "status" in body:
            self.cluster.patch(resource, key, {"status": body["status"]}, "status")
        self._placed[name] = resource, key

    def remove(self, name: str) -> None:
        self.cluster.delete(*self._placed.pop(name))

    def lists(self, plural: str) -> int:
        """How often a resource was listed, pages counted."""
        return sum(1 for one in self.cluster.server.audit if (one.asked.verb, one.asked.plural) == ("list", plural))


@asynccontextmanager
async def kubernetes_site(directory: Path, patience: Patience = QUICK, **options: Any) -> AsyncIterator[KubernetesSite]:
    """A site on a stand-in of its own for the time of a block; its kubeconfig is a file in the directory."""
    async with running(**options) as server:
        yield KubernetesSite(cluster_of(server), server.write_kubeconfig(directory / "kubeconfig"), patience)


@asynccontextmanager
async def real_site(server: RealServer, directory: Path) -> AsyncIterator[KubernetesSite]:
    """A site on a real API server, which has nothing in it that others left."""
    async with emptied(server) as cluster:
        site = KubernetesSite(cluster, server.write_kubeconfig(directory / "kubeconfig"))
        site.present = frozenset({ServiceKey("default", "kubernetes")})
        yield site
