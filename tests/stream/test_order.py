"""Playbooks: make before break."""

from __future__ import annotations

import pytest

from support.playbook import Playbook
from support.xds import endpoints, envoy_cluster, http_listener, route_table, secret, tcp_listener


def synced() -> Playbook:
    """A client with one cluster, its endpoints, a listener and a route table, all accepted."""
    play = Playbook(
        envoy_cluster("a"),
        endpoints("a"),
        http_listener("http", 80, table="table"),
        route_table("table", "a"),
    )
    assert play.request("CDS") == ["CDS#1 a"]
    assert play.request("EDS", "a") == ["EDS#2 a"]
    assert play.ack("CDS#1") + play.ack("EDS#2") == []
    assert play.request("LDS") == ["LDS#3 http"]
    assert play.request("RDS", "table") == ["RDS#4 table"]
    assert play.ack("LDS#3") + play.ack("RDS#4") == []
    return play


def test_types_leave_in_the_order_of_their_use() -> None:
    """Clusters, endpoints, secrets, routes, and when the secrets are accepted, listeners: whatever changed together."""
    play = synced()
    play.request("SDS", "key")
    play.ack("SDS#5")

    changed = play.change(
        route_table("table", "a", "a"),
        http_listener("http", 81, table="table"),
        secret("key"),
        endpoints("a", 81),
        envoy_cluster("a", timeout_ms=2000),
    )

    assert changed == ["CDS#6 a", "EDS#7 a", "SDS#8 key", "RDS#9 table"]
    assert play.ack("SDS#8") == ["LDS#10 http"]


def test_a_listener_waits_for_the_secrets_before_it() -> None:
    """Also for those that a later change brings; a change of secrets alone holds nothing that is sent already."""
    play = synced()
    assert play.request("SDS", "ALL") == ["SDS#5 -ALL"]
    play.ack("SDS#5")

    assert play.change(secret("ALL", b"1")) == ["SDS#6 ALL"]
    assert play.change(http_listener("http", 81, table="table"), secret("ALL", b"2")) == []
    assert play.ack("SDS#6") == ["SDS#7 ALL"]
    assert play.ack("SDS#7") == ["LDS#8 http"]


def test_a_refused_secret_holds_no_listener_back() -> None:
    """The client keeps what it had, and waiting would change nothing about that."""
    play = synced()
    assert play.request("SDS", "ALL") == ["SDS#5 -ALL"]
    play.ack("SDS#5")

    assert play.change(http_listener("http", 81, table="table"), secret("ALL")) == ["SDS#6 ALL"]
    assert play.nack("SDS#6") == ["LDS#7 http"]


def test_a_listener_may_go_whatever_secrets_are_under_way() -> None:
    """To remove one lets nobody in."""
    play = synced()
    play.request("SDS", "ALL")
    play.ack("SDS#5")
    play.change(secret("ALL"))

    assert play.change(removed=[http_listener("http", 80, table="table")]) == ["LDS#7 -http"]


def test_a_route_waits_for_its_new_cluster_and_the_endpoints() -> None:
    """Held until both were accepted; the cluster alone is not enough, it may still be warming."""
    play = synced()

    assert play.change(envoy_cluster("b"), endpoints("b"), route_table("table", "b")) == ["CDS#5 b"]
    assert play.request("EDS", "b") == ["EDS#6 b"]
    assert play.ack("CDS#5") == []
    assert play.ack("EDS#6") == ["RDS#7 table"]


def test_a_client_without_endpoint_subscription_is_not_held_forever() -> None:
    """Endpoints hold a route back only if the client asked for them."""
    play = synced()
    play.change(envoy_cluster("b"), endpoints("b"), route_table("table", "b"))

    assert play.ack("CDS#5") == ["RDS#6 table"]


def test_a_refused_cluster_holds_nothing_back() -> None:
    """The route goes out after the refusal: the answer is there, though it is no."""
    play = synced()
    play.change(envoy_cluster("b"), endpoints("b"), route_table("table", "b"))

    assert play.nack("CDS#5") == ["RDS#6 table"]


def test_a_listener_waits_for_the_cluster_that_it_names() -> None:
    """TCP listeners name clusters themselves; one that names a known cluster does not wait."""
    play = synced()

    assert play.change(
        envoy_cluster("b"),
        endpoints("b"),
        tcp_listener("new", 81, envoy_cluster="b"),
        tcp_listener("old", 82, envoy_cluster="a"),
    ) == ["CDS#5 b", "LDS#6 old"]
    assert play.request("EDS", "b") == ["EDS#7 b"]
    assert play.ack("CDS#5") + play.ack("EDS#7") + play.ack("LDS#6") == ["LDS#8 new"]


