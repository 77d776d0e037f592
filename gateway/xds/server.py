"""The delta xDS server: aggregated streams and on-demand clusters over gRPC.

Sits at the edge: it authenticates a node, has its view made, and hands the stream to a `Session`. Messages
pass as raw bytes, so that a response is the join of cached bytes and gRPC copies it no further.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import grpc
import grpc.aio
import structlog

from federation.model.errors import ConfigError, FederationError
from gateway.xds import protos
from gateway.xds.cache import SnapshotCache
from gateway.xds.listening import ServingCertificate, prepare_unix_socket, rotating_credentials
from gateway.xds.session import (
    END_OF_STREAM,
    SHUTTING_DOWN,
    TOKEN_WITHDRAWN,
    Ending,
    Session,
    node_metadata,
    parse_request,
)
from gateway.xds.status import StreamStatus, XdsCounters

log = structlog.get_logger()

Context = grpc.aio.ServicerContext[bytes, bytes]
Behaviour = Callable[[object, Context], Awaitable[None]]

_HELLO_SECONDS = 10.0
"""A peer that says nothing is not authenticated, and holds a stream no longer than this."""

_SINGLE_TYPE_SERVICES = {
    ("envoy.service.cluster.v3.ClusterDiscoveryService", "DeltaClusters"): protos.CLUSTER,
}
_AGGREGATED_SERVICE = ("envoy.service.discovery.v3.AggregatedDiscoveryService", "DeltaAggregatedResources")

_OPTIONS = (
    # A reconnecting Envoy names all that it has: 120 bytes each, 6 MB for 50,000.
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", -1),
    # A peer that vanished without a reset is found within 40 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Envoy's own pings are welcome at any rate.
    ("grpc.http2.max_ping_strikes", 0),
    # Two controllers on one port would each serve half of the nodes.
    ("grpc.so_reuseport", 0),
)


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Whom a token proves."""

    subject: str
    """SPIFFE ID of the workload, or the name of the gateway."""
    credential: str = ""
    """What the token may be remembered by, opaque here; never the token."""


@dataclass(frozen=True, slots=True)
class Node:
    """What Envoy says of itself in its first request. Nothing of it is proved."""

    id: str
    cluster: str
    metadata: Mapping[str, Any]


class Authenticate(Protocol):
    async def __call__(self, token: str | None, node_id: str, metadata: Mapping[str, Any]) -> NodeIdentity | None:
        """Whom the bearer token proves, or None. A FederationError means "cannot tell now"."""


class OnNode(Protocol):
    async def __call__(self, identity: NodeIdentity, node: Node) -> str | None:
        """The name of the node's view in the cache, made now if need be; None where it may have none."""


