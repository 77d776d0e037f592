"""TrustDistributor: takes the own trust bundle to the pods that need it, and to the API server for the webhook.

Edge: it observes and carries out; ``injection.trust_objects`` plans. Every replica observes, since its webhook asks
about namespaces, and the leader alone writes. Nothing is written before all was read, nor while there is no bundle.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final
from urllib.parse import quote

import structlog

from controllers.injection.policy import NamespaceFacts, facts_of
from controllers.injection.trust_objects import (
    CONFIG_MAPS,
    CONFIGURATIONS,
    TrustPlan,
    plan_config_maps,
    plan_configuration,
)
from controllers.kube.client import WRITE_SECONDS, KubeError
from controllers.kube.cluster_watch import ClusterWatch
from controllers.kube.refusals import is_overtaken, refusal
from controllers.kube.writer import WritingApi
from controllers.mcs.objects import Apply, Delete, Document, id_of, section, text, version_of
from controllers.sources.resource_watch import Patience
from controllers.sources.watched_objects import RESOURCES, Resource
from federation.model.problems import Problem

_log = structlog.get_logger(__name__)

# The same as the source's, so that a shared watch reads them once.
_NAMESPACES: Final = next(one for one in RESOURCES if one.kind == "Namespace")
_LOOKUP_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 30.0
"""Between two looks that nobody asked for: the bundle, and who leads, may change without news."""


class TrustDistributor:
    """Of one cluster, in whose name ``opened`` gives clients; ``namespace`` is the product's own.

    ``bundle`` gives the own trust bundle (PEM) as it is; empty: there is none, and nothing is written. ``configures``:
    whether the webhook's ``caBundle`` is kept too. Nothing is written unless ``leading``, and each request ends within
    ``seconds_left``. Whoever knows of another bundle, or that the lead changed, calls ``hurry``. ``watch`` is one that
    others share, and that somebody runs.
    """

    def __init__(
        self,
        opened: Callable[[], AbstractAsyncContextManager[WritingApi]],
        namespace: str,
        bundle: Callable[[], str],
        leading: Callable[[], bool],
        *,
        seconds_left: Callable[[], float] = lambda: math.inf,
        configures: bool = True,
        patience: Patience | None = None,
        watch: ClusterWatch | None = None,
    ) -> None:
        self._opened = opened
        self._namespace = namespace
        self._bundle = bundle
        self._leading = leading
        self._seconds_left = seconds_left
        self._patience = patience or Patience()
        self._shared = watch
        self._resources = (_NAMESPACES, CONFIG_MAPS, *((CONFIGURATIONS,) if configures else ()))
        self._objects = _Objects(self._resources)
        self._news = asyncio.Event()
        self._failures = 0
        self._not_before = 0.0
        self._problems: tuple[Problem, ...] = ()
        self.handed_out = ""
        """The bundle that was last brought to all, but for what is told as a problem of a single object; empty: none
        yet, or another one has led since."""

    @property
    def settled(self) -> bool:
        """Whether all is read and as it should be; never while another leads."""
        return self._objects.whole and self._write_seconds > 0 and self._plan() == TrustPlan()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What can't be read and, told by the leader only, what can't be written."""
        written = self._problems if self._leading() else ()
        return tuple(sorted({*written, *self._objects.problems}))

    def hurry(self) -> None:
        """Look again at once; what was in the way until now counts no longer."""
        self._failures, self._not_before = 0, 0.0
        self._news.set()

    async def namespace_facts(self, name: str) -> NamespaceFacts | None:
        """What a namespace says, for the webhook; None where the API server does not tell in time."""
        found = self._objects.of("Namespace").get(("", name))
        if found is None:
            # One that was just made, with its pods.
            try:
                async with self._opened() as client:
                    path = f"{_NAMESPACES.path('v1')}/{quote(name, safe='')}"
                    found = await client.get(path, {}, timeout_seconds=_LOOKUP_SECONDS)
            except KubeError:
                return None
        return facts_of(found)

    async def run(self) -> None:
        """Observe and write until cancelled."""
        watch = self._shared or ClusterWatch(self._opened, self._patience)
        with watch.follow(self._resources, self._objects, self._news.set):
            async with asyncio.TaskGroup() as tasks:
                if self._shared is None:
                    tasks.create_task(watch.run(), name="watch of the trust distributor")
                while True:
                    await self._await_news()
                    await self._bring()

    async def _await_news(self) -> None:
        """Return when there may be something to do, and it may be done."""
        loop = asyncio.get_running_loop()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._news.wait()
        self._news.clear()
        while (wait := self._not_before - loop.time()) > 0:
            # What failed is not tried again for each object that somebody touches, only after a while or in a hurry.
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._news.wait()
            self._news.clear()

    def _plan(self) -> TrustPlan:
        """What there is to write, by what is known; each kind as soon as it was read."""
        bundle = self._bundle()
        if not bundle:
            return TrustPlan()
        plans = []
        if self._objects.has_read(_NAMESPACES, CONFIG_MAPS):
            config_maps = {namespace: found for (namespace, _), found in self._objects.of("ConfigMap").items()}
            namespaces = self._objects.of("Namespace").values()
            plans.append(plan_config_maps(self._namespace, namespaces, config_maps, bundle))
        if self._objects.has_read(CONFIGURATIONS):
            configuration = next(iter(self._objects.of(CONFIGURATIONS.kind).values()), None)
            plans.append(plan_configuration(configuration, bundle))
        return TrustPlan(
            tuple(document for plan in plans for document in plan.applied),
            tuple(deletion for plan in plans for deletion in plan.deleted),
        )

    @property
    def _write_seconds(self) -> float:
        """How long a write may take that begins now; 0 where none may."""
        return max(min(self._seconds_left(), WRITE_SECONDS), 0.0) if self._leading() else 0.0

    async def _bring(self) -> None:
        """Have everybody hold the bundle as it is, if that is ours to do."""
        if not self._write_seconds:
            self.handed_out = ""
            return
        bundle, whole = self._bundle(), self._objects.whole
        plan = self._plan()
        if (plan == TrustPlan() or await self._carried_out(plan)) and whole:
            self.handed_out = bundle

    async def _carried_out(self, plan: TrustPlan) -> bool:
        """Whether every write was answered, be it with a refusal."""
        problems: list[Problem] = []
        answered = False
        try:
            async with self._opened() as client:
                writes: tuple[Document | Delete, ...] = (*plan.applied, *plan.deleted)
                for write in writes:
                    if not (seconds := self._write_seconds):
                        return False
                    problems += await self._written(client, write, seconds)
            answered = True
        except KubeError as error:
            problems.append(Problem("trust bundle", "Undistributed", f"{error}; it is tried again"))
        self._note(tuple(sorted(problems)))
        return answered

    async def _written(self, client: WritingApi, write: Document | Delete, seconds: float) -> list[Problem]:
        """Why one write was refused; raises KubeError for trouble that others would have too."""
        id_ = write.id if isinstance(write, Delete) else id_of(write)
        version = "v1" if id_.kind == "ConfigMap" else CONFIGURATIONS.api_versions[0]
        try:
            if isinstance(write, Delete):
                await client.delete(
                    id_, write.uid, write.resource_version, api_version=version, timeout_seconds=seconds
                )
            else:
                self._objects.keep(id_.kind, await client.apply(write, timeout_seconds=seconds))
        except KubeError as error:
            if is_overtaken(error):
                # What has changed is about to be told, and is planned for then.
                return []
            return [refusal(write if isinstance(write, Delete) else Apply(id_, "", write), version, error)]
        return []

    def _note(self, problems: tuple[Problem, ...]) -> None:
        for problem in sorted({*problems} - {*self._problems}):
            _log.warning(
                "trust bundle is not distributed",
                object=problem.subject,
                reason=problem.reason,
                cause=problem.message,
            )
        self._problems = problems
        if problems:
            longer = self._patience.first_retry_seconds * 2 ** min(self._failures, 20)
            self._failures += 1
            wait = min(longer, self._patience.last_retry_seconds)
            self._not_before = asyncio.get_running_loop().time() + wait
            self._news.set()
        else:
            self._failures = 0


