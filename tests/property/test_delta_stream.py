"""Any history of changes, answers, subscriptions and reconnects ends with the client having what it wants.

Two clients. One subscribes and refuses at random: it must converge, and nothing unchanged may reach it
twice without a reason. The other behaves like Envoy: no route that it takes may lead to a cluster without
endpoints, and no cluster may go while a route leads to it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.xds import protos as pb
from gateway.xds.cache import Changed, NodeView, SnapshotCache
from gateway.xds.delivery import DeltaResponse
from gateway.xds.resources import Resource, ResourceSet, difference, message_of
from gateway.xds.stream import DeltaRequest, DeltaStream
from gateway.xds.subscription import WILDCARD, SubscriptionChange
from support.xds import endpoints, envoy_cluster, route_table

SERVICES = ("a", "b", "c", "d")
NAMES = (*SERVICES, "absent", "table")
TYPES = (pb.CLUSTER, pb.ENDPOINT, pb.ROUTE)
TABLE = "table"


def picture(services: dict[str, tuple[int, int]]) -> list[Resource]:
    """Clusters and endpoints of these services at these versions, and the table that leads to all of them."""
    found = [route_table(TABLE, *services)]
    for name, (timeout, port) in services.items():
        found += [envoy_cluster(name, timeout_ms=1000 + timeout), endpoints(name, 8000 + port)]
    return found


class World:
    """A cache with one node, and the stream of the moment."""

    def __init__(self) -> None:
        self.cache = SnapshotCache()
        self.cache.add_node("node", "group")
        self.cache.update_node("node")
        self._changed: list[tuple[NodeView, Changed]] = []
        self.cache.subscribe("node", lambda *change: self._changed.append(change))
        self._services: dict[str, tuple[int, int]] = {}
        self._now = ResourceSet()
        self.update(None)
        self.connect(gather=False)

    def connect(self, *, gather: bool) -> None:
        self.stream = DeltaStream(self.cache.view("node"), gather=gather, max_bytes=600)

    def update(self, change: tuple[str, tuple[int, int] | None] | None) -> None:
        """Set one service, or take it away, together with the table: one change."""
        if change is not None:
            name, versions = change
            self._services = {key: value for key, value in self._services.items() if key != name}
            if versions is not None:
                self._services[name] = versions
        after = ResourceSet(picture(self._services))
        upserts, removals = difference(self._now, after)
        self._now = after
        assert self.cache.update_group("group", upserts, removals) == ()

    def pushed(self) -> list[DeltaResponse]:
        changed, self._changed[:] = tuple(self._changed), ()
        return [response for change in changed for response in self.stream.on_change(*change)]

    def versions(self, type_url: str) -> dict[str, str]:
        view = self.cache.view("node")
        return {name: view.get(type_url, name).version for name in view.names(type_url)}


@dataclass
class Side:
    """One type as the random client sees it."""

    wildcard: bool = False
    names: set[str] = field(default_factory=set)
    has: dict[str, str] = field(default_factory=dict)
    fresh: bool = True

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.names


class RandomClient:
    """Follows the protocol, subscribes and refuses at will."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sides = {type_url: Side() for type_url in TYPES}
        self.refused: set[tuple[str, str, str]] = set()
        self._inbox: deque[DeltaResponse] = deque()
        self._last: dict[tuple[str, str], str] = {}
        self._excused: set[tuple[str, str]] = set()

    def take(self, responses: list[DeltaResponse]) -> None:
        """Responses arrive: no name twice, and nothing unchanged without a reason."""
        for response in responses:
            names = [resource.name for resource in response.resources]
            assert len({*names, *response.removed}) == len(names) + len(response.removed)
            for resource in response.resources:
                key = (response.type_url, resource.name)
                assert self._last.get(key) != resource.version or key in self._excused
                self._last[key] = resource.version
                self._excused.discard(key)
                if response.type_url == pb.CLUSTER:
                    self._excused.add((pb.ENDPOINT, resource.name))
            for name in response.removed:
                self._last.pop((response.type_url, name), None)
            self._inbox.append(response)

    def request(self, type_url: str, subscribe: set[str], unsubscribe: set[str]) -> None:
        side = self.sides[type_url]
        first, side.fresh = side.fresh, False
        if (first and not (subscribe or unsubscribe)) or WILDCARD in subscribe:
            side.wildcard = True
        side.names |= subscribe - {WILDCARD}
        if WILDCARD in unsubscribe:
            side.wildcard = False
        side.names -= unsubscribe
        side.has = {name: version for name, version in side.has.items() if side.wants(name)}
        self._excused |= {(type_url, name) for name in (NAMES if WILDCARD in unsubscribe else subscribe | unsubscribe)}
        change = SubscriptionChange(tuple(sorted(subscribe)), tuple(sorted(unsubscribe)))
        self.take(self.world.stream.on_request(DeltaRequest(type_url, change)))

    def answer(self, *, refuse: bool) -> None:
        """Accept or refuse the oldest response."""
        if not self._inbox:
            return
        response = self._inbox.popleft()
        side = self.sides[response.type_url]
        if refuse:
            self._excused |= {(response.type_url, name.name) for name in response.resources}
            if len(response.resources) + len(response.removed) == 1:
                self.refused |= {(response.type_url, found.name, found.version) for found in response.resources}
                # A refused removal is not tried again; this client then forgets by itself.
                for name in response.removed:
                    side.has.pop(name, None)
        else:
            side.has |= {found.name: found.version for found in response.resources if side.wants(found.name)}
            for name in response.removed:
                side.has.pop(name, None)
        request = DeltaRequest(response.type_url, nonce=response.nonce, error="no" if refuse else None)
        self.take(self.world.stream.on_request(request))

    def reconnect(self) -> None:
        self._inbox.clear()
        self._excused.clear()
        self._last = {(url, name): version for url in TYPES for name, version in self.sides[url].has.items()}
        self.world.pushed()
        self.world.connect(gather=True)
        for type_url, side in self.sides.items():
            if not side.fresh:
                names = tuple(sorted(side.names)) + ((WILDCARD,) if side.wildcard else ())
                if names:
                    self.take(
                        self.world.stream.on_request(
                            DeltaRequest(type_url, SubscriptionChange(names, (), dict(side.has)))
                        )
                    )
                else:
                    side.fresh = True
        self.take(self.world.stream.on_gathered())

    def settle(self) -> None:
        """Accept everything until silence."""
        self.take(self.world.pushed())
        for _ in range(1000):
            if not self._inbox:
                return
            self.answer(refuse=False)
        raise AssertionError("the stream does not come to rest")


