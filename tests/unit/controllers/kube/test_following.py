"""Whom a watch tells, as what is wanted of it changes."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from controllers.kube.cluster_watch import ClusterWatch
from controllers.kube.following import Following
from controllers.kube.mesh_facts import MeshFacts
from controllers.sources.resource_watch import Api
from controllers.sources.watched_objects import Resource

SHEEP, GOATS = (Resource(kind, ("v1",), f"{kind.lower()}s") for kind in ("Sheep", "Goat"))


def nobody() -> AbstractAsyncContextManager[Api]:
    raise AssertionError("nothing is read while nobody runs the watch")


def test_what_is_wanted_is_followed_and_nothing_else() -> None:
    """Whoever follows is told to wait for a list; what goes is returned, so that it is forgotten."""
    facts = MeshFacts()
    watch = ClusterWatch(nobody)
    following = Following(watch, facts, lambda: None)
    first = following.want([SHEEP, SHEEP])
    waiting = set(facts.unreadable)
    second = following.want([GOATS])
    third = following.want([GOATS])

    assert (first, second, third) == (frozenset(), {SHEEP}, frozenset())
    assert waiting == {SHEEP}
    assert set(watch._fans) == {GOATS}
    following.end()
    assert watch._fans == {}