def test_updates_of_what_the_client_has_hold_nothing_back() -> None:
    """Endpoints that change all the time, never accepted, starve no route."""
    play = synced()
    play.change(endpoints("a", 81))
    play.change(endpoints("a", 82))

    assert play.change(route_table("table", "a", "a")) == ["RDS#6 table"]


def test_a_cluster_goes_after_the_route_that_named_it() -> None:
    """Cluster and endpoints are removed when the client has accepted the route table without them."""
    play = synced()
    play.change(envoy_cluster("b"), endpoints("b"))
    play.request("EDS", "b")
    play.ack("CDS#5")
    play.ack("EDS#6")

    removed = [envoy_cluster("a"), endpoints("a")]
    assert play.change(route_table("table", "b"), removed=removed) == ["RDS#7 table"]
    assert play.ack("RDS#7") == ["CDS#8 -a", "EDS#9 -a"]


def test_a_refused_route_keeps_what_the_last_good_one_names() -> None:
    """Envoy still uses the old table: its cluster goes only when a newer table was accepted."""
    play = synced()
    play.change(envoy_cluster("b"), endpoints("b"))
    play.request("EDS", "b")
    play.ack("CDS#5")
    play.ack("EDS#6")
    play.change(route_table("table", "b"), removed=[envoy_cluster("a"), endpoints("a")])

    assert play.nack("RDS#7") == []
    assert play.change(route_table("table", "b", "b")) == ["RDS#8 table"]
    assert play.ack("RDS#8") == ["CDS#9 -a", "EDS#10 -a"]


def test_a_cluster_goes_when_the_routes_turn_out_unchanged() -> None:
    """There and back again: nothing to send for the table, so nothing to wait for."""
    play = synced()
    play.change(envoy_cluster("b"), endpoints("b"))
    play.ack("CDS#5")
    assert play.change(route_table("table", "a", "a")) == ["RDS#6 table"]
    play.change(route_table("table", "a"))
    play.change(route_table("table", "a", "a"), removed=[envoy_cluster("b"), endpoints("b")])

    assert play.ack("RDS#6") == ["CDS#7 -b"]


def test_an_absent_cluster_is_told_while_listeners_are_under_way() -> None:
    """On demand on the aggregated stream: telling of a name that the client never had takes nothing away."""
    play = Playbook(http_listener("http", 80, table="table"), route_table("table"))
    assert play.request("LDS") == ["LDS#1 http"]

    assert play.request("CDS", "absent") == ["CDS#2 -absent"]


def test_a_removal_without_routes_goes_at_once() -> None:
    """Nothing to wait for: on-demand streams carry clusters only."""
    play = Playbook(envoy_cluster("a"), endpoints("a"))
    play.request("CDS", "a")
    play.ack("CDS#1")

    assert play.change(removed=[envoy_cluster("a"), endpoints("a")]) == ["CDS#2 -a"]


def test_endpoints_are_sent_behind_every_update_of_their_cluster() -> None:
    """Unchanged as they are: Envoy warms the updated cluster until they come, and does not ask."""
    play = synced()

    assert play.change(envoy_cluster("a", timeout_ms=2000)) == ["CDS#5 a", "EDS#6 a"]
    assert play.ack("CDS#5") + play.ack("EDS#6") == []


def test_endpoints_that_two_clusters_share_are_sent_behind_the_second() -> None:
    """Envoy is subscribed already, and does not ask again for the new cluster."""
    play = synced()

    assert play.change(envoy_cluster("b", endpoints_name="a")) == ["CDS#5 b", "EDS#6 a"]


def test_endpoints_under_way_follow_once_there_is_room() -> None:
    """An older response of endpoints is still unanswered: the ones behind the cluster come after it."""
    play = synced()
    assert play.change(endpoints("a", 81)) == ["EDS#5 a"]
    assert play.change(envoy_cluster("a", timeout_ms=2000)) == ["CDS#6 a"]

    assert play.ack("CDS#6") == []
    assert play.ack("EDS#5") == ["EDS#7 a"]


@pytest.mark.parametrize("answer", ["ack", "nack"])
def test_endpoints_due_on_another_stream_are_named(answer: str) -> None:
    """A stream of clusters only says, once its update was answered, which endpoints the others must send."""
    play = Playbook(envoy_cluster("a"), endpoints("a"))
    play.request("CDS", "a")
    play.ack("CDS#1")
    assert play.stream.take_endpoints_due() == ()

    play.change(envoy_cluster("a", timeout_ms=2000))
    assert play.stream.take_endpoints_due() == ()
    getattr(play, answer)("CDS#2")

    assert play.stream.take_endpoints_due() == ("a",)
    assert play.stream.take_endpoints_due() == ()
