"""One connected gRPC stream: bytes in, DeltaStream, bytes out.

Sits between `server`, which has authenticated the node, and `stream`, which decides. Reading and writing
take turns under one lock, so responses leave in the order in which they were decided, and a client that
does not read is not read from either. Decides nothing about resources itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import grpc.aio
import structlog

from gateway.xds import protos
from gateway.xds.cache import Changed, NodeView
from gateway.xds.delivery import DeltaResponse, Nack
from gateway.xds.status import StreamStatus, XdsCounters
from gateway.xds.stream import DeltaRequest, DeltaStream
from gateway.xds.subscription import SubscriptionChange

log = structlog.get_logger()

END_OF_STREAM: object = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs do not know it

_GATHER_SECONDS = 0.05
"""How long the first requests of a reconnecting client may take; they are sent in one go."""


class Wire(Protocol):
    """The part of a gRPC servicer context that a session needs."""

    async def read(self) -> Any: ...

    async def write(self, message: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a session is over: the status that the client gets."""

    code: grpc.StatusCode
    reason: str


CLIENT_DONE = Ending(grpc.StatusCode.OK, "")
SHUTTING_DOWN = Ending(grpc.StatusCode.UNAVAILABLE, "xds server is shutting down")
TOKEN_WITHDRAWN = Ending(grpc.StatusCode.UNAUTHENTICATED, "token was withdrawn")


def parse_request(raw: bytes) -> protos.Message | None:
    """The DeltaDiscoveryRequest in these bytes, or None if there is none."""
    try:
        return protos.DeltaDiscoveryRequest.FromString(raw)
    except protos.DecodeError:
        return None


def delta_request(message: protos.Message) -> DeltaRequest:
    """The request without its protobuf. A NACK is what carries ``error_detail``, and nothing else."""
    return DeltaRequest(
        message.type_url,
        SubscriptionChange(
            tuple(message.resource_names_subscribe),
            tuple(message.resource_names_unsubscribe),
            dict(message.initial_resource_versions),
        ),
        message.response_nonce,
        message.error_detail.message if message.HasField("error_detail") else None,
    )


class Session:
    """One stream of one node, from its first request to its end."""

    def __init__(
        self,
        wire: Wire,
        view: NodeView,
        counters: XdsCounters,
        *,
        node: str,
        subject: str,
        since: datetime,
        only_type: str | None,
        reconnecting: bool,
        tell_siblings: Callable[[str, tuple[str, ...]], None],
    ) -> None:
        """``only_type`` is the type of a single-type stream, ``reconnecting`` whether the client has resources
        already; ``tell_siblings`` passes endpoint names to the node's other streams."""
        self.node = node
        self._wire = wire
        self._view = view
        self._stream = DeltaStream(view, gather=reconnecting)
        self._reconnecting = reconnecting
        self._counters = counters
        self._subject = subject
        self._since = since
        self._only_type = only_type
        self._tell_siblings = tell_siblings
        self._turn = asyncio.Lock()
        self._wake = asyncio.Event()
        self._changed: dict[str, dict[str, None]] = {}
        self._endpoints_due: dict[str, None] = {}
        self._ending: Ending | None = None
        self._given_secrets: set[str] = set()
        self._reported: set[Nack] = set()

    def on_changed(self, view: NodeView, changed: Changed) -> None:
        """The node's view changed. Names of several changes merge until there is time to look."""
        self._view = view
        for type_url, names in changed.items():
            self._changed.setdefault(type_url, {}).update(dict.fromkeys(names))
        self._wake.set()

    def on_clusters_updated(self, endpoints: Iterable[str]) -> None:
        """A sibling stream had updated clusters accepted, which wait for these endpoints."""
        self._endpoints_due.update(dict.fromkeys(endpoints))
        self._wake.set()

    def end(self, ending: Ending) -> None:
        """Finish soon, with that status."""
        self._ending = self._ending or ending
        self._wake.set()

    def status(self) -> StreamStatus:
        unseen = bool(self._changed or self._endpoints_due)
        return StreamStatus(self.node, self._subject, self._since, self._stream.status(), unseen)

    async def run(self, first: protos.Message) -> Ending:
        """Serve until the client ends the stream or `end` is called; returns why it is over."""
        async with asyncio.TaskGroup() as tasks:
            reader = tasks.create_task(self._read(first))
            gathering = tasks.create_task(self._gather())
            while self._ending is None:
                await self._wake.wait()
                self._wake.clear()
                async with self._turn:
                    await self._push()
            reader.cancel()
            gathering.cancel()
        return self._ending

    async def _gather(self) -> None:
        if self._reconnecting:
            await asyncio.sleep(_GATHER_SECONDS)
            async with self._turn:
                await self._write(self._stream.on_gathered())

    async def _read(self, first: protos.Message) -> None:
        message: protos.Message | None = first
        while message is not None:
            type_url = message.type_url or self._only_type
            if not type_url or (self._only_type or type_url) != type_url:
                self.end(Ending(grpc.StatusCode.INVALID_ARGUMENT, f"type {type_url!r} is not served here"))
                return
            message.type_url = type_url
            async with self._turn:
                await self._answer(delta_request(message))
            raw = await self._wire.read()
            if raw is END_OF_STREAM:
                self.end(CLIENT_DONE)
                return
            message = parse_request(raw)
        self.end(Ending(grpc.StatusCode.INVALID_ARGUMENT, "message is not a DeltaDiscoveryRequest"))

    async def _answer(self, request: DeltaRequest) -> None:
        if request.error is not None:
            self._counters.nacks[request.type_url] += 1
        responses = self._stream.on_request(request)
        if request.error is not None:
            self._report()
        due = self._stream.take_endpoints_due()
        if due:
            self._tell_siblings(self.node, due)
        await self._write(responses)

    async def _push(self) -> None:
        changed, self._changed = self._changed, {}
        endpoints, self._endpoints_due = self._endpoints_due, {}
        await self._write(self._stream.on_change(self._view, changed))
        if endpoints:
            await self._write(self._stream.on_clusters_updated_elsewhere(endpoints))

    async def _write(self, responses: Iterable[DeltaResponse]) -> None:
        for response in responses:
            await self._wire.write(response.wire())
            self._count(response)

    def _count(self, response: DeltaResponse) -> None:
        self._counters.responses_sent[response.type_url] += 1
        self._counters.resources_sent[response.type_url] += len(response.resources)
        self._counters.removals_sent[response.type_url] += len(response.removed)
        if response.type_url == protos.SECRET:
            self._given_secrets.update(resource.name for resource in response.resources)
            denied = [name for name in response.removed if name not in self._given_secrets]
            self._counters.denied_secrets += len(denied)
            for name in denied:
                log.warning("secret denied", node=self.node, subject=self._subject, name=name)

    def _report(self) -> None:
        standing = {nack for status in self._stream.status() for nack in status.nacks}
        for nack in standing - self._reported:
            log.warning(
                "resource rejected by envoy",
                node=self.node,
                type=nack.type_url,
                name=nack.name,
                version=nack.version,
                reason=nack.message,
            )
        self._reported = standing


def node_metadata(node: protos.Message) -> Mapping[str, Any]:
    """The free-form metadata of a node, as plain values."""
    return protos.json_format.MessageToDict(node.metadata)
