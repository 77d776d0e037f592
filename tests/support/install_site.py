"""A cluster into which a test installs, and what it finds there afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from controllers.kube.client import KubeAccess, KubeError, open_client
from controllers.kube.locations import collection, location
from controllers.mcs.objects import Document, section, sequence
from controllers.sources.manifests import ObjectId
from federation.app.installing import Installation, Installer
from federation.app.uninstalling import Uninstaller
from federation.install.values import parse_values
from support.builders import CREATED
from support.kube.caller import Caller
from support.kube.plane import Plane
from support.kube.real import RealServer
from support.kube.server import StandIn

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


class InstallSite:
    """One cluster, its administrator, and installations in a namespace of the test's own."""

    def __init__(self, server: StandIn | RealServer, admin: Caller, kubeconfig: Path, namespace: str) -> None:
        self.server = server
        self.admin = admin
        self.kubeconfig = kubeconfig
        self.namespace = namespace
        self.lines: list[str] = []

    async def install(self, *words: str, dry_run: bool = False, namespace: str = "") -> Installation:
        """Install with these words of ``--set``; what is told is in ``lines``."""
        self.lines = []
        values = parse_values((), words)
        async with open_client(KubeAccess(self.kubeconfig)) as client:
            where = namespace or self.namespace
            return await Installer(client, values, where, self.lines.append, dry_run=dry_run).install(CREATED)

    async def wait(self) -> None:
        """As ``--wait``, without patience."""
        async with open_client(KubeAccess(self.kubeconfig)) as client:
            await Installer(client, parse_values(), self.namespace, self.lines.append).wait(0.0)

    async def uninstall(self, *, force: bool = False, purge_crds: bool = False) -> None:
        self.lines = []
        async with open_client(KubeAccess(self.kubeconfig)) as client:
            uninstaller = Uninstaller(client, self.namespace, self.lines.append)
            await uninstaller.uninstall(force=force, purge_crds=purge_crds, seconds=0.0)

    async def find(self, kind: str, name: str, version: str, *, namespaced: bool = True) -> dict[str, Any] | None:
        """An object; None where there is none."""
        path = location(ObjectId(kind, self.namespace if namespaced else "", name), version)
        reply = await self.admin.get(path)
        assert reply.code in {200, 404}, reply
        return reply.body if reply.code == 200 else None

    async def make(self, document: dict[str, Any]) -> None:
        """An object of somebody else, who applies it."""
        head = document["metadata"]
        path = location(ObjectId(document["kind"], head.get("namespace", ""), head["name"]), document["apiVersion"])
        reply = await self.admin.apply(path, document, "somebody", force="true")
        assert reply.code in {200, 201}, reply

    async def left(self, *kinds: tuple[str, str]) -> list[str]:
        """Names of our objects of these kinds and versions, in the namespace or in none."""
        found: list[str] = []
        for kind, version in kinds:
            reply = await self.admin.get(collection(kind, version))
            items: list[Document] = [one for one in sequence(reply.body.get("items")) if isinstance(one, dict)]
            heads = [section(item, "metadata") for item in items]
            found += [
                f"{kind} {head['name']}"
                for head in heads
                if head.get("namespace", self.namespace) == self.namespace
                and str(head["name"]).startswith("federation-")
            ]
        return found

    def said(self, word: str) -> list[str]:
        """Of what was told, the objects with this word before them."""
        return [line.split(maxsplit=1)[1] for line in self.lines if line.split(maxsplit=1)[0] == word]


@asynccontextmanager
async def install_site(plane: Plane, directory: Path, namespace: str) -> AsyncIterator[InstallSite]:
    """A site on this API server; whatever is installed in the end is taken out."""
    kubeconfig = plane.server.write_kubeconfig(directory / "kubeconfig")
    async with plane.caller() as admin:
        site = InstallSite(plane.server, admin, kubeconfig, namespace)
        try:
            yield site
        finally:
            await _cleared(site)


async def _cleared(site: InstallSite) -> None:
    try:
        await site.uninstall(force=True)
    except KubeError:
        if isinstance(site.server, RealServer):
            raise
