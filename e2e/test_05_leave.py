"""Story 5: a cluster leaves, and comes back by a new token."""

from __future__ import annotations

import json

from e2e.clusterset import ClusterSet, until


def exporters(clusterset: ClusterSet) -> set[str]:
    """Of echo, as east sees them."""
    found = clusterset.get("east", "serviceimport", "echo", "--namespace", "demo")
    return {one["cluster"] for one in found.get("status", {}).get("clusters", [])}


def members(clusterset: ClusterSet) -> set[str]:
    roster = json.loads(clusterset.federation("east", "members", "-o", "json"))
    return {one["cluster"] for one in roster["members"]}


def test_a_cluster_leaves(clusterset: ClusterSet) -> None:
    """The others forget it, and go on calling each other."""
    with clusterset.calls() as calls:
        clusterset.federation("north", "leave")
        until(lambda: members(clusterset) == {"east", "west"}, "a roster without north")
        until(lambda: exporters(clusterset) == {"west"}, "an import without north")
    assert calls.counts.keys() == {"west"}


def test_it_comes_back(clusterset: ClusterSet) -> None:
    """With a token as at the first time; its exports are there again."""
    token = clusterset.federation("east", "token", "create", "--cluster", "north")
    clusterset.federation("north", "join", "--region", "eu", "--token-file", "-", stdin=token)
    until(lambda: members(clusterset) == {"east", "west", "north"}, "a roster with north")
    until(lambda: exporters(clusterset) == {"west", "north"}, "an import with north")