class _Objects:
    """What is known of the resources. An answer to a write counts at once; an event that is older is ignored."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._unlisted = set(resources)
        self._unreadable: dict[Resource, str] = {}
        self._found: dict[str, dict[tuple[str, str], Document]] = {one.kind: {} for one in self._unlisted}

    @property
    def whole(self) -> bool:
        return not self._unlisted and not self._unreadable

    @property
    def problems(self) -> tuple[Problem, ...]:
        return tuple(
            Problem(resource.plural, "Unreadable", f"{cause}; the trust bundle is not distributed until they are read")
            for resource, cause in self._unreadable.items()
        )

    def has_read(self, *resources: Resource) -> bool:
        """Whether these are known and current."""
        return all(
            one.kind in self._found and one not in self._unlisted and one not in self._unreadable for one in resources
        )

    def of(self, kind: str) -> dict[tuple[str, str], Document]:
        """By namespace and name."""
        return self._found.get(kind, {})

    def keep(self, kind: str, item: Document) -> None:
        """Take in an object as the answer to a write tells it."""
        key = _key(item)
        before = self._found[kind].get(key)
        if before is None or version_of(item) >= version_of(before):
            self._found[kind][key] = item

    def replace(self, resource: Resource, items: Iterable[Document]) -> None:
        self._found[resource.kind] = {_key(item): item for item in items}
        self._unlisted.discard(resource)

    def put(self, resource: Resource, item: Document) -> None:
        self.keep(resource.kind, item)

    def remove(self, resource: Resource, item: Document) -> None:
        before = self._found[resource.kind].get(_key(item))
        if before is not None and version_of(item) >= version_of(before):
            del self._found[resource.kind][_key(item)]

    def mark_unreadable(self, resource: Resource, cause: str) -> None:
        self._unreadable[resource] = cause

    def mark_readable(self, resource: Resource) -> None:
        self._unreadable.pop(resource, None)


def _key(item: Document) -> tuple[str, str]:
    metadata = section(item, "metadata")
    return text(metadata.get("namespace")), text(metadata.get("name"))
