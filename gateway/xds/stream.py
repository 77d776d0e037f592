"""One delta xDS stream: an event in (a request, or names that changed), the responses to send out.

Sits between `delivery` (one type) and `session` (gRPC). The same class serves the aggregated stream and
streams of a single type, such as on-demand clusters. What it adds is the order among the types, make
before break (xds_protocol.rst, "Eventual consistency considerations"):

- A listener or route table waits while a cluster that it names, or that cluster's endpoints, are about
  to reach the client for the first time. Updates of what the client already has hold nothing back, so
  endpoints that change all the time starve nobody.
- A listener waits until secrets that are under way are answered. New chains of filters end the connections of the old
  ones: by the old bundles, whoever is cut off could come back (docs/decisions/011).
- A cluster or its endpoints are taken away only when no listener or route table is under way, owed or
  refused: Envoy keeps using what a refused update would have replaced.
- After every update of a cluster its endpoints are sent again. Envoy warms the updated cluster until
  they come, up to 15 s, and does not ask for them.

Pure: no clock, no sockets; nonces are counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gateway.xds.delivery import Delivery, DeltaResponse, Gate, Nack, View
from gateway.xds.protos import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET
from gateway.xds.resources import Resource
from gateway.xds.subscription import SubscriptionChange

# Envoy's limit is far above, but a message is parsed and applied in one go on its main thread.
MAX_RESPONSE_BYTES = 2 << 20

_MAKE = (CLUSTER, ENDPOINT, SECRET, LISTENER, ROUTE)
_BREAK = (CLUSTER, ENDPOINT)


@dataclass(frozen=True, slots=True)
class DeltaRequest:
    """One DeltaDiscoveryRequest, without its node."""

    type_url: str
    names: SubscriptionChange = field(default_factory=SubscriptionChange)
    nonce: str = ""
    """The response that this answers; empty for none."""
    error: str | None = None
    """The client's words where it refuses that response. Nothing else makes a NACK."""


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """How one type stands on a stream."""

    type_url: str
    wildcard: bool
    names: int
    """Subscribed one by one."""
    resources: int
    """The client has, or has under way."""
    acked: int
    """Responses that it accepted."""
    nacks: tuple[Nack, ...]
    taken: Mapping[str, str] = field(default_factory=dict)
    """Secrets only: the accepted version by name, empty for what was not accepted yet."""
    busy: bool = False
    """Whether something is to be sent or waits for its answer."""


