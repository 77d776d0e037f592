"""Playbooks: `*`, explicit and legacy, beside names."""

from __future__ import annotations

import pytest

from support.playbook import Playbook
from support.xds import endpoints, secret


def two() -> Playbook:
    return Playbook(endpoints("a"), endpoints("b"))


@pytest.mark.parametrize("names", [(), ("*",)])
def test_everything_is_sent_and_what_comes_later(names: tuple[str, ...]) -> None:
    """Legacy and explicit wildcard: all at once, then each change alone, then what is gone."""
    play = two()

    assert play.request("EDS", *names) == ["EDS#1 a b"]
    assert play.ack("EDS#1") == []
    assert play.change(endpoints("c")) == ["EDS#2 c"]
    assert play.ack("EDS#2") == []
    assert play.change(endpoints("a", 81), endpoints("b")) == ["EDS#3 a"]
    assert play.ack("EDS#3") == []
    assert play.change(removed=[endpoints("b")]) == ["EDS#4 -b"]


def test_everything_may_be_nothing_and_is_answered_once() -> None:
    """A client that subscribes to all of nothing gets an empty response, so that it can go on; only one."""
    play = Playbook()

    assert play.request("CDS") == ["CDS#1"]
    assert play.ack("CDS#1") == []
    assert play.change(endpoints("a")) == []


def test_an_empty_first_request_alone_means_everything() -> None:
    """A later request without names (an ACK) starts no wildcard."""
    play = two()

    assert play.request("EDS", "a") == ["EDS#1 a"]
    assert play.ack("EDS#1") == []
    assert play.request("EDS") == []
    assert play.change(endpoints("c")) == []


def test_a_first_request_that_only_unsubscribes_means_nothing() -> None:
    """Only a request with neither subscriptions nor unsubscriptions is the legacy wildcard."""
    play = two()

    assert play.request("EDS", unsubscribe=["a"]) == []
    assert play.request("EDS", "b") == ["EDS#1 b"]


def test_a_name_beside_the_wildcard_is_sent_again() -> None:
    """Subscribing a name that the wildcard already brought is answered with the resource."""
    play = two()
    play.request("EDS")
    play.ack("EDS#1")

    assert play.request("EDS", "a") == ["EDS#2 a"]


def test_unsubscribing_a_name_beside_the_wildcard_is_answered() -> None:
    """With the resource where `*` holds it, else with its name among the removed."""
    play = two()
    play.request("EDS", "*", "a", "x")
    play.ack("EDS#1")

    assert play.request("EDS", unsubscribe=["a"]) == ["EDS#2 a"]
    assert play.ack("EDS#2") == []
    assert play.request("EDS", unsubscribe=["x"]) == ["EDS#3 -x"]
    assert play.ack("EDS#3") == []
    assert play.change(endpoints("a", 81)) == ["EDS#4 a"]


def test_without_the_wildcard_the_names_remain() -> None:
    """After `*` is unsubscribed only names count, and `*` again brings what is missing, no more."""
    play = two()
    play.request("EDS", "*")
    play.ack("EDS#1")
    play.request("EDS", "a")
    play.ack("EDS#2")

    assert play.request("EDS", unsubscribe=["*"]) == []
    assert play.change(endpoints("a", 81), endpoints("b", 81)) == ["EDS#3 a"]
    assert play.ack("EDS#3") == []
    assert play.request("EDS", "*") == ["EDS#4 b"]


def test_the_wildcard_again_sends_nothing_again() -> None:
    """`*` while it is active is no name, and unchanged resources are not sent again."""
    play = two()
    play.request("EDS")
    play.ack("EDS#1")

    assert play.request("EDS", "*") == []


def test_types_are_apart() -> None:
    """The wildcard of one type says nothing about another."""
    play = Playbook(endpoints("a"), secret("a"))
    play.request("EDS")

    assert play.request("SDS", "b") == ["SDS#2 -b"]
