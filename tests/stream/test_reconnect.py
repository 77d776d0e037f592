"""Playbooks: a client that comes back and says what it has."""

from __future__ import annotations

from support.playbook import Playbook
from support.xds import endpoints, envoy_cluster, route_table

A, B = endpoints("a"), endpoints("b")


def test_what_is_equal_is_not_sent_again() -> None:
    """Wildcard: only the new, the changed and the gone."""
    play = Playbook(A, B, endpoints("new"))
    has = {"a": A.version, "b": "older", "gone": "any"}

    assert play.request("EDS", has=has) == ["EDS#1 b new -gone"]


def test_a_client_that_has_it_all_gets_nothing() -> None:
    """Not even an empty response; later changes still come."""
    play = Playbook(A, B)

    assert play.request("EDS", "*", has={"a": A.version, "b": B.version}) == []
    assert play.change(endpoints("a", 81)) == ["EDS#1 a"]


def test_names_that_it_has_are_not_sent_again() -> None:
    """By name: equal is silent, another version is sent, absent is told."""
    play = Playbook(A, B)

    assert play.request("EDS", "a", "b", "gone", has={"a": A.version, "b": "older", "gone": "any"}) == ["EDS#1 b -gone"]


def test_versions_of_names_not_wanted_are_ignored() -> None:
    """A leftover version subscribes to nothing."""
    play = Playbook(A, B)

    assert play.request("EDS", "a", has={"b": "older"}) == ["EDS#1 a"]
    assert play.change(endpoints("b", 81)) == []


def test_versions_count_in_the_first_request_only() -> None:
    """Later in a stream the server knows better."""
    play = Playbook(A, B)
    play.request("EDS", "a")
    play.ack("EDS#1")

    assert play.request("EDS", "b", has={"b": B.version}) == ["EDS#2 b"]


def test_any_replica_gives_the_same_versions() -> None:
    """A version is a hash of the content, so another server with the same content sends nothing."""
    here, there = Playbook(A, B), Playbook(endpoints("b"), endpoints("a"))
    assert here.request("EDS") == ["EDS#1 a b"]
    has = {name: here.cache.view("node").get(A.type_url, name).version for name in ("a", "b")}

    assert there.request("EDS", has=has) == []


def test_endpoints_follow_a_cluster_that_changed_meanwhile() -> None:
    """The client subscribed to its endpoints before it read of the new cluster, and has them: still they go
    again, or the cluster would warm for 15 s."""
    cluster = envoy_cluster("a", timeout_ms=2000)
    play = Playbook(cluster, A)

    assert play.request("CDS", has={"a": "older"}) == ["CDS#1 a"]
    assert play.request("EDS", "a", has={"a": A.version}) == ["EDS#2 a"]
    assert play.ack("CDS#1") == []
    assert play.ack("EDS#2") == []


def test_a_reconnecting_client_is_answered_when_all_its_requests_are_in() -> None:
    """The cluster that the client's old route table names goes after the new table was accepted."""
    new = envoy_cluster("new")
    play = Playbook(new, endpoints("new"), route_table("table", "new"))
    play.reconnect(gather=True)

    assert play.request("CDS", has={"old": "any", "new": new.version}) == []
    assert play.change(envoy_cluster("other"), endpoints("other")) == []
    assert play.request("RDS", "table", has={"table": "older"}) == []
    assert play.gathered() == ["CDS#1 other", "RDS#2 table"]
    assert play.ack("CDS#1") == []
    assert play.ack("RDS#2") == ["CDS#3 -old"]
