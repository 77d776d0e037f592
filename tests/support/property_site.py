"""A cluster on an API server, with the writer of its ClusterProperties at work in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from controllers.kube.client import KubeAccess, open_client
from controllers.kube.property_writer import PropertyWriter
from support.builders import EAST
from support.kube.cluster import Cluster, emptied, requests
from support.kube.identity import MASTERS
from support.kube.objects import GroupResource, Key
from support.kube.real import RealServer
from support.kube.server import StandIn
from support.kubernetes_site import QUICK

USER = "property-writer"
CLUSTERSET = "acme"
PROPERTIES: GroupResource = ("about.k8s.io", "clusterproperties")
ID, SET = "cluster.clusterset.k8s.io", "clusterset.k8s.io"
DEFINITION = "clusterproperties.about.k8s.io"


class PropertySite:
    """The cluster and the writer, which is told nothing yet."""

    def __init__(self, cluster: Cluster, kubeconfig: Path) -> None:
        self.cluster = cluster
        self.leading = True
        self.writer = PropertyWriter(
            partial(open_client, KubeAccess(kubeconfig)),
            EAST,
            CLUSTERSET,
            patience=QUICK,
            leading=lambda: self.leading,
        )
        self._task: asyncio.Task[None] | None = None
        # A real server lives for the whole run.
        self._earlier = len(requests(cluster, USER))

    def start(self, *, member: bool | None = True) -> None:
        if member is not None:
            self.writer.tell(member)
        self._task = asyncio.get_running_loop().create_task(self.writer.run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    @property
    def values(self) -> dict[str, str]:
        """What the two properties say."""
        found = self.cluster.objects(PROPERTIES)
        return {key.name: body["spec"]["value"] for key, body in found.items() if key.name in {ID, SET}}

    def one(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.objects(PROPERTIES)[Key("", name)]
        return found

    def create(self, name: str, value: str) -> None:
        """Somebody else makes one."""
        self.cluster.create(PROPERTIES, "", {"metadata": {"name": name}, "spec": {"value": value}})

    def edit(self, name: str, patch: dict[str, Any]) -> None:
        self.cluster.patch(PROPERTIES, Key("", name), patch)

    def delete(self, name: str) -> None:
        self.cluster.delete(PROPERTIES, Key("", name))

    @property
    def writes(self) -> list[tuple[str, int]]:
        """Every write of the writer so far, and how it was answered."""
        asked = requests(self.cluster, USER)[self._earlier :]
        return [(one.asked.verb, one.code) for one in asked if one.asked.verb not in {"get", "list", "watch"}]


@asynccontextmanager
async def property_site(
    directory: Path, server: StandIn | RealServer, groups: Sequence[str] = (MASTERS,)
) -> AsyncIterator[PropertySite]:
    """A site for the time of a block, whose writer asks as ``USER``."""
    async with emptied(server) as cluster:
        site = PropertySite(cluster, server.write_kubeconfig(directory / "kubeconfig", user=USER, groups=groups))
        try:
            yield site
        finally:
            await site.stop()
