"""ClusterObjects: the objects that a membership has in a cluster backed by Kubernetes. An edge that wires.

It needs nothing of a controller: so who only waits for a membership can clear away what one that is over has left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from functools import partial
from typing import Final

from controllers.kube.client import open_client
from controllers.kube.cluster_watch import ClusterWatch
from controllers.kube.event_recorder import EventRecorder
from controllers.kube.ip_families import IpFamilies
from controllers.kube.mesh_watch import MeshWatch
from controllers.kube.mesh_writer import MeshWriter
from controllers.kube.property_writer import PropertyWriter
from controllers.kube.writer import Computed, ObjectWriter
from controllers.mesh.base import Whole
from controllers.mesh.detect import DetectedMesh
from controllers.projection import Surroundings
from federation.app.clock import utc_now
from federation.app.kube.post import Post, access_of
from federation.model.configuration import ClusterSettings, KubernetesSettings
from federation.model.names import ServiceKey
from federation.model.problems import Problem

_LOOK_SECONDS: Final = 0.1


class ClusterObjects:
    """Of the cluster that ``settings`` name; written while ``post`` leads, and never before something was told.

    Others may follow ``watch``, which this runs, and ask the API server by what ``opened`` gives.
    """

    def __init__(self, settings: ClusterSettings, kubernetes: KubernetesSettings, post: Post) -> None:
        opened = self.opened = partial(open_client, access_of(kubernetes))

        def leading() -> bool:
            return post.leads

        def seconds_left() -> float:
            return post.seconds_left

        self._post = post
        watch = self.watch = ClusterWatch(opened)
        self._events = EventRecorder(opened, utc_now, post.identity, leading=leading)
        self._writer = ObjectWriter(
            opened, utc_now, watch=watch, leading=leading, seconds_left=seconds_left, record=self._events.record
        )
        # Until the mesh is known, derived Services stay as they are.
        self._writer.on_derived_annotations(None)
        self._mesh = MeshWatch(watch, self._on_mesh)
        self._mesh_writer = MeshWriter(opened, self._mesh, watch, leading=leading, seconds_left=seconds_left)
        self._properties = PropertyWriter(
            opened, settings.cluster, settings.clusterset, watch=watch, leading=leading, seconds_left=seconds_left
        )
        self._families = IpFamilies(opened, kubernetes.namespace, self._writer.on_ip_families)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What can't be read or written, or is left alone."""
        parts = (self._writer, self._events, self._properties, self._mesh, self._mesh_writer, self._families)
        return tuple(problem for part in parts for problem in part.problems)

    @property
    def settled(self) -> bool:
        """Whether the objects of services and of the mesh are in order, as far as that is known."""
        return self._writer.settled and self._mesh_writer.settled

    @property
    def detected_mesh(self) -> DetectedMesh | None:
        """None until it is known."""
        return self._mesh.detected

    async def run(self) -> None:
        """Read and write until cancelled."""
        forget = self._post.listen(lambda _: self._hurry())
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.watch.run(), name="watch of the cluster")
                tasks.create_task(self._writer.run(), name="writer")
                tasks.create_task(self._events.run(), name="events")
                tasks.create_task(self._properties.run(), name="properties")
                tasks.create_task(self._mesh.run(), name="mesh")
                tasks.create_task(self._mesh_writer.run(), name="writer of the mesh")
                tasks.create_task(self._families.run(), name="IP families")
        finally:
            forget()

    def tell(self, computed: Computed, whole: Whole, changed: Collection[ServiceKey]) -> None:
        """The cluster is a member, and this is the newest; see ``ObjectWriter.tell``."""
        self._properties.tell(member=True)
        self._writer.tell(computed, changed)
        self._mesh_writer.tell(whole, changed)

    def tell_nothing(self, around: Surroundings, changed: Collection[ServiceKey] = ()) -> None:
        """The cluster is no member: nothing of a membership is to be there; ``changed`` are services that were."""
        self._properties.tell(member=False)
        self._writer.tell(Computed({}, {}, around), changed)
        self._mesh_writer.tell(Whole({}, {}, around), changed)

    async def clear_away(self, around: Surroundings, known: Collection[ServiceKey] = ()) -> None:
        """The membership is over: return once nothing of it is left, while ``run`` runs; ``known`` are services that
        were told."""
        self.tell_nothing(around, known)
        while True:
            # What was read since is marked by it: until then nothing would seem to be left to do.
            self.tell_nothing(around)
            if self.settled and self._properties.settled:
                return
            await asyncio.sleep(_LOOK_SECONDS)

    def _hurry(self) -> None:
        self._writer.hurry()
        self._properties.hurry()
        self._mesh_writer.hurry()

    def _on_mesh(self) -> None:
        self._writer.on_derived_annotations(self._mesh.derived_annotations)
        self._mesh_writer.on_mesh()
