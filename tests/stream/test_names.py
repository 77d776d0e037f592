"""Playbooks: names subscribed one by one, as EDS, SDS and on-demand clusters are."""

from __future__ import annotations

from support.playbook import Playbook
from support.xds import endpoints


def test_only_names_asked_for_are_sent() -> None:
    """A change of another resource is silent."""
    play = Playbook(endpoints("a"), endpoints("b"))

    assert play.request("EDS", "a") == ["EDS#1 a"]
    assert play.ack("EDS#1") == []
    assert play.change(endpoints("b", 81)) == []
    assert play.change(endpoints("a", 81)) == ["EDS#2 a"]


def test_an_absent_name_is_answered_at_once_and_remembered() -> None:
    """Told once that there is none, sent when there is one, told when it goes."""
    play = Playbook()

    assert play.request("EDS", "later") == ["EDS#1 -later"]
    assert play.ack("EDS#1") == []
    assert play.change(endpoints("other")) == []
    assert play.change(endpoints("later")) == ["EDS#2 later"]
    assert play.ack("EDS#2") == []
    assert play.change(removed=[endpoints("later")]) == ["EDS#3 -later"]
    assert play.ack("EDS#3") == []
    assert play.change(endpoints("later")) == ["EDS#4 later"]


def test_subscribing_again_sends_again() -> None:
    """The client may have dropped what we believe it has."""
    play = Playbook(endpoints("a"))
    play.request("EDS", "a")
    play.ack("EDS#1")

    assert play.request("EDS", "a") == ["EDS#2 a"]
    assert play.ack("EDS#2") == []
    assert play.request("EDS", unsubscribe=["a"]) == []
    assert play.request("EDS", "a") == ["EDS#3 a"]


def test_an_absent_name_asked_for_again_is_told_again() -> None:
    """Every subscription is answered, this one too."""
    play = Playbook()
    play.request("EDS", "x")
    play.ack("EDS#1")

    assert play.request("EDS", "x") == ["EDS#2 -x"]


def test_unsubscribed_names_are_silent() -> None:
    """No answer to the unsubscription, and none to later changes."""
    play = Playbook(endpoints("a"))
    play.request("EDS", "a")
    play.ack("EDS#1")

    assert play.request("EDS", unsubscribe=["a"]) == []
    assert play.change(endpoints("a", 81)) == []
    assert play.change(removed=[endpoints("a")]) == []


def test_phantom_unsubscriptions_are_ignored() -> None:
    """Unsubscribing what was never subscribed changes nothing, also beside the wildcard."""
    play = Playbook(endpoints("a"))
    assert play.request("EDS", "a") == ["EDS#1 a"]
    assert play.ack("EDS#1") == []

    assert play.request("EDS", unsubscribe=["b", "*"]) == []
    assert play.change(endpoints("a", 81)) == ["EDS#2 a"]


def test_a_name_in_both_lists_stays_subscribed() -> None:
    """The reading that cannot leave a client waiting."""
    play = Playbook(endpoints("a"))

    assert play.request("EDS", "a", unsubscribe=["a"]) == ["EDS#1 a"]


def test_a_name_given_twice_is_sent_once() -> None:
    """Never the same name twice in one response."""
    play = Playbook(endpoints("a"))

    assert play.request("EDS", "a", "*", "a") == ["EDS#1 a"]


def test_an_acknowledgement_may_subscribe() -> None:
    """One message, both meanings."""
    play = Playbook(endpoints("a"), endpoints("b"))
    play.request("EDS", "a")

    assert play.ack("EDS#1", "b") == ["EDS#2 b"]
