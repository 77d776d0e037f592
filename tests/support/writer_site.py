"""Cluster east on a stand-in API server, with the writer at work in it; a test tells what the clusterset exports.

Service demo/echo is exported by west unless a test says otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
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
from support.kube.housekeeping import NAMESPACES
from support.kube.kinds import ResourceType
from support.kube.objects import Key
from support.kube.registry import Write
from support.kube.server import StandIn, running
from support.kubernetes_site import QUICK
from support.mcs_cluster import RESOURCES

SOMEBODY = Write("kubectl")
DERIVED = derived_id(ECHO)
Opened = Callable[[], AbstractAsyncContextManager[WritingApi]]


def exported(of: ServiceKey = ECHO) -> ServiceState:
    """A service with one endpoint and its export."""
    return ServiceState(service(of), service_export(of), (endpoint_slice(endpoint("10.0.0.1"), of=of),))


class WriterSite:
    """The API server, the writer, and what the clusterset exports."""

    def __init__(self, server: StandIn, opened: Opened) -> None:
        self.server = server
        self.writer = ObjectWriter(opened, lambda: CREATED, patience=QUICK)
        self.exports: dict[ClusterId, dict[ServiceKey, ServiceState]] = {WEST: {ECHO: exported()}}
        self.publication = Publication(Delivery.EXPORTED)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self.writer.run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def tell(self, *changed: ServiceKey) -> None:
        """Let the writer know what is exported now; all of it is news where no service is named."""
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
        self.writer.tell(Computed(results, own, around, self.publication), changed or tuple(keys))

    async def in_order(self, *kinds: str) -> None:
        """Until there is an object of each of these kinds, the usual ones if none is named, and no work is left."""
        wanted = kinds or ("ServiceImport", "Service", "EndpointSlice")
        await until(lambda: all(self.of(kind) for kind in wanted) and self.writer.settled)

    def namespace(self, name: str = "demo") -> None:
        self.server.put(NAMESPACES, {"metadata": {"name": name}})

    def of(self, kind: str) -> dict[ObjectId, dict[str, Any]]:
        """What is stored of a kind."""
        found = self.server.objects(RESOURCES[kind])
        return {ObjectId(kind, key.namespace, key.name): body for key, body in found.items()}

    def one(self, kind: str) -> dict[str, Any]:
        """The only object of a kind; empty where there is none."""
        found = [*self.of(kind).values()]
        assert len(found) < 2, found
        return found[0] if found else {}

    def create(self, kind: str, body: dict[str, Any], namespace: str = "demo") -> None:
        stored = self._kind(kind)
        whole = {"apiVersion": stored.api_version, "kind": stored.kind, **body}
        self.server.registry.create(stored, namespace, whole, SOMEBODY)

    def edit(self, kind: str, patch: dict[str, Any]) -> None:
        """Somebody edits the only object of a kind by hand."""
        (id_,) = self.of(kind)
        key = Key(id_.namespace, id_.name)
        self.server.registry.patch(self._kind(kind), key, "application/merge-patch+json", patch, SOMEBODY)

    def delete(self, kind: str) -> None:
        """Somebody deletes the only object of a kind by hand."""
        (id_,) = self.of(kind)
        self.server.registry.delete(self._kind(kind), Key(id_.namespace, id_.name), {})

    @property
    def writes(self) -> list[tuple[str, str, int]]:
        """Every write so far: verb, resource, and how it was answered."""
        return [
            (one.asked.verb, "/".join(part for part in (one.asked.plural, one.asked.subresource) if part), one.code)
            for one in self.server.audit
            if one.asked.verb not in {"get", "list", "watch"}
        ]

    def lists(self, plural: str = "") -> int:
        """How often a resource, or any, was listed."""
        return sum(1 for one in self.server.audit if one.asked.verb == "list" and plural in {"", one.asked.plural})

    def _kind(self, kind: str) -> ResourceType:
        return next(one for one in self.server.registry.catalog.all() if one.resource == RESOURCES[kind])


@asynccontextmanager
async def writer_site(
    directory: Path, *, token: Callable[[StandIn], str] | None = None, around: Callable[[Opened], Opened] | None = None
) -> AsyncIterator[WriterSite]:
    """A site whose writer is neither started nor told anything; it asks as the administrator unless a token is given,
    by clients that ``around`` may wrap."""
    async with running() as server:
        kubeconfig = server.write_kubeconfig(directory / "kubeconfig", token(server) if token else None)
        opened: Opened = partial(open_client, KubeAccess(kubeconfig))
        site = WriterSite(server, around(opened) if around else opened)
        try:
            yield site
        finally:
            await site.stop()


def _records(cluster: ClusterId, states: dict[ServiceKey, ServiceState]) -> Iterable[Any]:
    yield gateway_record("192.0.2.1")
    for key, state in states.items():
        told = export_service(key, state, trust_domain=f"{cluster}.test", first_seen=CREATED)
        yield from (record for record in (told.export, told.endpoints) if record is not None)
