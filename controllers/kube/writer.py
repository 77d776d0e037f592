"""ObjectWriter: keeps the objects of every service in the cluster as the controller computed them.

Edge: it observes and carries out. What there is to be is ``mcs.desired``'s, what to write ``mcs.plan``'s. Nothing is
written before the computed state was told and all was observed, nor while the observation has a gap.

Where several replicas run only the leader writes: it is asked before each request, which ends before its time does. The
others observe all the same, so that whoever comes to lead knows at once what little there is to write.

A service that is marked is planned anew from the newest of both. What fails stays marked: what was overtaken (409, 404)
is planned again, what is refused is told and tried again later, and trouble of the API server makes everybody wait.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Final, Protocol

import structlog

from controllers.kube.backlog import Backlog
from controllers.kube.client import WRITE_SECONDS, KubeError
from controllers.kube.cluster_watch import ClusterWatch
from controllers.kube.events import Note, problem_notes, status_notes
from controllers.kube.observed_objects import WRITER_RESOURCES, ObservedObjects
from controllers.kube.refusals import is_overtaken, refusal
from controllers.kube.work_loop import WorkLoop
from controllers.mcs.desired import KubernetesCluster, desired_objects
from controllers.mcs.export_status import Delivery, Publication
from controllers.mcs.objects import Apply, Delete, Document, export_id, section, text, texts
from controllers.mcs.plan import plan_writes
from controllers.projection import ServiceResult, Surroundings
from controllers.sources.manifests import ObjectId
from controllers.sources.resource_watch import Api, Patience
from federation.model.names import ClusterId, ServiceKey
from federation.model.problems import Problem
from federation.model.state import ServiceState

_log = structlog.get_logger(__name__)

_API_VERSIONS: Final[Mapping[str, str]] = {"EndpointSlice": "discovery.k8s.io/v1", "Service": "v1"}
"""Of the kinds that are not the MCS API's."""
_GIVING: Final = frozenset({"Service", "ServiceImport"})
"""What the API server gives to these when they are made, address and uid, stands in the objects after them."""


@dataclass(frozen=True, slots=True)
class Computed:
    """What the controller knows, of all services."""

    results: Mapping[ServiceKey, ServiceResult]
    services: Mapping[ServiceKey, ServiceState]
    """The own cluster's."""
    around: Surroundings
    publication: Publication = field(default_factory=lambda: Publication(Delivery.PENDING))
    noted: Mapping[ServiceKey, Sequence[Problem]] = field(default_factory=dict)
    """What the source found wrong about the objects of a service."""
    publications: Mapping[ServiceKey, Publication] = field(default_factory=dict)
    """Of the services whose publication is not ``publication``; where it changes, the service is news."""
    unread: frozenset[ClusterId] = frozenset()
    """The members of whom it is not known what they export."""


class WritingApi(Api, Protocol):
    """What is needed of a client of the API server; see ``controllers.kube.client.KubeClient``."""

    async def apply(
        self, document: Document, subresource: str | None = None, *, timeout_seconds: float
    ) -> Document: ...

    async def delete(
        self, id_: ObjectId, uid: str, resource_version: str, *, api_version: str, timeout_seconds: float
    ) -> None: ...


