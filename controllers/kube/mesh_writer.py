"""MeshWriter: keeps the objects of the local mesh as its adapter says, so that its sidecars call the federation.

Edge: it observes and carries out, beside the ObjectWriter and without standing in its way: what of a mesh can't be read
or written keeps no object of the MCS API waiting. What there is to be is the adapter's, what to write ``mcs.plan``'s.

Nothing is written before the computed state was told, the mesh is known and all was observed. Where the mesh is gone
nothing is wanted any more, and ours are deleted; where its definitions are gone, so are they.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from typing import Final

import structlog

from controllers.kube.backlog import Backlog
from controllers.kube.client import WRITE_SECONDS, KubeError
from controllers.kube.cluster_watch import ABOUT_TO_BE_LISTED, ClusterWatch
from controllers.kube.following import Following
from controllers.kube.mesh_watch import MeshWatch
from controllers.kube.observed_mesh_objects import BASE, SHARED, ObservedMeshObjects
from controllers.kube.refusals import is_overtaken, refusal
from controllers.kube.work_loop import WorkLoop
from controllers.kube.writer import WritingApi
from controllers.mcs.objects import Apply, Delete, text
from controllers.mcs.plan import Plan, plan_writes
from controllers.mesh.base import Rendered, Whole
from controllers.sources.manifests import ObjectId
from controllers.sources.resource_watch import Patience
from controllers.sources.watched_objects import Resource, trim_managed_fields
from federation.model.names import ServiceKey
from federation.model.problems import Problem
from federation.model.state import ServiceState

_log = structlog.get_logger(__name__)

_HOLD_OFF_SECONDS: Final = 0.05
"""What belongs to no service follows from all of them, and thousands come one after the other."""


class MeshWriter:
    """Writes to one cluster, in whose name ``opened`` gives clients, for the mesh that ``mesh`` finds.

    ``watch`` is one that somebody runs; so is ``mesh``, whose changes must be told by ``on_mesh``. Nothing is written
    unless ``leading``, and each request ends within ``seconds_left``; whoever knows that the lead changed calls
    ``hurry``.
    """

    def __init__(
        self,
        opened: Callable[[], AbstractAsyncContextManager[WritingApi]],
        mesh: MeshWatch,
        watch: ClusterWatch,
        *,
        patience: Patience | None = None,
        leading: Callable[[], bool] = lambda: True,
        seconds_left: Callable[[], float] = lambda: math.inf,
    ) -> None:
        patience = patience or Patience()
        self._mesh = mesh
        self._leading = leading
        self._seconds_left = seconds_left
        self._objects = ObservedMeshObjects()
        self._following = Following(watch, self._objects, self._heed)
        self._whole: Whole | None = None
        self._backlog = Backlog(patience.first_retry_seconds, patience.last_retry_seconds)
        self._problems: dict[ServiceKey, tuple[Problem, ...]] = {}
        self._followed: tuple[Resource, ...] = ()
        """The kinds of the mesh that are observed."""
        self._changed_mesh = asyncio.Event()
        self._loop: WorkLoop[WritingApi] = WorkLoop(
            opened,
            self._backlog,
            self._carried_out,
            may_write=lambda: self._write_seconds > 0,
            subject="objects of the mesh",
            patience=patience,
        )

    @property
    def settled(self) -> bool:
        """Whether everything is in order as far as that is known, or nothing can be done about it; never while another
        leads."""
        if self._whole is None or not self._leading():
            return False
        if self._mesh.detected is None or not self._mesh.decided:
            return self._mesh.refused or self._mesh.detected is not None
        unreadable = any(cause != ABOUT_TO_BE_LISTED for cause in self._objects.unreadable.values())
        if not self._mesh.resources or (unreadable and self._mesh.adapter is None):
            return True
        return self._write_seconds > 0 and self._backlog.empty

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What the mesh lacks, what can't be read of it and, told by the leader only, what can't be written."""
        adapter, whole = self._mesh.adapter, self._whole
        if adapter is None:
            return ()
        lacking = () if whole is None else adapter.shared(replace(whole, results={}, services={})).problems
        found = [problem for problems in self._problems.values() for problem in problems]
        written = {*found, *self._loop.trouble} if self._leading() else set()
        return tuple(sorted({*lacking, *written, *self._objects.problems()}))

    def tell(self, whole: Whole, changed: Collection[ServiceKey]) -> None:
        """Take in the newest, and for which services it is news; see ``ObjectWriter.tell``."""
        before, self._whole = self._whole, whole
        if not self._mesh.resources:
            # Once there are any, all are marked.
            return
        self._backlog.mark(changed)
        if before is None or before.around != whole.around:
            self._mark_all()
        elif changed or before.anchors != whole.anchors:
            self._backlog.mark((SHARED,))
        self._heed()

    def on_mesh(self) -> None:
        """The mesh is another, or set up in another way."""
        self._mark_all()
        self._changed_mesh.set()

    def hurry(self) -> None:
        """Look at everything again, once this one leads; what was in the way until now counts no longer."""
        self._problems.clear()
        self._mark_all()
        self._loop.hurry()

    async def run(self) -> None:
        """Observe and write until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow(), name="objects of the mesh")
                tasks.create_task(self._loop.run(), name="writer of the mesh")
        finally:
            self._following.end()

    async def _follow(self) -> None:
        """Observe the kinds that there are of the mesh."""
        while True:
            # Whoever trims alike shares a watch; what others manage of an object is half of it.
            trimmed = (replace(resource, trim=trim_managed_fields) for resource in self._mesh.resources)
            # Without any there is nothing of ours, and nothing to look at.
            wanted = (*BASE, *trimmed) if self._mesh.resources else ()
            followed = self._mesh.resources
            for resource in self._following.want(wanted):
                self._objects.forget(resource)
            self._followed = followed
            self._heed()
            await self._changed_mesh.wait()
            self._changed_mesh.clear()

    @property
    def _write_seconds(self) -> float:
        """How long a write may take that begins now; 0 where none may."""
        known = self._mesh.decided and self._followed == self._mesh.resources and self._objects.whole
        if self._whole is None or not known or not self._leading():
            return 0.0
        return max(min(self._seconds_left(), WRITE_SECONDS), 0.0)

    def _mark_all(self) -> None:
        known = () if self._whole is None else self._whole.results
        self._backlog.mark({*known, *self._objects.keys, SHARED})
        self._loop.wake()

    def _heed(self) -> None:
        """Mark what the news are about."""
        if self._whole is not None:
            self._backlog.mark(self._objects.take_changed(self._whole.results))
        self._loop.wake()

    async def _carried_out(self, client: WritingApi, key: ServiceKey) -> bool:
        """Whether every write was accepted, or a mark says to plan anew; raises KubeError for trouble of everybody."""
        if key == SHARED:
            await asyncio.sleep(_HOLD_OFF_SECONDS)
        if self._whole is None or not self._write_seconds:
            return False
        rendered = self._rendered(key, self._whole)
        observed = self._objects.of(key, (one.id for one in rendered.applied))
        plan = plan_writes(observed, rendered.applied, namespaces=self._objects.namespaces)
        problems = [*plan.problems, *(() if key == SHARED else rendered.problems)]
        with suppress(_OvertakenError):
            refused = [*await self._apply(client, plan)]
            # What replaces others must be there before those go.
            if not refused:
                versions = {id_: text(found.get("apiVersion")) for id_, found in observed.items()}
                refused += await self._delete(client, key, plan, versions)
            self._note(key, (*problems, *refused))
            return not refused
        return False

    def _rendered(self, key: ServiceKey, whole: Whole) -> Rendered:
        adapter = self._mesh.adapter
        if adapter is None:
            return Rendered()
        if key == SHARED:
            return adapter.shared(whole)
        local = whole.services.get(key, ServiceState())
        return adapter.objects(key, whole.results.get(key), local, self._objects.derived(key), whole.around)

    async def _apply(self, client: WritingApi, plan: Plan) -> list[Problem]:
        refused = []
        for write in plan.applied:
            seconds = self._seconds()
            try:
                written = await client.apply(write.document, timeout_seconds=seconds)
            except KubeError as error:
                refused.append(_refused(write, text(write.document.get("apiVersion")), error))
            else:
                self._objects.put_written(write.id.kind, written)
        self._heed()
        return refused

    async def _delete(
        self, client: WritingApi, key: ServiceKey, plan: Plan, versions: dict[ObjectId, str]
    ) -> list[Problem]:
        refused = []
        for gone in plan.deleted:
            if key in self._backlog:
                # Something is new, or was just written: only a plan that knows of it may delete.
                break
            seconds = self._seconds()
            try:
                await client.delete(
                    gone.id, gone.uid, gone.resource_version, api_version=versions[gone.id], timeout_seconds=seconds
                )
            except KubeError as error:
                refused.append(_refused(gone, versions[gone.id], error))
        return refused

    def _seconds(self) -> float:
        """For the next request; raises _OvertakenError where none may be made any more."""
        if not (seconds := self._write_seconds):
            raise _OvertakenError
        return seconds

    def _note(self, key: ServiceKey, problems: tuple[Problem, ...]) -> None:
        for problem in sorted({*problems} - {*self._problems.pop(key, ())}):
            _log.warning(
                "object is not as it should be", object=problem.subject, reason=problem.reason, cause=problem.message
            )
        if problems:
            self._problems[key] = problems


class _OvertakenError(Exception):
    """The plan is no longer to be carried out: another one is due."""


def _refused(write: Apply | Delete, api_version: str, error: KubeError) -> Problem:
    if is_overtaken(error):
        raise _OvertakenError from error
    return refusal(write, api_version, error)
