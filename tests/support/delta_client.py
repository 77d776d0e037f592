"""A real delta xDS client over grpc.aio, as patient as Envoy: for tests of the server as a whole.

It answers only when told to. `wait_for` receives and accepts responses until a condition on what the client
has holds; `received` keeps every response, so that a test can count what was sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import TracebackType

import grpc
import grpc.aio

from gateway.xds import protos

AGGREGATED = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
CLUSTERS = "/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters"

DEADLINE_SECONDS = 20.0


class DeltaClient:
    """One stream of one node; use it as an async context manager."""

    def __init__(
        self,
        target: str,
        *,
        node: str = "node-1",
        token: str | None = None,
        method: str = AGGREGATED,
        credentials: grpc.ChannelCredentials | None = None,
        server_name: str | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        self.received: list[protos.Message] = []
        self.has: dict[str, dict[str, str]] = {}
        """Version by type and name of everything accepted."""
        options = [("grpc.ssl_target_name_override", server_name)] if server_name else []
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(target, options=options)
        else:
            self._channel = grpc.aio.secure_channel(target, credentials, options=options)
        headers = (("authorization", f"Bearer {token}"),) if token is not None else ()
        self._call = self._channel.stream_stream(method)(metadata=headers)
        self._node = protos.Node(id=node)
        protos.json_format.ParseDict(dict(metadata or {}), self._node.metadata)

    async def __aenter__(self) -> DeltaClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call.cancel()
        await self._channel.close()

    async def subscribe(
        self,
        type_url: str,
        *names: str,
        unsubscribe: tuple[str, ...] = (),
        initial_versions: Mapping[str, str] | None = None,
    ) -> None:
        """Send a request about names; without any, the legacy wildcard."""
        await self._send(
            protos.DeltaDiscoveryRequest(
                type_url=type_url,
                resource_names_subscribe=names,
                resource_names_unsubscribe=unsubscribe,
                initial_resource_versions=dict(initial_versions or {}),
            )
        )

    async def receive(self) -> protos.Message:
        """The next response; raises AioRpcError when the server ended the stream."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            raw = await self._call.read()
        if raw is grpc.aio.EOF:
            raise EOFError("the server ended the stream")
        response = protos.DeltaDiscoveryResponse.FromString(raw)
        self.received.append(response)
        return response

    async def ack(self, response: protos.Message) -> None:
        known = self.has.setdefault(response.type_url, {})
        known.update((resource.name, resource.version) for resource in response.resources)
        for name in response.removed_resources:
            known.pop(name, None)
        await self._send(protos.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce))

    async def nack(self, response: protos.Message, words: str) -> None:
        await self._send(
            protos.DeltaDiscoveryRequest(
                type_url=response.type_url,
                response_nonce=response.nonce,
                error_detail=protos.Status(code=13, message=words),
            )
        )

    async def accept(self) -> protos.Message:
        """Receive one response and ACK it."""
        response = await self.receive()
        await self.ack(response)
        return response

    async def wait_for(self, condition: Callable[[DeltaClient], bool]) -> None:
        """Accept responses until the condition on this client holds."""
        while not condition(self):
            await self.accept()

    async def status(self) -> tuple[grpc.StatusCode, str]:
        """How the server ended the stream, after what it still had to say."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await self._call.code(), await self._call.details()

    def sent(self, type_url: str) -> list[str]:
        """Names of all resources of a type received so far, in order, repeats included."""
        return [
            resource.name
            for response in self.received
            if response.type_url == type_url
            for resource in response.resources
        ]

    async def _send(self, request: protos.Message) -> None:
        request.node.CopyFrom(self._node)
        await self._call.write(request.SerializeToString())
