"""GatewayAddressWatch: tells where the own gateways are reached, as their Service and nodes come and go.

Edge with a little memory; what the objects mean is ``gateway_addresses``'s. An answer of none changes nothing: nodes
that a control plane lost sight of, or a Service that is made anew, are no reason for peers to forget their way here.
Whether somebody answers there they find out themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, ExitStack
from typing import Final

import structlog

from controllers.kube.cluster_watch import ClusterWatch
from controllers.kube.gateway_addresses import (
    GatewayNode,
    GatewayService,
    decide_addresses,
    nodes_with_ready,
    parse_gateway_node,
    parse_gateway_service,
)
from controllers.mcs.objects import Document, section, text
from controllers.sources.resource_watch import Api, Patience
from controllers.sources.slice_bodies import SERVICE_LABEL
from controllers.sources.watched_objects import RESOURCES, Resource
from federation.model.addresses import HostPort
from federation.model.problems import Problem

_log = structlog.get_logger(__name__)

# The same as the source's, so that a shared watch reads them once.
_ALWAYS: Final = tuple(one for one in RESOURCES if one.kind in {"Service", "EndpointSlice"})
_NODES: Final = Resource("Node", ("v1",), "nodes")


class GatewayAddressWatch:
    """Of the gateways behind one Service; ``on_change`` gets the addresses whenever they are others, never none.

    ``opened`` gives clients. ``watch`` is one that others share, and that somebody runs.
    """

    def __init__(
        self,
        opened: Callable[[], AbstractAsyncContextManager[Api]],
        namespace: str,
        service_name: str,
        on_change: Callable[[tuple[HostPort, ...]], None],
        *,
        watch: ClusterWatch | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._shared = watch
        self._watch = watch or ClusterWatch(opened, patience)
        self._on_change = on_change
        self._objects = _Objects(namespace, service_name)
        self._news = asyncio.Event()
        self._decided: tuple[Problem, ...] = ()
        self.addresses: tuple[HostPort, ...] = ()
        """As last told."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Why there are no addresses, or not all, or why they may be old."""
        return tuple(sorted({*self._decided, *self._objects.unreadable.values()}))

    async def run(self) -> None:
        """Observe until cancelled. Nodes are read only while the Service needs them."""
        with ExitStack() as nodes, self._watch.follow(_ALWAYS, self._objects, self._news.set):
            async with asyncio.TaskGroup() as tasks:
                if self._shared is None:
                    tasks.create_task(self._watch.run(), name="watch of gateway addresses")
                followed = False
                while True:
                    await self._news.wait()
                    self._news.clear()
                    service = self._objects.service
                    if service is not None and service.by_nodes is not followed:
                        nodes.close()
                        self._objects.forget_nodes()
                        if service.by_nodes:
                            nodes.enter_context(self._watch.follow([_NODES], self._objects, self._news.set))
                        followed = service.by_nodes
                    if self._objects.whole:
                        self._decide(service)

    def _decide(self, service: GatewayService | None) -> None:
        missing = "is not there: install the gateway, or give gateway.addresses in the settings"
        addresses: tuple[HostPort, ...] = ()
        problems: tuple[Problem, ...] = (Problem(self._objects.subject, "NotFound", missing),)
        if service is not None:
            addresses, problems = decide_addresses(service, self._objects.nodes.values(), self._objects.with_gateway)
        for problem in sorted({*problems} - {*self._decided}):
            _log.warning("gateways may not be reached", reason=problem.reason, cause=str(problem))
        self._decided = problems
        if addresses and addresses != self.addresses:
            _log.info("gateways are reached at other addresses", addresses=[str(one) for one in addresses])
            self.addresses = addresses
            self._on_change(addresses)


class _Objects:
    """The Service, its slices and the nodes, as far as they matter."""

    def __init__(self, namespace: str, name: str) -> None:
        self._namespace, self._name = namespace, name
        self.subject = f"Service {namespace}/{name}"
        self.service: GatewayService | None = None
        self.nodes: dict[str, GatewayNode] = {}
        self._slices: dict[str, frozenset[str]] = {}
        self._listed: set[Resource] = set()
        self.unreadable: dict[Resource, Problem] = {}

    @property
    def whole(self) -> bool:
        needed = {*_ALWAYS, *([_NODES] if self.service is not None and self.service.by_nodes else [])}
        return needed <= self._listed

    @property
    def with_gateway(self) -> frozenset[str]:
        """Names of the nodes with a ready gateway."""
        return frozenset().union(*self._slices.values())

    def forget_nodes(self) -> None:
        self.nodes = {}
        self._listed.discard(_NODES)
        self.unreadable.pop(_NODES, None)

    def replace(self, resource: Resource, items: Iterable[Document]) -> None:
        match resource.kind:
            case "Service":
                self.service = None
            case "EndpointSlice":
                self._slices = {}
            case _:
                self.nodes = {}
        for item in items:
            self.put(resource, item)
        self._listed.add(resource)

    def put(self, resource: Resource, item: Document) -> None:
        name = self._mine(resource, item)
        match resource.kind:
            case "Service" if name:
                self.service = parse_gateway_service(item)
            case "EndpointSlice" if name:
                self._slices[name] = nodes_with_ready(item)
            case "Node":
                self.nodes[name] = parse_gateway_node(item)

    def remove(self, resource: Resource, item: Document) -> None:
        name = self._mine(resource, item)
        match resource.kind:
            case "Service" if name:
                self.service = None
            case "EndpointSlice":
                self._slices.pop(name, None)
            case "Node":
                self.nodes.pop(name, None)

    def mark_unreadable(self, resource: Resource, cause: str) -> None:
        told = f"{cause}; peers keep the addresses that they have"
        self.unreadable[resource] = Problem(resource.plural, "Unreadable", told)

    def mark_readable(self, resource: Resource) -> None:
        self.unreadable.pop(resource, None)

    def _mine(self, resource: Resource, item: Document) -> str:
        """The name of an object; empty where it is none of the gateway's."""
        metadata = section(item, "metadata")
        name = text(metadata.get("name"))
        if resource.kind == "Node":
            return name
        service = name if resource.kind == "Service" else section(metadata, "labels").get(SERVICE_LABEL)
        return name if metadata.get("namespace") == self._namespace and service == self._name else ""
