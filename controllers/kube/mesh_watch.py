"""MeshWatch: which mesh the cluster has, followed as it comes, goes and is set up anew.

Edge: it follows resources; what they say is ``mesh.detect``'s. What was detected last stays in force while something
can't be read: a mesh that is not seen is not one that is gone. Until all was read once nothing is known of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from controllers.kube.cluster_watch import ABOUT_TO_BE_LISTED, ClusterWatch
from controllers.kube.following import Following
from controllers.kube.mesh_facts import BASE, MeshFacts, wanted_facts
from controllers.mesh.base import MeshAdapter
from controllers.mesh.detect import DetectedMesh, MeshKind, detect_mesh, istio_versions
from controllers.mesh.istio import IstioAdapter
from controllers.mesh.linkerd import LinkerdAdapter
from controllers.sources.watched_objects import Resource
from federation.model.problems import Problem

_log = structlog.get_logger(__name__)

_ADAPTERS: Final[Mapping[MeshKind, Callable[[DetectedMesh], MeshAdapter]]] = {
    MeshKind.ISTIO: IstioAdapter,
    MeshKind.LINKERD: LinkerdAdapter,
}


class MeshWatch:
    """Of one cluster, by a ``watch`` that somebody runs; ``on_change`` is called when any of it is another."""

    def __init__(self, watch: ClusterWatch, on_change: Callable[[], None]) -> None:
        self._facts = MeshFacts()
        self._news = asyncio.Event()
        self._following = Following(watch, self._facts, self._heed)
        self._on_change = on_change
        self.detected: DetectedMesh | None = None
        """None until it is known."""
        self.adapter: MeshAdapter | None = None
        """Of the mesh that was detected."""
        self.resources: tuple[Resource, ...] = ()
        """The kinds that an adapter writes or, in a cluster that had the mesh, may have written."""

    @property
    def decided(self) -> bool:
        """Whether it is known what there is to be: of several meshes, none is taken for gone."""
        detected = self.detected
        return detected is not None and (self.adapter is not None or not detected.problems)

    @property
    def refused(self) -> bool:
        """Whether it is not known because something can't be read."""
        return self.detected is None and any(cause != ABOUT_TO_BE_LISTED for cause in self._facts.unreadable.values())

    @property
    def derived_annotations(self) -> Mapping[str, str] | None:
        """What derived Services must carry; None while that is not known."""
        if not self.decided:
            return None
        return {} if self.adapter is None else self.adapter.derived_annotations

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the mesh, or why it can't be told."""
        detected = () if self.detected is None else self.detected.problems
        unreadable = [
            Problem("mesh", "Unreadable", f"{cause}; {_remedy(resource)}")
            for resource, cause in self._facts.unreadable.items()
            if resource not in BASE and cause != ABOUT_TO_BE_LISTED
        ]
        return tuple(sorted({*detected, *unreadable}))

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            self._following.want(BASE)
            while True:
                await self._news.wait()
                self._news.clear()
                if self._facts.changed:
                    self._look()
        finally:
            self._following.end()

    def _heed(self) -> None:
        self._news.set()

    def _look(self) -> None:
        observed = self._facts.observed()
        if any(resource in self._facts.unreadable for resource in BASE):
            return
        for resource in self._following.want(wanted_facts(observed)):
            self._facts.forget(resource)
        before = self.detected, self.resources
        if self._facts.whole and (detected := detect_mesh(observed)) != self.detected:
            _log.info("mesh of the cluster", mesh=str(detected), before=str(self.detected or "not known"))
            self.detected = detected
            self.adapter = _ADAPTERS[detected.kind](detected) if detected.kind in _ADAPTERS else None
        left = IstioAdapter(DetectedMesh(MeshKind.ISTIO, api_versions=istio_versions(observed))).resources
        self.resources = tuple(dict.fromkeys((*left, *(() if self.adapter is None else self.adapter.resources))))
        if before != (self.detected, self.resources):
            self._on_change()


def _remedy(resource: Resource) -> str:
    """What to do where a resource can't be read."""
    group = resource.api_versions[0].rpartition("/")[0]
    name = resource.field_selector.partition("=")[2]
    names = f', resourceNames: ["{name}"]' if name else ""
    rule = f'apiGroups: ["{group}"], resources: ["{resource.plural}"]{names}, verbs: [list, watch]'
    return (
        "the cluster has the definitions of a mesh, and it is not known whether it has the mesh; to have it adapted to,"
        f" set `mesh` in the values of the installation, and see to it that the role has the rule {rule}"
    )
