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
from support.kube.housekeeping import NAMESPACES
from support.kube.kinds import ResourceType
from support.kube.objects import GroupResource, Key
from support.kube.registry import Write
from support.kube.server import FIRST_NAMESPACES, StandIn, running

QUICK = Patience(first_retry_seconds=0.02, last_retry_seconds=0.1, silence_seconds=5.0, page=2)
"""Pages of two, so that most lists have several."""

SOMEBODY = Write("kubectl")
SERVICES: GroupResource = ("", "services")
EXPORTS: GroupResource = ("multicluster.x-k8s.io", "serviceexports")
SLICES: GroupResource = ("discovery.k8s.io", "endpointslices")


class KubernetesSite:
    """A stand-in API server, and a source that asks it as its administrator, or as whoever the kubeconfig names."""

    always = frozenset(FIRST_NAMESPACES)
    """Namespaces that every cluster has."""

    def __init__(self, server: StandIn, kubeconfig: Path, patience: Patience = QUICK) -> None:
        self.server = server
        self.kubeconfig = kubeconfig
        self.source: Source = KubernetesSource(KubeAccess(kubeconfig), patience)
        self._placed: dict[str, tuple[ResourceType, Key]] = {}

    def put(self, name: str, text: str) -> None:
        """Make the object exist as the text says; ``name`` is the test's own handle of it."""
        body: dict[str, Any] = yaml.safe_load(text)
        kind = self._kind(body)
        key = Key(body["metadata"].get("namespace", ""), body["metadata"]["name"])
        if key.namespace:
            self.server.put(NAMESPACES, {"metadata": {"name": key.namespace}})
        if self.server.store.get(kind.resource, key) is None:
            self.server.registry.create(kind, key.namespace, body, SOMEBODY)
        else:
            self.server.registry.patch(kind, key, "application/merge-patch+json", body, SOMEBODY)
        self._placed[name] = kind, key

    def remove(self, name: str) -> None:
        kind, key = self._placed.pop(name)
        self.server.registry.delete(kind, key, {})

    def lists(self, plural: str) -> int:
        """How often a resource was listed, pages counted."""
        return sum(1 for one in self.server.audit if (one.asked.verb, one.asked.plural) == ("list", plural))

    def _kind(self, body: dict[str, Any]) -> ResourceType:
        served = self.server.registry.catalog.all()
        return next(one for one in served if (one.api_version, one.kind) == (body["apiVersion"], body["kind"]))


@asynccontextmanager
async def kubernetes_site(directory: Path, patience: Patience = QUICK, **options: Any) -> AsyncIterator[KubernetesSite]:
    """A site for the time of a block; its kubeconfig is a file in the directory."""
    async with running(**options) as server:
        yield KubernetesSite(server, server.write_kubeconfig(directory / "kubeconfig"), patience)
