"""Layered views, the gate, and who is told what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from federation.model.errors import InvariantError
from gateway.xds import protos as pb
from gateway.xds.cache import Changed, GroupChange, NodeChange, NodeView, SnapshotCache
from gateway.xds.references import Reference
from gateway.xds.resources import Resource, ResourceSet
from support.xds import endpoints, envoy_cluster, http_listener, route_table, secret, tcp_listener


class Heard:
    """Listeners of some nodes, and what they were told."""

    def __init__(self, cache: SnapshotCache, *nodes: str) -> None:
        self.told: list[tuple[str, Changed]] = []
        self.views: dict[str, NodeView] = {}
        for node in nodes:
            cache.subscribe(node, lambda view, changed, node=node: self._hear(node, view, changed))

    def _hear(self, node: str, view: NodeView, changed: Changed) -> None:
        self.told.append((node, changed))
        self.views[node] = view

    def take(self) -> list[tuple[str, Changed]]:
        told, self.told = self.told, []
        return told


def three_nodes() -> SnapshotCache:
    """Two sidecars and a gateway, nothing known yet."""
    cache = SnapshotCache()
    cache.add_node("one", "sidecar")
    cache.add_node("two", "sidecar")
    cache.add_node("gw", "gateway")
    return cache


def test_a_view_is_the_shared_layer_and_the_nodes_own() -> None:
    """Nothing of another node or of another group."""
    cache = three_nodes()
    cache.update_group("sidecar", [endpoints("a"), endpoints("b")])
    cache.update_node("one", [secret("svid-one")])
    cache.update_node("two", [secret("svid-two")])
    cache.update_node("gw")

    assert list(cache.view("one").names(pb.ENDPOINT)) == ["a", "b"]
    assert list(cache.view("one").names(pb.SECRET)) == ["svid-one"]
    assert cache.view("one").get(pb.SECRET, "svid-two") is None
    assert cache.view("two").get(pb.ENDPOINT, "a") == endpoints("a")
    assert list(cache.view("gw").names(pb.ENDPOINT)) == []


def test_a_view_is_synced_when_both_layers_were_given() -> None:
    """Given, be it empty: nothing known is not the same as known to be nothing."""
    cache = three_nodes()
    assert not cache.view("one").synced

    cache.update_node("one")
    assert not cache.view("one").synced

    cache.update_group("sidecar")
    assert cache.view("one").synced
    assert not cache.view("two").synced
    assert not cache.view("gw").synced


def test_a_view_does_not_change_under_its_reader() -> None:
    """A reader holds one moment."""
    cache = three_nodes()
    cache.update_group("sidecar", [endpoints("a")])
    before = cache.view("one")
    cache.update_group("sidecar", [endpoints("a", 81)])

    assert before.get(pb.ENDPOINT, "a") == endpoints("a")
    assert cache.view("one").get(pb.ENDPOINT, "a") == endpoints("a", 81)


def test_listeners_hear_the_changed_names_and_nothing_else() -> None:
    """Of a hundred names given, the two that differ and the one that went; nodes of the group only."""
    cache = three_nodes()
    names = [f"svc-{number}" for number in range(100)]
    cache.update_group("sidecar", [endpoints(name) for name in names])
    heard = Heard(cache, "one", "two", "gw")

    given = [endpoints(name, 81 if name in {"svc-3", "svc-5"} else 80) for name in names[:-1]]
    cache.update_group("sidecar", given, [endpoints("svc-99").key, endpoints("never").key])

    changed = {pb.ENDPOINT: ("svc-3", "svc-5", "svc-99")}
    assert heard.take() == [("one", changed), ("two", changed)]
    assert heard.views["one"] == cache.view("one")


def test_equal_content_tells_nobody() -> None:
    """A rebuild that changed nothing is silent; the very first update is told, though empty."""
    cache = three_nodes()
    heard = Heard(cache, "one")

    cache.update_group("sidecar")
    assert heard.take() == [("one", {})]

    cache.update_group("sidecar", [endpoints("a")])
    assert heard.take() == [("one", {pb.ENDPOINT: ("a",)})]

    cache.update_group("sidecar", [endpoints("a")], [endpoints("never").key])
    assert heard.take() == []


def test_a_name_both_given_and_removed_is_given() -> None:
    """Also where it is unchanged."""
    cache = three_nodes()
    cache.update_group("sidecar", [endpoints("a"), endpoints("b")])

    cache.update_group("sidecar", [endpoints("a"), endpoints("b", 81)], [endpoints("a").key, endpoints("b").key])

    assert cache.view("one").get(pb.ENDPOINT, "a") == endpoints("a")
    assert cache.view("one").get(pb.ENDPOINT, "b") == endpoints("b", 81)


def test_a_nodes_change_is_told_to_that_node() -> None:
    """And to nobody after the subscription ended."""
    cache = three_nodes()
    heard = Heard(cache, "two")
    told: list[Changed] = []
    unsubscribe = cache.subscribe("one", lambda _, changed: told.append(changed))

    cache.update_node("one", [secret("svid")])
    unsubscribe()
    cache.update_node("one", [secret("svid", b"renewed")])

    assert told == [{pb.SECRET: ("svid",)}]
    assert heard.take() == []


def test_a_bad_change_is_refused_whole() -> None:
    """The last good stays, nobody is told, and the reasons come back."""
    cache = three_nodes()
    cache.update_group("sidecar", [envoy_cluster("a"), endpoints("a")])
    heard = Heard(cache, "one")

    problems = cache.update_group("sidecar", [endpoints("a", 81), envoy_cluster("b")])

    assert [problem.reason for problem in problems] == ["UnresolvedReference"]
    assert cache.view("one").get(pb.ENDPOINT, "a") == endpoints("a")
    assert cache.view("one").get(pb.CLUSTER, "b") is None
    assert heard.take() == []


def test_a_refused_first_change_leaves_the_group_unknown() -> None:
    """Half a world is none."""
    cache = three_nodes()
    cache.update_node("one")
    assert cache.update_group("sidecar", [envoy_cluster("a")]) != ()

    assert not cache.view("one").synced


def test_layers_may_not_hold_the_same_name() -> None:
    """Neither when the node's comes second nor when the group's does."""
    cache = three_nodes()
    cache.update_group("sidecar", [endpoints("a")])
    cache.update_node("two", [endpoints("b")])

    assert [problem.reason for problem in cache.update_node("one", [endpoints("a")])] == ["DuplicateName"]
    assert [problem.reason for problem in cache.update_group("sidecar", [endpoints("b")])] == ["DuplicateName"]


def test_layers_change_together() -> None:
    """A listener moves from a table that goes to one that comes, in one step of the view; one by one is refused."""
    cache = three_nodes()
    cache.update_group("sidecar", [route_table("old")])
    cache.update_node("one", [http_listener("http", 80, table="old")])
    heard = Heard(cache, "one", "two")
    gone, new = [route_table("old").key], route_table("new")
    listener = http_listener("http", 80, table="new")

    assert [problem.reason for problem in cache.update_group("sidecar", [new], gone)] == ["StillReferenced"]
    assert [problem.reason for problem in cache.update_node("one", [listener])] == ["UnresolvedReference"]
    assert cache.apply([GroupChange("sidecar", (new,), tuple(gone)), NodeChange("one", (listener,))]) == ()

    routes = {pb.ROUTE: ("new", "old")}
    assert heard.take() == [("one", routes | {pb.LISTENER: ("http",)}), ("two", routes)]


def test_a_nodes_resources_may_name_shared_ones_but_not_the_reverse() -> None:
    """A shared resource is seen by nodes that lack what one node has."""
    cache = three_nodes()
    cache.update_node("one", [endpoints("own")])
    assert [problem.reason for problem in cache.update_group("sidecar", [envoy_cluster("own")])] == [
        "UnresolvedReference"
    ]

    cache.update_group("sidecar", [envoy_cluster("shared"), endpoints("shared")])
    assert cache.update_node("one", [tcp_listener("tcp", 80, envoy_cluster="shared")]) == ()


def test_a_removed_node_is_told_nothing_more() -> None:
    """Adding a node again is no change; in another group it is a bug; unknown ones are too."""
    cache = three_nodes()
    heard = Heard(cache, "one")
    cache.add_node("one", "sidecar")
    with pytest.raises(InvariantError):
        cache.add_node("one", "gateway")

    cache.remove_node("one")
    cache.remove_node("one")
    cache.update_group("sidecar", [endpoints("a")])

    assert heard.take() == []
    assert cache.nodes() == ("two", "gw")
    with pytest.raises(InvariantError):
        cache.view("one")
    with pytest.raises(InvariantError):
        cache.apply([NodeChange("two"), NodeChange("two")])


class Halves:
    """Derives ``half-NAME`` from the endpoints NAME."""

    def derive(self, shared: ResourceSet, key: Reference) -> Resource | None:
        whole = shared.get(key.type_url, key.name.removeprefix("half-"))
        return None if whole is None or not key.name.startswith("half-") else replace(whole, name=key.name)

    def derived_from(self, key: Reference) -> Iterable[Reference]:
        return [Reference(key.type_url, f"half-{key.name}")]


def test_what_follows_from_a_resource_is_found_by_its_name_and_changes_with_it() -> None:
    """It is held nowhere and listed nowhere; nodes of other groups don't find it."""
    cache = SnapshotCache({"gateway": Halves()})
    cache.add_node("gw", "gateway")
    cache.add_node("one", "sidecar")
    heard = Heard(cache, "gw", "one")
    for node in ("gw", "one"):
        cache.update_node(node)
    for group in ("gateway", "sidecar"):
        cache.update_group(group, [endpoints("a")])
    heard.take()

    found = cache.view("gw").get(pb.ENDPOINT, "half-a")
    assert found is not None
    assert found.version == endpoints("a").version
    assert list(cache.view("gw").names(pb.ENDPOINT)) == ["a"]
    assert cache.view("gw").get(pb.ENDPOINT, "half-b") is None
    assert cache.view("one").get(pb.ENDPOINT, "half-a") is None

    cache.update_group("gateway", [endpoints("a", 81)])
    assert heard.take() == [("gw", {pb.ENDPOINT: ("a", "half-a")})]