class ObjectWriter:
    """Writes to one cluster, in whose name ``opened`` gives clients; ``now`` dates conditions.

    ``watch`` is one that others share, and that somebody runs. Nothing is written unless ``leading``, and each request
    ends within ``seconds_left``; whoever knows that the lead changed calls ``hurry``. ``record`` gets what is worth an
    Event, and returns at once.
    """

    def __init__(
        self,
        opened: Callable[[], AbstractAsyncContextManager[WritingApi]],
        now: Callable[[], datetime],
        *,
        ip_families: tuple[str, ...] = ("IPv4",),
        patience: Patience | None = None,
        watch: ClusterWatch | None = None,
        leading: Callable[[], bool] = lambda: True,
        seconds_left: Callable[[], float] = lambda: math.inf,
        record: Callable[[Note], None] = lambda _: None,
    ) -> None:
        self._opened = opened
        self._shared = watch
        self._leading = leading
        self._seconds_left = seconds_left
        self._record = record
        self._now = now
        self._ip_families = ip_families
        self._derived_annotations: Mapping[str, str] | None = {}
        self._patience = patience or Patience()
        self._objects = ObservedObjects()
        self._computed: Computed | None = None
        self._backlog = Backlog(self._patience.first_retry_seconds, self._patience.last_retry_seconds)
        self._taken: frozenset[str] = frozenset()
        self._problems: dict[ServiceKey, tuple[Problem, ...]] = {}
        self._loop: WorkLoop[WritingApi] = WorkLoop(
            opened,
            self._backlog,
            self._bring_in_order,
            may_write=lambda: self._may_write,
            subject="objects in Kubernetes",
            patience=self._patience,
        )

    @property
    def settled(self) -> bool:
        """Whether all is observed, and everything in order as far as that is known; never while another leads."""
        return self._may_write and self._backlog.empty

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What can't be read and, told by the leader only, what can't be written or is left alone."""
        found = [problem for problems in self._problems.values() for problem in problems]
        written = {*found, *self._loop.trouble} if self._leading() else set()
        return tuple(sorted({*written, *self._objects.problems}))

    def tell(self, computed: Computed, changed: Collection[ServiceKey]) -> None:
        """Take in the newest, and for which services it is news.

        First once the own source and the exchange were read whole: what ``computed`` lacks is deleted, unless a member
        that is unread backed it.
        """
        before, self._computed = self._computed, computed
        self._backlog.mark(changed)
        if before is None or before.around != computed.around or before.unread != computed.unread:
            self._backlog.mark({*computed.results, *self._objects.keys})
        elif before.publication != computed.publication:
            self._backlog.mark(key for key in self._objects.keys if export_id(key) in self._objects)
        self._heed()

    def on_ip_families(self, families: tuple[str, ...]) -> None:
        """The cluster's Services can have these families, and no others."""
        if families != self._ip_families:
            self._ip_families = families
            self._mark_all()

    def on_derived_annotations(self, annotations: Mapping[str, str] | None) -> None:
        """Derived Services must carry these for the local mesh; None: what they carry is not known, and stays."""
        if annotations != self._derived_annotations:
            self._derived_annotations = annotations
            self._mark_all()

    def hurry(self) -> None:
        """Look at everything again, once this one leads; what was in the way until now counts no longer."""
        self._problems.clear()
        self._loop.hurry()
        self._mark_all()

    def _mark_all(self) -> None:
        known = () if self._computed is None else self._computed.results
        self._backlog.mark({*known, *self._objects.keys})
        self._loop.wake()

    async def run(self) -> None:
        """Observe and write until cancelled."""
        watch = self._shared or ClusterWatch(self._opened, self._patience)
        with watch.follow(WRITER_RESOURCES, self._objects, self._heed):
            async with asyncio.TaskGroup() as tasks:
                if self._shared is None:
                    tasks.create_task(watch.run(), name="writer's watch")
                tasks.create_task(self._loop.run(), name="writer")

    @property
    def _may_write(self) -> bool:
        return self._write_seconds > 0

    @property
    def _write_seconds(self) -> float:
        """How long a write may take that begins now; 0 where none may."""
        if self._computed is None or not self._objects.whole or not self._leading():
            return 0.0
        return max(min(self._seconds_left(), WRITE_SECONDS), 0.0)

    def _heed(self) -> None:
        """Mark what the news are about."""
        if self._computed is not None:
            self._backlog.mark(self._objects.take_changed(self._computed.results))
        self._loop.wake()

    async def _bring_in_order(self, client: WritingApi, key: ServiceKey) -> bool:
        """Plan one service and carry the plan out; raises KubeError for trouble that is not this service's own."""
        try:
            return await self._carried_out(client, key)
        finally:
            self._heed()

    async def _carried_out(self, client: WritingApi, key: ServiceKey) -> bool:
        """Whether every write was accepted, or a mark says to plan anew."""
        computed, api = self._computed, self._objects.api
        if computed is None or api is None:
            return False
        observed = self._objects.of(key)
        namespaces = self._objects.namespaces
        desired = desired_objects(
            key,
            computed.results.get(key),
            computed.services.get(key, ServiceState()),
            observed,
            around=computed.around,
            cluster=KubernetesCluster(namespaces, api, self._ip_families, self._taken, self._derived_annotations),
            publication=computed.publications.get(key, computed.publication),
            noted=computed.noted.get(key, ()),
            unread=computed.unread,
            now=self._now(),
        )
        plan = plan_writes(observed, desired.applied, namespaces=namespaces, kept=desired.kept)
        problems = [*desired.problems, *plan.problems]
        accepted = True
        for write in plan.applied:
            if not (seconds := self._write_seconds):
                return False
            try:
                written = await client.apply(write.document, write.subresource or None, timeout_seconds=seconds)
                self._objects.put_written(write.id.kind, written)
                if write.subresource:
                    for note in status_notes(write.id, observed.get(write.id), written, api.version):
                        self._record(note)
                elif write.id not in observed and write.id.kind in _GIVING:
                    # It is known now, which marks the service: the rest is planned once, with what it was given.
                    return accepted
            except KubeError as error:
                accepted = False
                if is_overtaken(error):
                    break
                problems.append(self._refused(write, text(write.document.get("apiVersion")), error))
        self._heed()
        for deletion in plan.deleted if accepted else ():
            if not (seconds := self._write_seconds):
                return False
            if key in self._backlog:
                # Something is new, or was just written: only a plan that knows of it may delete.
                break
            version = _API_VERSIONS.get(deletion.id.kind, api.version)
            try:
                await client.delete(
                    deletion.id,
                    deletion.uid,
                    deletion.resource_version,
                    api_version=version,
                    timeout_seconds=seconds,
                )
            except KubeError as error:
                accepted = False
                if is_overtaken(error):
                    break
                problems.append(self._refused(deletion, version, error))
        self._note(key, tuple(problems))
        return accepted

    def _refused(self, write: Apply | Delete, api_version: str, error: KubeError) -> Problem:
        """What a refusal means; raises it again where it is not about this object."""
        if isinstance(write, Apply) and _is_address_refused(write, error):
            refused = texts(section(write.document, "spec").get("clusterIPs"))
            self._taken |= {*refused}
            told = f"gets another clusterset IP: {', '.join(refused)} is no longer to be had"
            _log.warning("clusterset IP is lost", object=str(write.id), ips=refused)
            return Problem(str(write.id), "ClustersetIPTaken", told)
        return refusal(write, api_version, error)

    def _note(self, key: ServiceKey, problems: tuple[Problem, ...]) -> None:
        new = sorted({*problems} - {*self._problems.get(key, ())})
        version = "" if self._objects.api is None else self._objects.api.version
        for note in problem_notes(key, new, self._objects.of(key), version):
            self._record(note)
        for problem in new:
            _log.warning(
                "object is not as it should be", object=problem.subject, reason=problem.reason, cause=problem.message
            )
        self._problems.pop(key, None)
        if problems:
            self._problems[key] = problems


def _is_address_refused(write: Apply, error: KubeError) -> bool:
    stated = "clusterIPs" in section(write.document, "spec") and error.status == HTTPStatus.UNPROCESSABLE_ENTITY
    return stated and any(name.startswith("spec.clusterIP") for _, name in error.causes)
