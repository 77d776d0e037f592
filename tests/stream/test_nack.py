"""Playbooks: refused responses. The bad resource ends alone, everything good gets through."""

from __future__ import annotations

from support.playbook import Playbook
from support.xds import endpoints, envoy_cluster, tcp_listener

NAMES = ("a", "b", "c", "bad", "e")


def refused() -> Playbook:
    play = Playbook(*(endpoints(name) for name in NAMES))
    assert play.request("EDS") == ["EDS#1 a b c bad e"]
    return play


def test_a_refused_response_is_halved_until_the_bad_one_stands_alone() -> None:
    """Every good resource is accepted, none after the bad one was found is sent again."""
    play = refused()

    assert play.nack("EDS#1") == ["EDS#2 a b"]
    assert play.ack("EDS#2") == ["EDS#3 c bad e"]
    assert play.nack("EDS#3") == ["EDS#4 c"]
    assert play.ack("EDS#4") == ["EDS#5 bad e"]
    assert play.nack("EDS#5") == ["EDS#6 bad"]
    assert play.nacks() == []
    assert play.nack("EDS#6", "port is odd") == ["EDS#7 e"]
    assert play.ack("EDS#7") == []
    (nack,) = play.nacks()
    assert (nack.name, nack.message, nack.version) == ("bad", "port is odd", endpoints("bad").version)


def test_the_refused_version_is_not_sent_again_until_it_changes() -> None:
    """Other changes leave it alone; a new version is tried, and when accepted clears the record."""
    play = Playbook(endpoints("bad"), endpoints("a"))
    play.request("EDS", "bad")
    assert play.nack("EDS#1") == []

    assert play.change(endpoints("a", 81), endpoints("bad")) == []
    assert play.change(endpoints("bad", 81)) == ["EDS#2 bad"]
    assert [nack.name for nack in play.nacks()] == ["bad"]
    assert play.ack("EDS#2") == []
    assert play.nacks() == []


def test_a_refused_resource_that_goes_is_removed() -> None:
    """What the client may still have of an older version must not stay."""
    play = Playbook(endpoints("bad"))
    play.request("EDS", "bad")
    play.nack("EDS#1")

    assert play.change(removed=[endpoints("bad")]) == ["EDS#2 -bad"]
    assert play.nacks() == []


def test_a_refused_resource_asked_for_again_is_sent_again() -> None:
    """A subscription is always answered."""
    play = Playbook(endpoints("bad"))
    play.request("EDS", "bad")
    play.nack("EDS#1")

    assert play.request("EDS", "bad") == ["EDS#2 bad"]


def test_unsubscribing_a_refused_resource_clears_it() -> None:
    """What nobody wants is no trouble."""
    play = Playbook(endpoints("bad"))
    play.request("EDS", "bad")
    play.nack("EDS#1")
    play.request("EDS", unsubscribe=["bad"])

    assert play.nacks() == []


def test_a_change_during_the_halving_is_sent_in_its_newest_version() -> None:
    """Names are halved, not versions; the fixed resource passes with its half."""
    play = refused()
    assert play.nack("EDS#1") == ["EDS#2 a b"]

    assert play.change(endpoints("bad", 81), endpoints("new")) == []
    assert play.ack("EDS#2") == ["EDS#3 c bad e"]
    assert play.ack("EDS#3") == ["EDS#4 new"]
    assert play.ack("EDS#4") == []
    assert play.nacks() == []


def test_names_dropped_during_the_halving_are_not_sent() -> None:
    """Unsubscribed or removed meanwhile."""
    play = Playbook(*(endpoints(name) for name in NAMES))
    play.request("EDS", *NAMES)
    play.nack("EDS#1")
    play.request("EDS", unsubscribe=["c", "e"])
    play.change(removed=[endpoints("bad")])

    assert play.ack("EDS#2") == ["EDS#3 -bad"]
    assert play.ack("EDS#3") == []


def test_a_name_asked_for_again_during_the_halving_is_sent_once() -> None:
    """The half that it is in is the answer."""
    play = refused()
    play.nack("EDS#1")

    assert play.request("EDS", "c") == []
    assert play.ack("EDS#2") == ["EDS#3 c bad e"]
    assert play.ack("EDS#3") == []


def test_only_the_error_makes_a_nack() -> None:
    """An unknown or stale nonce answers nothing, and cancels no subscription that came with it."""
    play = Playbook(endpoints("a"), endpoints("b"))
    assert play.request("EDS", "a") == ["EDS#1 a"]

    assert play.nack("EDS#7") == []
    assert play.ack("EDS#0", "b") == []
    assert play.ack("EDS#1") == ["EDS#2 b"]
    assert play.nack("EDS#1") == []
    assert play.nacks() == []


def test_the_clients_words_are_kept_short() -> None:
    """An error text is cut at 500 characters."""
    play = Playbook(endpoints("bad"))
    play.request("EDS", "bad")
    play.nack("EDS#1", "x" * 10_000)

    assert [nack.message for nack in play.nacks()] == ["x" * 500]


def test_endpoints_that_were_refused_do_not_follow_their_cluster() -> None:
    """The refused version stays away, also behind an update of the cluster."""
    play = Playbook(envoy_cluster("a"), endpoints("a"))
    play.request("CDS")
    play.request("EDS", "a")
    play.ack("CDS#1")
    play.nack("EDS#2")

    assert play.change(envoy_cluster("a", timeout_ms=2000)) == ["CDS#3 a"]


def test_a_dropped_name_under_way_holds_no_listener_back() -> None:
    """A cluster that was refused in company and then unsubscribed is settled."""
    play = Playbook(envoy_cluster("a"), endpoints("a"), envoy_cluster("b"), endpoints("b"))
    play.request("CDS", "a", "b")
    play.nack("CDS#1")
    play.request("CDS", unsubscribe=["a", "b"])
    play.ack("CDS#2")

    play.change(tcp_listener("tcp", 80, envoy_cluster="b"))

    assert play.request("LDS") == ["LDS#3 tcp"]
