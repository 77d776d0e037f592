"""Story 1: three clusters become one clusterset, each by one token."""

from __future__ import annotations

import json

from e2e.clusterset import CLUSTERS, ClusterSet, until


def test_every_cluster_knows_the_same_members(clusterset: ClusterSet) -> None:
    """The roster is one, and east has the authority."""

    def agreed() -> bool:
        told = [json.loads(clusterset.federation(name, "members", "-o", "json")) for name in CLUSTERS]
        members = [{one["cluster"]: one["authority"] for one in roster["members"]} for roster in told]
        return members == [{"east": True, "west": False, "north": False}] * 3

    until(agreed, "one roster in all clusters")


def test_each_token_was_used_once(clusterset: ClusterSet) -> None:
    """By the cluster that it was made for."""
    tokens = json.loads(clusterset.federation("east", "token", "list", "-o", "json"))
    assert {one["cluster"] for one in tokens if one["state"] == "Used"} == {"west", "north"}


def test_a_clusterset_that_is_up_stays_as_it_is(clusterset: ClusterSet) -> None:
    """`federation kind up` finds everything; it builds, which docker has done already, and calls."""
    outcomes = clusterset.up()
    assert {step for step, outcome in outcomes.items() if outcome != "there"} <= {"image", "call"}