service_changes = st.tuples(
    st.sampled_from(SERVICES), st.one_of(st.none(), st.tuples(st.integers(0, 2), st.integers(0, 2)))
)
name_sets = st.sets(st.sampled_from((*NAMES, WILDCARD)), max_size=3)
events = st.one_of(
    st.tuples(st.just("change"), service_changes),
    st.tuples(st.just("push"), st.none()),
    st.tuples(st.just("request"), st.tuples(st.sampled_from(TYPES), name_sets, name_sets)),
    st.tuples(st.just("answer"), st.sampled_from([False, False, False, True])),
    st.tuples(st.just("reconnect"), st.none()),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(events, max_size=40))
def test_any_history_converges(history: list[tuple[str, object]]) -> None:
    """After the last change, with everything accepted, the client has the view restricted to its subscription."""
    world = World()
    client = RandomClient(world)
    for kind, detail in history:
        match kind, detail:
            case "change", change:
                world.update(change)
            case "push", _:
                client.take(world.pushed())
            case "request", (type_url, subscribe, unsubscribe):
                client.request(type_url, subscribe, unsubscribe - subscribe)
            case "answer", refuse:
                client.answer(refuse=bool(refuse))
            case "reconnect", _:
                client.reconnect()
    client.settle()
    # What was refused alone is sent again when it changes; so it does, for all.
    for name in SERVICES:
        world.update((name, (7, 7)))
        client.settle()

    for type_url, side in client.sides.items():
        wanted = {name: version for name, version in world.versions(type_url).items() if side.wants(name)}
        assert side.has == wanted


