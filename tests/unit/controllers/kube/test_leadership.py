"""Who leads by the Lease, decided on one replica: when it may bid, what it writes, and how long it leads."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from controllers.kube.leadership import Candidacy, LeaseTiming
from controllers.sources.manifests import ObjectId
from support.builders import CREATED

LEASE = ObjectId("Lease", "federation-system", "federation-controller")
TIMING = LeaseTiming()
LATER = CREATED + timedelta(days=400)


def candidate(name: str = "a") -> Candidacy:
    return Candidacy(LEASE, name, TIMING)


def lease(holder: str = "b", *, version: str = "7", **spec: Any) -> dict[str, Any]:
    stated = {
        "holderIdentity": holder,
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-01-02T03:04:05.000000Z",
        "renewTime": "2026-01-02T03:04:05.000000Z",
        "leaseTransitions": 3,
        **spec,
    }
    metadata = {"namespace": LEASE.namespace, "name": LEASE.name, "resourceVersion": version, "labels": {"team": "x"}}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": stated}


def leader(at: float = 100.0) -> Candidacy:
    """Who asked for its lease at that time, and got it two seconds later."""
    one = candidate()
    one.read(None, at)
    bid = one.bid(at, CREATED)
    assert bid is not None
    one.won({**bid.document, "metadata": {"resourceVersion": "1"}}, at, at + 2)
    return one


def spec_of(document: Mapping[str, Any] | None) -> dict[str, Any]:
    assert document is not None
    return dict(document["spec"])


def test_a_lease_that_was_never_there_is_made_at_once() -> None:
    """With every field that client-go writes, and times of six digits."""
    one = candidate()
    one.read(None, 5.0)
    bid = one.bid(5.0, CREATED)

    assert bid is not None
    assert bid.creates
    assert bid.document == {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"namespace": "federation-system", "name": "federation-controller"},
        "spec": {
            "holderIdentity": "a",
            "leaseDurationSeconds": 15,
            "acquireTime": CREATED.strftime("%Y-%m-%dT%H:%M:%S.000000Z"),
            "renewTime": CREATED.strftime("%Y-%m-%dT%H:%M:%S.000000Z"),
            "leaseTransitions": 0,
        },
    }


def test_a_leader_counts_from_when_it_asked() -> None:
    """Not from when it was answered; its time ends before anybody else's may begin."""
    one = leader(100.0)

    assert [one.seconds_left(at) for at in (102.0, 109.5, 110.0, 1e9)] == [8.0, 0.5, 0.0, 0.0]
    assert (one.leader, one.must_read) == ("a", False)


def test_a_renewal_keeps_since_when_and_how_often_it_passed_on() -> None:
    """Only the time of the renewal is another; what others put into the object stays."""
    one = candidate()
    one.read(lease("a", strategy="OldestEmulationVersion"), 100.0)
    bid = one.bid(100.0, LATER)

    assert bid is not None
    assert not bid.creates
    assert bid.document == lease(
        "a", strategy="OldestEmulationVersion", renewTime=LATER.strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    )


def test_the_lease_of_another_is_left_until_nothing_changed_for_its_duration() -> None:
    """By the own clock since it was seen to change; what its times say makes no difference, nor do other fields."""
    one = candidate()
    one.read(lease(renewTime="1999-01-01T00:00:00.000000Z"), 100.0)
    first = one.bid(114.0, LATER)
    one.read(lease(renewTime="1999-01-01T00:00:02.000000Z"), 114.0)
    second = one.bid(128.0, LATER)
    one.read({**lease(version="9", renewTime="1999-01-01T00:00:02.000000Z")}, 128.0)
    third = one.bid(129.1, LATER)

    assert (first, second) == (None, None)
    assert third is not None
    assert third.document["metadata"] == lease(version="9")["metadata"]
    assert spec_of(third.document)["leaseTransitions"] == 4


@pytest.mark.parametrize(("stated", "free_after"), [(60, 60), (1, 15), (0, 15), ("x", 15), (None, 15)])
def test_the_longer_duration_counts(stated: object, free_after: float) -> None:
    """Of what the Lease says and the own: a replica of another version may hold it longer, and a hand may cut it."""
    one = candidate()
    one.read(lease(leaseDurationSeconds=stated), 100.0)

    assert one.bid(100.0 + free_after, LATER) is None
    assert one.bid(100.1 + free_after, LATER) is not None