class XdsServer:
    """The server; made inside a running event loop."""

    def __init__(
        self,
        cache: SnapshotCache,
        *,
        authenticate: Authenticate,
        on_node: OnNode,
        now: Callable[[], datetime],
    ) -> None:
        self.counters = XdsCounters()
        self._cache = cache
        self._authenticate = authenticate
        self._on_node = on_node
        self._now = now
        self._sessions: set[Session] = set()
        self._socket: Path | None = None
        self._stopping = False
        self._grpc = grpc.aio.server(options=_OPTIONS)
        self._grpc.add_generic_rpc_handlers(
            [_handler(*_AGGREGATED_SERVICE, self._serve_aggregated)]
            + [_handler(*method, self._serve_single(type_url)) for method, type_url in _SINGLE_TYPE_SERVICES.items()]
        )

    def listen_unix(self, path: Path) -> None:
        """Listen on a Unix socket (0600, in a directory 0700). Raises ConfigError where that cannot be."""
        self._bind(lambda: self._grpc.add_insecure_port(prepare_unix_socket(path)), str(path))
        path.chmod(0o600)
        self._socket = path

    def listen_tls(self, host: str, port: int, certificate: Callable[[], ServingCertificate]) -> int:
        """Listen on TCP with TLS; returns the port, which is chosen for 0. Raises ConfigError if it is taken."""
        credentials = rotating_credentials(certificate)
        return self._bind(lambda: self._grpc.add_secure_port(f"{host}:{port}", credentials), f"{host}:{port}")

    def _bind(self, bind: Callable[[], int], where: str) -> int:
        try:
            return bind()
        except RuntimeError as error:
            raise ConfigError(f"xds server cannot listen on {where}: {error}") from error

    async def start(self) -> None:
        await self._grpc.start()

    async def stop(self, grace_seconds: float = 1.0) -> None:
        """End all streams, so that Envoys keep what they have and reconnect; then close the sockets."""
        self._stopping = True
        for session in self._sessions:
            session.end(SHUTTING_DOWN)
        await self._grpc.stop(grace_seconds)
        if self._socket is not None:
            self._socket.unlink(missing_ok=True)

    def refuse_from_now_on(self, names: Collection[str]) -> None:
        """End the streams of nodes whose tokens no longer hold. Whoever comes back with such a token is refused, and
        counted, then: tokens of Kubernetes expire every hour, and most nodes come with the next one."""
        for session in self._sessions:
            if session.node in names:
                log.info("node must prove itself again", node=session.node, reason=TOKEN_WITHDRAWN.reason)
                session.end(TOKEN_WITHDRAWN)

    def streams(self) -> tuple[StreamStatus, ...]:
        """All connected streams, by node and then by age."""
        found = (session.status() for session in self._sessions)
        return tuple(sorted(found, key=lambda status: (status.node, status.since)))

    async def _serve_aggregated(self, _: object, context: Context) -> None:
        await self._serve(context, None)

    def _serve_single(self, type_url: str) -> Behaviour:
        async def serve(_: object, context: Context) -> None:
            await self._serve(context, type_url)

        return serve

    async def _serve(self, context: Context, only_type: str | None) -> None:
        ending = await self._admit(context, only_type)
        if ending.code is not grpc.StatusCode.OK:
            await context.abort(ending.code, ending.reason)

    async def _admit(self, context: Context, only_type: str | None) -> Ending:
        """Authenticate the node, find its view and serve it; returns how the stream ended."""
        if self._stopping:
            return SHUTTING_DOWN
        try:
            async with asyncio.timeout(_HELLO_SECONDS):
                raw = await context.read()
        except TimeoutError:
            return Ending(grpc.StatusCode.DEADLINE_EXCEEDED, "no request came")
        first = None if raw is END_OF_STREAM else parse_request(raw)
        if first is None or not first.node.id:
            return Ending(grpc.StatusCode.INVALID_ARGUMENT, "first message names no node")
        node = Node(first.node.id, first.node.cluster, node_metadata(first.node))
        try:
            identity = await self._authenticate(_bearer_token(context), node.id, node.metadata)
            if identity is None:
                return self._refuse(grpc.StatusCode.UNAUTHENTICATED, "token proves no identity", node)
            name = await self._on_node(identity, node)
        except FederationError as error:
            log.warning("node cannot be authenticated now", node=node.id, reason=str(error))
            return Ending(grpc.StatusCode.UNAVAILABLE, "cannot authenticate now")
        if name is None:
            return self._refuse(grpc.StatusCode.PERMISSION_DENIED, "identity may not be this node", node)
        return await self._run(context, first, identity, name, only_type)

    def _refuse(self, code: grpc.StatusCode, reason: str, node: Node) -> Ending:
        self.counters.auth_refused += 1
        log.warning("node refused", node=node.id, reason=reason)
        return Ending(code, reason)

    async def _run(
        self,
        context: Context,
        first: protos.Message,
        identity: NodeIdentity,
        name: str,
        only_type: str | None,
    ) -> Ending:
        session = Session(
            context,
            self._cache.view(name),
            self.counters,
            node=name,
            subject=identity.subject,
            since=self._now(),
            only_type=only_type,
            reconnecting=bool(first.initial_resource_versions),
            tell_siblings=self._tell_siblings,
        )
        unsubscribe = self._cache.subscribe(name, session.on_changed)
        self._sessions.add(session)
        self.counters.streams_connected += 1
        log.info("xds stream opened", node=name, subject=identity.subject)
        try:
            return await session.run(first)
        finally:
            self.counters.streams_connected -= 1
            self._sessions.discard(session)
            unsubscribe()
            log.info("xds stream closed", node=name)

    def _tell_siblings(self, node: str, endpoints: tuple[str, ...]) -> None:
        for session in self._sessions:
            if session.node == node:
                session.on_clusters_updated(endpoints)


def _handler(service: str, method: str, behaviour: Behaviour) -> grpc.GenericRpcHandler[bytes, bytes]:
    """A method whose messages stay bytes: no deserializer, no serializer."""
    return grpc.method_handlers_generic_handler(service, {method: grpc.stream_stream_rpc_method_handler(behaviour)})


def _bearer_token(context: Context) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str):
            scheme, _, token = value.partition(" ")
            return token.strip() if scheme.lower() == "bearer" and token.strip() else None
    return None