class DeltaStream:
    """The state machine of one stream."""

    def __init__(self, view: View, *, gather: bool = False, max_bytes: int = MAX_RESPONSE_BYTES) -> None:
        """With ``gather``, for a client that reconnects, requests are only kept until `on_gathered`.

        Such a client sends the requests of all types in one burst. Answered one by one, a cluster could be
        taken away before the stream knows that a route table, whose request is next in line, still names it.
        """
        self._view = view
        self._gathering = gather
        self._max_bytes = max_bytes
        self._deliveries: dict[str, Delivery] = {}
        self._nonces = 0
        self._kept: list[DeltaRequest] = []
        self._awaited_endpoints: set[str] = set()
        self._behind_clusters: tuple[str, ...] = ()
        self._due_elsewhere: list[str] = []

    def on_request(self, request: DeltaRequest) -> list[DeltaResponse]:
        """A request arrived. Before the view is synced it is kept, and answered with the first change after."""
        self._kept.append(request)
        return self._respond()

    def on_gathered(self) -> list[DeltaResponse]:
        """The burst of a reconnecting client is over."""
        self._gathering = False
        return self._respond()

    def on_change(self, view: View, changed: Mapping[str, Iterable[str]]) -> list[DeltaResponse]:
        """There is a new view; ``changed`` are all names, by type, in which it differs from the one before."""
        self._view = view
        for type_url, names in changed.items():
            if type_url in self._deliveries:
                self._deliveries[type_url].changed(names)
        return self._respond()

    def on_clusters_updated_elsewhere(self, endpoints: Iterable[str]) -> list[DeltaResponse]:
        """The node took updated clusters on another stream (`take_endpoints_due`), and needs their endpoints here."""
        if ENDPOINT in self._deliveries:
            self._deliveries[ENDPOINT].send_again(endpoints)
        return self._respond()

    def take_endpoints_due(self) -> tuple[str, ...]:
        """Endpoint names to send again on the node's other streams, since this one carries clusters only."""
        due, self._due_elsewhere = tuple(self._due_elsewhere), []
        return due

    def status(self) -> tuple[TypeStatus, ...]:
        return tuple(
            TypeStatus(
                delivery.type_url,
                delivery.subscription.wildcard,
                delivery.subscription.explicit,
                delivery.subscription.held,
                delivery.acked,
                tuple(delivery.nacks.values()),
                delivery.taken if delivery.type_url == SECRET else {},
                delivery.busy,
            )
            for delivery in self._deliveries.values()
        )

    def _take(self, request: DeltaRequest) -> None:
        delivery = self._deliveries.get(request.type_url)
        if delivery is None:
            delivery = self._deliveries[request.type_url] = Delivery(request.type_url, self._max_bytes)
        # A name is judged as subscribed whatever the nonce says: only the state of the world variant
        # of the protocol lets a stale nonce cancel a request.
        delivery.request(request.names, self._view)
        if request.nonce and delivery.answer(request.nonce, request.error) and request.type_url == CLUSTER:
            self._due_elsewhere.extend(self._behind_clusters)
            self._behind_clusters = ()
        if request.type_url == ENDPOINT:
            awaited = self._awaited_endpoints.intersection(request.names.subscribe)
            self._awaited_endpoints -= awaited
            delivery.send_again(awaited)

    def _respond(self) -> list[DeltaResponse]:
        if self._gathering or not self._view.synced:
            return []
        kept, self._kept = self._kept, []
        for request in kept:
            self._take(request)
        responses = []
        others = sorted(self._deliveries.keys() - set(_MAKE))
        for type_url in (*_MAKE, *others, *_BREAK):
            delivery = self._deliveries.get(type_url)
            if delivery is None:
                continue
            response = delivery.next(self._view, str(self._nonces + 1), self._gate(type_url))
            if response is not None:
                self._nonces += 1
                responses.append(response)
                if type_url == CLUSTER:
                    self._send_endpoints_behind(response)
        return responses

    def _gate(self, type_url: str) -> Gate:
        if type_url == LISTENER:
            return Gate(holds=self._waits_for_secrets_or_cluster)
        if type_url == ROUTE:
            return Gate(holds=self._waits_for_cluster)
        if type_url in _BREAK:
            users = (self._deliveries.get(LISTENER), self._deliveries.get(ROUTE))
            return Gate(holds_removals=any(user is not None and (user.busy or user.nacks) for user in users))
        return Gate()

    def _waits_for_secrets_or_cluster(self, resource: Resource) -> bool:
        secrets = self._deliveries.get(SECRET)
        return (secrets is not None and secrets.busy) or self._waits_for_cluster(resource)

    def _waits_for_cluster(self, resource: Resource) -> bool:
        clusters, endpoints = self._deliveries.get(CLUSTER), self._deliveries.get(ENDPOINT)
        if clusters is None or (clusters.quiet and (endpoints is None or endpoints.quiet)):
            return False
        for reference in resource.references:
            if reference.type_url != CLUSTER:
                continue
            if clusters.unsettled(reference.name):
                return True
            cluster = self._view.get(*reference)
            if endpoints is None or cluster is None:
                continue
            if any(endpoints.unsettled(name) for _, name in cluster.references):
                return True
        return False

    def _send_endpoints_behind(self, response: DeltaResponse) -> None:
        """Have endpoints follow the clusters just sent, wherever the client believes to have them already."""
        endpoints = self._deliveries.get(ENDPOINT)
        clusters = self._deliveries[CLUSTER]
        updated = []
        for cluster in response.resources:
            names = [name for _, name in cluster.references]
            if endpoints is not None:
                endpoints.send_again(names)
            if not clusters.unproven(cluster.name):
                updated += names
        if endpoints is None:
            self._behind_clusters = tuple(updated)
        # A reconnecting client subscribes to its endpoints before it has read this response, and says that
        # it has them: they are sent again nevertheless.
        wanted = endpoints.subscription.wants if endpoints is not None else lambda _: False
        self._awaited_endpoints.update(name for name in updated if not wanted(name))