def test_a_lease_that_was_given_back_is_taken_at_once() -> None:
    """One that somebody emptied by hand is not, nor one that was deleted: who held it may not know yet."""
    releaser = leader()
    released = releaser.release(LATER)
    taker, careful, bereft = candidate("b"), candidate("b"), candidate("b")
    taker.read(released, 200.0)
    careful.read(lease(""), 200.0)
    bereft.read(lease("a"), 200.0)
    bereft.read(None, 201.0)
    bid = taker.bid(200.0, LATER)

    assert spec_of(released)["holderIdentity"] == ""
    assert bid is not None
    assert spec_of(bid.document)["holderIdentity"] == "b"
    bereft.read(None, 214.0)
    assert [one.bid(at, LATER) for one, at in ((careful, 214.9), (bereft, 215.9))] == [None, None]
    assert [one.bid(at, LATER) is not None for one, at in ((careful, 215.1), (bereft, 216.1))] == [True, True]


def test_a_leader_makes_its_lease_again() -> None:
    """It was deleted while it leads; it counts on. Who is no longer the leader waits as everybody does."""
    one, late = leader(), leader()
    one.lost_sight()
    one.read(None, 105.0)
    late.lost_sight()
    late.read(None, 111.0)
    bid = one.bid(105.0, LATER)

    assert bid is not None
    assert bid.creates
    assert spec_of(bid.document)["leaseTransitions"] == 0
    assert (late.bid(111.0, LATER), late.bid(126.1, LATER) is not None) == (None, True)


def test_who_sees_another_in_the_lease_leads_no_longer() -> None:
    """At once; an empty one, or one that it can't see, takes nothing from the time that is left."""
    other, emptied, blind = leader(), leader(), leader()
    other.read(lease("b"), 103.0)
    emptied.read(lease(""), 103.0)
    blind.lost_sight()

    assert [one.seconds_left(103.0) for one in (other, emptied, blind)] == [0.0, 7.0, 7.0]
    assert [one.must_read for one in (other, emptied, blind)] == [True, True, True]
    assert (other.bid(103.0, LATER), emptied.bid(103.0, LATER) is not None) == (None, True)


def test_what_was_won_without_an_answer_is_won_by_the_next_bid() -> None:
    """The Lease says so, but when it was asked for is not known any more: it must be renewed first."""
    one = candidate()
    one.read(lease("a"), 100.0)
    before = one.seconds_left(100.0)
    bid = one.bid(101.0, LATER)
    assert bid is not None
    one.won(bid.document, 101.0, 104.0)

    assert (before, one.seconds_left(104.0)) == (0.0, 7.0)


def test_who_resigned_leads_no_longer_and_may_give_the_lease_back() -> None:
    """The Lease is given back only by its holder."""
    one, other = leader(), candidate("b")
    other.read(lease("a"), 100.0)
    one.resign()

    assert one.seconds_left(103.0) == 0.0
    assert (one.release(LATER) is not None, other.release(LATER)) == (True, None)


@pytest.mark.parametrize("found", [{}, {"spec": None}, {"spec": {"holderIdentity": 3, "leaseTransitions": "many"}}])
def test_a_lease_of_any_content_is_taken(found: dict[str, Any]) -> None:
    """Anybody may have written it: it is nobody's, and free when its time is over."""
    one = candidate()
    one.read(found, 100.0)
    bid = one.bid(115.1, LATER)

    assert (one.leader, one.bid(115.0, LATER)) == ("", None)
    assert bid is not None
    assert spec_of(bid.document)["leaseTransitions"] == 1


@pytest.mark.parametrize("times", [(15, 15.0, 2.0), (15, 1.0, 2.0), (15, 10.0, 0.0)])
def test_timing_that_can_not_be_safe_is_refused(times: tuple[int, float, float]) -> None:
    """A renewal must have time for more than one attempt, and end before others begin."""
    with pytest.raises(ValueError, match="longer"):
        LeaseTiming(*times)