class EnvoyLike:
    """Takes all clusters, their endpoints and one route table, and refuses nothing."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clusters: dict[str, str] = {}
        self.endpoints: dict[str, str] = {}
        self.table: dict[str, str] = {}
        self.leads_to: set[str] = set()
        self._inbox: deque[DeltaResponse] = deque()
        self._subscribed: set[str] = set()
        self.connect(gather=False)

    def connect(self, *, gather: bool) -> None:
        self.world.pushed()
        self._inbox.clear()
        self.world.connect(gather=gather)
        self._subscribed = set(self.clusters)
        for type_url, names, has in (
            (pb.CLUSTER, (), self.clusters),
            (pb.ENDPOINT, tuple(self.clusters), self.endpoints),
            (pb.ROUTE, (TABLE,), self.table),
        ):
            if type_url == pb.ENDPOINT and not names:
                continue
            change = SubscriptionChange(names, (), dict(has))
            self.take(self.world.stream.on_request(DeltaRequest(type_url, change)))
        self.take(self.world.stream.on_gathered())

    def take(self, responses: list[DeltaResponse]) -> None:
        self._inbox.extend(responses)

    def step(self) -> bool:
        """Apply the oldest response, subscribe to the endpoints that it needs, accept it."""
        if not self._inbox:
            return False
        response = self._inbox.popleft()
        versions = {resource.name: resource.version for resource in response.resources}
        if response.type_url == pb.CLUSTER:
            assert not self.leads_to & set(response.removed), "a cluster goes while the table leads to it"
            self.clusters |= versions
            for name in response.removed:
                self.clusters.pop(name, None)
            self._follow_clusters()
        elif response.type_url == pb.ENDPOINT:
            self.endpoints |= {name: version for name, version in versions.items() if name in self._subscribed}
        else:
            for resource in response.resources:
                self.table = {TABLE: resource.version}
                hosts = message_of(resource).virtual_hosts
                self.leads_to = {host.routes[0].route.cluster for host in hosts}
                assert self.leads_to <= self.clusters.keys() & self.endpoints.keys(), "a route leads nowhere"
        self.take(self.world.stream.on_request(DeltaRequest(response.type_url, nonce=response.nonce)))
        return True

    def _follow_clusters(self) -> None:
        """As Envoy does before it answers: endpoints of new clusters are subscribed, of removed ones not."""
        wanted = set(self.clusters)
        more, less = wanted - self._subscribed, self._subscribed - wanted
        self._subscribed = wanted
        for name in less:
            self.endpoints.pop(name, None)
        if more or less:
            change = SubscriptionChange(tuple(sorted(more)), tuple(sorted(less)))
            self.take(self.world.stream.on_request(DeltaRequest(pb.ENDPOINT, change)))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("change"), service_changes),
            st.tuples(st.just("push"), st.none()),
            st.tuples(st.just("step"), st.none()),
            st.tuples(st.just("reconnect"), st.none()),
        ),
        max_size=60,
    )
)
def test_no_route_ever_leads_nowhere(history: list[tuple[str, object]]) -> None:
    """Make before break holds at every step of an Envoy, also across reconnects, and the end is the view."""
    world = World()
    envoy = EnvoyLike(world)
    for kind, detail in history:
        match kind, detail:
            case "change", change:
                world.update(change)
            case "push", _:
                envoy.take(world.pushed())
            case "step", _:
                envoy.step()
            case "reconnect", _:
                envoy.connect(gather=True)
    envoy.take(world.pushed())
    while envoy.step():
        pass

    assert envoy.clusters == world.versions(pb.CLUSTER)
    assert envoy.endpoints == world.versions(pb.ENDPOINT)
    assert envoy.table == world.versions(pb.ROUTE)
