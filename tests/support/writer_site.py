"""Cluster east on an API server, with the writer at work in it; a test tells what the clusterset exports.

Service demo/echo is exported by west unless a test says otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from controllers.kube.client import KubeAccess, open_client
from controllers.kube.writer import Computed, ObjectWriter, WritingApi
from controllers.mcs.export_status import Delivery, Publication
from controllers.mcs.objects import derived_id
from controllers.projection import meet, project_service
from controllers.sources.manifests import ObjectId
from federation.exchange.base import ExchangeSnapshot, MemberSnapshot
from federation.model.export import export_service
from federation.model.locality import Site
from federation.model.names import ClusterId, ServiceKey
from federation.model.state import ServiceState
from support.builders import (
    CREATED,
    EAST,
    ECHO,
    WEST,
    endpoint,
    endpoint_slice,
    gateway_record,
    service,
    service_export,
)
from support.exchange import until
from support.kube.cluster import Cluster, emptied, requests
from support.kube.housekeeping import NAMESPACES
from support.kube.identity import MASTERS
from support.kube.objects import Key
from support.kube.real import RealServer
from support.kube.server import StandIn, running
from support.kubernetes_site import QUICK
from support.mcs_cluster import RESOURCES

USER = "writer"
DERIVED = derived_id(ECHO)
Opened = Callable[[], AbstractAsyncContextManager[WritingApi]]


def exported(of: ServiceKey = ECHO) -> ServiceState:
    """A service with one endpoint and its export."""
    return ServiceState(service(of), service_export(of), (endpoint_slice(endpoint("10.0.0.1"), of=of),))


class WriterSite:
    """The cluster, the writer, and what the clusterset exports."""

    def __init__(self, cluster: Cluster, opened: Opened) -> None:
        self.cluster = cluster
        self.writer = ObjectWriter(opened, lambda: CREATED, patience=QUICK)
        self.exports: dict[ClusterId, dict[ServiceKey, ServiceState]] = {WEST: {ECHO: exported()}}
        self.publication = Publication(Delivery.EXPORTED)
        self._task: asyncio.Task[None] | None = None
        # A real server lives for the whole run, and others than this writer had its name.
        self._earlier = len(requests(cluster, USER))

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self.writer.run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def tell(self, *changed: ServiceKey) -> None:
        """Let the writer know what is exported now; all of it is news where no service is named."""
        computed = self.computed()
        self.writer.tell(computed, changed or tuple(computed.results))

    def computed(self) -> Computed:
        """What follows from what is exported now."""
        members = {
            cluster: MemberSnapshot(
                cluster, records={record.record_key: record for record in _records(cluster, states)}
            )
            for cluster, states in self.exports.items()
            if cluster != EAST
        }
        peers = ExchangeSnapshot(members)
        around = meet(Site(EAST, "eu", ""), "east.test", 15006, peers, set(members))
        own = self.exports.get(EAST, {})
        keys = {key for states in self.exports.values() for key in states}
        results = {key: project_service(key, own.get(key, ServiceState()), peers, around, CREATED) for key in keys}
        return Computed(results, own, around, self.publication)

    async def in_order(self, *kinds: str) -> None:
        """Until there is an object of each of these kinds, the usual ones if none is named, and no work is left."""
        wanted = kinds or ("ServiceImport", "Service", "EndpointSlice")
        await until(lambda: all(self.of(kind) for kind in wanted) and self.writer.settled)

    @property
    def server(self) -> StandIn:
        """For the faults that only the stand-in has."""
        assert isinstance(self.cluster.server, StandIn)
        return self.cluster.server

    def namespace(self, name: str = "demo") -> None:
        self.cluster.create(NAMESPACES, "", {"metadata": {"name": name}})

    def of(self, kind: str) -> dict[ObjectId, dict[str, Any]]:
        """What is stored of a kind."""
        found = self.cluster.objects(RESOURCES[kind])
        return {ObjectId(kind, key.namespace, key.name): body for key, body in found.items()}

    def one(self, kind: str) -> dict[str, Any]:
        """The only object of a kind; empty where there is none."""
        found = [*self.of(kind).values()]
        assert len(found) < 2, found
        return found[0] if found else {}

    def create(self, kind: str, body: dict[str, Any], namespace: str = "demo") -> None:
        self.cluster.create(RESOURCES[kind], namespace, body)

    def edit(self, kind: str, patch: dict[str, Any]) -> None:
        """Somebody edits the only object of a kind by hand."""
        (id_,) = self.of(kind)
        self.cluster.patch(RESOURCES[kind], Key(id_.namespace, id_.name), patch)

    def delete(self, kind: str) -> None:
        """Somebody deletes the only object of a kind by hand."""
        (id_,) = self.of(kind)
        self.cluster.delete(RESOURCES[kind], Key(id_.namespace, id_.name))

    @property
    def writes(self) -> list[tuple[str, str, int]]:
        """Every write of the writer so far: verb, resource, and how it was answered."""
        return [
            (one.asked.verb, "/".join(part for part in (one.asked.plural, one.asked.subresource) if part), one.code)
            for one in requests(self.cluster, USER)[self._earlier :]
            if one.asked.verb not in {"get", "list", "watch"}
        ]

    def lists(self, plural: str = "") -> int:
        """How often the writer listed a resource, or any."""
        asked = [one.asked for one in requests(self.cluster, USER)[self._earlier :]]
        return sum(1 for one in asked if one.verb == "list" and plural in {"", one.plural})


@asynccontextmanager
async def writer_site(
    directory: Path,
    server: StandIn | RealServer | None = None,
    *,
    groups: Sequence[str] = (MASTERS,),
    around: Callable[[Opened], Opened] | None = None,
) -> AsyncIterator[WriterSite]:
    """A site whose writer is neither started nor told anything; on a stand-in of its own if no server is given.

    It asks as ``USER``, who may do everything unless other groups are named, by clients that ``around`` may wrap.
    """
    async with AsyncExitStack() as stack:
        if server is None:
            server = await stack.enter_async_context(running())
        cluster = await stack.enter_async_context(emptied(server))
        kubeconfig = server.write_kubeconfig(directory / "kubeconfig", user=USER, groups=groups)
        opened: Opened = partial(open_client, KubeAccess(kubeconfig))
        site = WriterSite(cluster, around(opened) if around else opened)
        try:
            yield site
        finally:
            await site.stop()


def _records(cluster: ClusterId, states: dict[ServiceKey, ServiceState]) -> Iterable[Any]:
    yield gateway_record("192.0.2.1")
    for key, state in states.items():
        told = export_service(key, state, trust_domain=f"{cluster}.test", first_seen=CREATED)
        yield from (record for record in (told.export, told.endpoints) if record is not None)
