"""Playbooks: back-pressure, size, and the wait for the first whole picture."""

from __future__ import annotations

from support.playbook import Playbook
from support.xds import endpoints, envoy_cluster, secret


def test_one_response_per_type_is_under_way() -> None:
    """What changes meanwhile merges, in its newest version, into the next one."""
    play = Playbook(endpoints("a"), endpoints("b"))
    assert play.request("EDS") == ["EDS#1 a b"]

    assert play.change(endpoints("a", 81)) == []
    assert play.change(endpoints("c")) == []
    assert play.change(endpoints("a", 82)) == []
    assert play.ack("EDS#1") == ["EDS#2 a c"]
    assert play.ack("EDS#2") == []


def test_a_change_taken_back_meanwhile_sends_nothing() -> None:
    """There and back again while the client was busy is no change."""
    play = Playbook(endpoints("a"))
    play.request("EDS")
    play.change(endpoints("a", 81), endpoints("b"))
    play.change(endpoints("a"), removed=[endpoints("b")])

    assert play.ack("EDS#1") == []


def test_types_do_not_wait_for_each_other() -> None:
    """A response of clusters that is under way does not hold secrets back."""
    play = Playbook(envoy_cluster("a"), endpoints("a"), secret("key"))
    play.request("CDS")

    assert play.request("SDS", "key") == ["SDS#2 key"]


def test_large_sets_are_split() -> None:
    """A response holds as many resources as fit its bound, the next goes after its answer."""
    size = len(endpoints("a").chunk)
    play = Playbook(*(endpoints(name) for name in "abcde"), max_bytes=2 * size)

    assert play.request("EDS") == ["EDS#1 a b"]
    assert play.ack("EDS#1") == ["EDS#2 c d"]
    assert play.ack("EDS#2") == ["EDS#3 e"]
    assert play.ack("EDS#3") == []


def test_a_resource_above_the_bound_goes_alone() -> None:
    """The bound splits responses; it never keeps a resource away."""
    play = Playbook(endpoints("a"), endpoints("b"), max_bytes=1)

    assert play.request("EDS") == ["EDS#1 a"]
    assert play.ack("EDS#1") == ["EDS#2 b"]


def test_before_the_first_whole_picture_nothing_is_answered() -> None:
    """Requests are kept, and answered from the whole: empty is not unknown."""
    play = Playbook(synced=False)

    assert play.request("CDS") == []
    assert play.request("EDS", "a", "x") == []
    assert play.change(envoy_cluster("a"), endpoints("a")) == ["CDS#1 a", "EDS#2 a -x"]


def test_a_first_picture_that_is_empty_is_an_answer() -> None:
    """Known to be nothing: the client is told so."""
    play = Playbook(synced=False)
    play.request("EDS", "a")
    play.request("CDS")

    assert play.change() == ["CDS#1", "EDS#2 -a"]
