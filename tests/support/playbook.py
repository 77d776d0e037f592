"""A delta stream as a trace of events, without sockets.

Types go by Envoy's short names (CDS, EDS, SDS, LDS, RDS). A response reads ``"CDS#1 a b -c"``: type and nonce,
resources sent, names removed. Every event returns the responses that it caused, in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.xds import protos as pb
from gateway.xds.cache import Changed, NodeView, SnapshotCache
from gateway.xds.delivery import DeltaResponse, Nack
from gateway.xds.resources import Resource
from gateway.xds.stream import DeltaRequest, DeltaStream
from gateway.xds.subscription import SubscriptionChange

TYPES = {"CDS": pb.CLUSTER, "EDS": pb.ENDPOINT, "SDS": pb.SECRET, "LDS": pb.LISTENER, "RDS": pb.ROUTE}
_SHORT = {type_url: short for short, type_url in TYPES.items()}


class Playbook:
    """One node's view and one stream on it."""

    def __init__(self, *resources: Resource, synced: bool = True, max_bytes: int = 1 << 20) -> None:
        self.cache = SnapshotCache()
        self.cache.add_node("node", "group")
        self.cache.update_node("node")
        self._max_bytes = max_bytes
        self._changed: list[tuple[NodeView, Changed]] = []
        self.cache.subscribe("node", lambda *change: self._changed.append(change))
        if synced:
            assert self.cache.update_group("group", resources) == ()
        self.reconnect()

    def reconnect(self, *, gather: bool = False) -> None:
        """A new stream of the same node."""
        self._changed.clear()
        self.stream = DeltaStream(self.cache.view("node"), gather=gather, max_bytes=self._max_bytes)

    def gathered(self) -> list[str]:
        """The burst of requests of a reconnecting client is over."""
        return _read(self.stream.on_gathered())

    def request(
        self,
        kind: str,
        *names: str,
        unsubscribe: Iterable[str] = (),
        has: Mapping[str, str] | None = None,
    ) -> list[str]:
        """The client subscribes and unsubscribes; without any name it is the legacy wildcard."""
        change = SubscriptionChange(names, tuple(unsubscribe), has or {})
        return _read(self.stream.on_request(DeltaRequest(TYPES[kind], change)))

    def ack(self, response: str, *names: str) -> list[str]:
        """The client accepts ``"CDS#1"``, and may subscribe to names in the same message."""
        return self._answer(response, names, None)

    def nack(self, response: str, words: str = "no") -> list[str]:
        return self._answer(response, (), words)

    def _answer(self, response: str, names: tuple[str, ...], error: str | None) -> list[str]:
        kind, _, nonce = response.partition("#")
        request = DeltaRequest(TYPES[kind], SubscriptionChange(names), nonce, error)
        return _read(self.stream.on_request(request))

    def change(self, *upserts: Resource, removed: Iterable[Resource] = ()) -> list[str]:
        """The controller changes the shared layer."""
        assert self.cache.update_group("group", upserts, [resource.key for resource in removed]) == ()
        return self.deliver()

    def deliver(self) -> list[str]:
        """Tell the stream of all changes that the cache announced."""
        changed, self._changed[:] = tuple(self._changed), ()
        return [line for change in changed for line in _read(self.stream.on_change(*change))]

    def nacks(self) -> list[Nack]:
        return [nack for status in self.stream.status() for nack in status.nacks]


def _read(responses: Iterable[DeltaResponse]) -> list[str]:
    return [
        " ".join(
            (
                f"{_SHORT[response.type_url]}#{response.nonce}",
                *(resource.name for resource in response.resources),
                *(f"-{name}" for name in response.removed),
            )
        )
        for response in responses
    ]
