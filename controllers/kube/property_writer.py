"""PropertyWriter: keeps the ClusterProperties that say which cluster this is, and of which clusterset (KEP-2149).

Edge: it observes and carries out. What is stated, and what contradicts it, is ``mcs.cluster_properties``'s. Where the
cluster does not have the About API nothing is written, and that is told once.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus

import structlog

from controllers.kube.client import WRITE_SECONDS, KubeError
from controllers.kube.cluster_watch import ClusterWatch
from controllers.kube.locations import missing_rule
from controllers.kube.observed_properties import PROPERTY_RESOURCES, ObservedProperties
from controllers.kube.writer import WritingApi
from controllers.mcs.cluster_properties import CLUSTER_PROPERTY, check_identity, desired_properties
from controllers.mcs.plan import Plan, plan_writes
from controllers.sources.resource_watch import Patience
from federation.model.names import ClusterId
from federation.model.problems import Problem

_log = structlog.get_logger(__name__)


class PropertyWriter:
    """Writes to one cluster, in whose name ``opened`` gives clients, that it is ``cluster`` of ``clusterset``.

    ``watch`` is one that others share, and that somebody runs. Nothing is written unless ``leading``, and each request
    ends within ``seconds_left``; whoever knows that the lead changed calls ``hurry``.
    """

    def __init__(
        self,
        opened: Callable[[], AbstractAsyncContextManager[WritingApi]],
        cluster: ClusterId,
        clusterset: str,
        *,
        patience: Patience | None = None,
        watch: ClusterWatch | None = None,
        leading: Callable[[], bool] = lambda: True,
        seconds_left: Callable[[], float] = lambda: math.inf,
    ) -> None:
        self._opened = opened
        self._cluster = cluster
        self._clusterset = clusterset
        self._patience = patience or Patience()
        self._shared = watch
        self._leading = leading
        self._seconds_left = seconds_left
        self._observed = ObservedProperties()
        self._member: bool | None = None
        self._trouble: tuple[Problem, ...] = ()
        self._failures = 0
        self._news = asyncio.Event()

    @property
    def settled(self) -> bool:
        """Whether the properties are as they should be, or can't be had in this cluster; never while another leads."""
        if self._member is None or not self._leading():
            return False
        absent = any(one.reason == "NotServed" for one in self._observed.problems)
        return absent or (self._observed.whole and self._plan().empty)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What can't be read or written, and what somebody else wrote that contradicts the settings."""
        contradicted: tuple[Problem, ...] = ()
        if self._member and self._observed.whole:
            contradicted = check_identity(self._observed.found, self._cluster, self._clusterset)
        written = self._trouble if self._leading() else ()
        return (*contradicted, *written, *self._observed.problems)

    def tell(self, member: bool) -> None:  # noqa: FBT001 - one fact
        """Take in whether the cluster is a member of the clusterset. Before it is told nothing is written."""
        if member != self._member:
            self._member = member
            self._news.set()

    def hurry(self) -> None:
        """Look again, once this one leads; what was in the way until now counts no longer."""
        self._failures, self._trouble = 0, ()
        self._news.set()

    async def run(self) -> None:
        """Observe and write until cancelled."""
        watch = self._shared or ClusterWatch(self._opened, self._patience)
        with watch.follow(PROPERTY_RESOURCES, self._observed, self._news.set):
            async with asyncio.TaskGroup() as tasks:
                if self._shared is None:
                    tasks.create_task(watch.run(), name="watch of properties")
                tasks.create_task(self._work(), name="writer of properties")

    async def _work(self) -> None:
        """Look at every news, with a new client after trouble: its credentials are read anew."""
        while True:
            try:
                async with self._opened() as client:
                    while True:
                        await self._news.wait()
                        self._news.clear()
                        await self._bring_in_order(client)
            except KubeError as error:
                self._tell_trouble(error)
                longer = self._patience.first_retry_seconds * 2 ** min(self._failures, 20)
                self._failures += 1
                wait = min(longer, self._patience.last_retry_seconds) * random.uniform(0.5, 1.0)  # noqa: S311
                await asyncio.sleep(max(wait, error.retry_after_seconds))
                self._news.set()

    def _plan(self) -> Plan:
        stated = desired_properties(
            self._observed.found,
            self._cluster,
            self._clusterset,
            member=bool(self._member),
            api_version=self._observed.api_version,
        )
        return plan_writes(self._observed.found, stated, namespaces=())

    async def _bring_in_order(self, client: WritingApi) -> None:
        """Write what is not as it should be; raises KubeError. What was overtaken is news, and is looked at then."""
        if not self._write_seconds:
            return
        plan = self._plan()
        try:
            for write in plan.applied:
                if not (seconds := self._write_seconds):
                    return
                self._observed.put_written(await client.apply(write.document, timeout_seconds=seconds))
                _log.info("cluster property is written", object=str(write.id))
            for gone in plan.deleted:
                if not (seconds := self._write_seconds):
                    return
                version = self._observed.api_version
                await client.delete(
                    gone.id, gone.uid, gone.resource_version, api_version=version, timeout_seconds=seconds
                )
                _log.info("cluster property is removed", object=str(gone.id))
        except KubeError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
        self._failures, self._trouble = 0, ()

    @property
    def _write_seconds(self) -> float:
        """How long a write may take that begins now; 0 where none may."""
        if self._member is None or not self._observed.whole or not self._leading():
            return 0.0
        return max(min(self._seconds_left(), WRITE_SECONDS), 0.0)

    def _tell_trouble(self, error: KubeError) -> None:
        told = f"{error}; what is not as it should be is written later"
        reason = "Unwritable"
        if error.status == HTTPStatus.FORBIDDEN:
            version = self._observed.api_version
            rule = missing_rule(CLUSTER_PROPERTY, version, "", "create, patch, delete")
            reason, told = "Forbidden", f"{error}; the role must have the rule {rule}"
        trouble = (Problem("ClusterProperty", reason, told),)
        if trouble != self._trouble:
            _log.warning("cluster properties can't be written", reason=str(error), hint=error.hint)
        self._trouble = trouble
