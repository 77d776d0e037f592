"""The election of the replica that writes, on an API server: one leads, and another when it can't any more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.election import LEASE, LEASES, USER, Board, Replica, board
from support.exchange import until
from support.kube.cluster import grant
from support.kube.plane import Plane
from support.kube.server import StandIn


@pytest.fixture
async def site(kube_plane: Plane, tmp_path: Path) -> AsyncIterator[Board]:
    async with board(tmp_path, kube_plane.server) as found:
        yield found


async def led_by(site: Board, one: Replica) -> None:
    """Until that one, and no other at any time, leads."""

    def leads() -> bool:
        assert len(site.leading) < 2
        return site.leading == [one]

    await until(leads)


async def test_exactly_one_leads_and_goes_on_leading(site: Board) -> None:
    """It renews its lease, the other waits and knows whom for."""
    one = site.replica("one")
    await led_by(site, one)
    two = site.replica("two")
    await until(lambda: two.election.leader == "one")
    before = site.writes
    await until(lambda: site.writes > before + 3)

    assert (site.leading, one.changes, two.changes) == ([one], [True], [])
    assert 0 < one.election.seconds_left <= 1.5
    assert two.election.seconds_left == 0
    assert site.lease["holderIdentity"] == "one"
    assert (one.election.problems, two.election.problems) == ((), ())


async def test_two_that_begin_together_agree(site: Board) -> None:
    """Of two writes of one version one is refused."""
    several = [site.replica(name) for name in "abcd"]
    await until(lambda: len(site.leading) == 1)
    (leader,) = site.leading
    await until(lambda: all(one.election.leader == site.lease["holderIdentity"] for one in several))

    assert site.leading == [leader]
    assert [one.changes for one in several if one is not leader] == [[]] * 3


async def test_a_leader_that_died_is_replaced_once_its_time_is_over(site: Board) -> None:
    """And not before; the passing is counted."""
    one = site.replica("one")
    await led_by(site, one)
    two = site.replica("two")
    await until(lambda: two.election.leader == "one")
    await one.kill()
    held = site.lease["holderIdentity"]
    await led_by(site, two)

    assert held == "one"
    assert site.lease["leaseTransitions"] == 1


async def test_a_leader_that_is_asked_to_end_gives_the_lease_back(site: Board) -> None:
    """Nobody waits for its time to be over: what is left in the lease is free at once, also for a third."""
    one = site.replica("one")
    await led_by(site, one)
    await one.stop()
    released = site.lease
    two = site.replica("two")
    await led_by(site, two)

    assert (released["holderIdentity"], released["leaseDurationSeconds"]) == ("", 1)
    assert one.changes == [True, False]
    assert 409 not in site.answers


@pytest.mark.parametrize("hang", [False, True])
async def test_without_an_api_server_nobody_leads_for_long(hang: bool, site: Board) -> None:
    """A leader ceases before its lease could pass on, whether it is refused or never answered; it goes on after."""
    one = site.replica("one")
    two = site.replica("two")
    await until(lambda: len(site.leading) == 1)
    (leader,) = site.leading
    await until(lambda: {each.election.leader for each in (one, two)} == {site.lease["holderIdentity"]})
    await site.cluster.vanish(hang=hang)
    await until(lambda: leader.changes == [True, False])
    during = site.leading
    await until(lambda: all(each.election.problems for each in (one, two)))
    await site.cluster.come_back()
    await until(lambda: len(site.leading) == 1)
    await until(lambda: not any(each.election.problems for each in (one, two)))

    assert during == []
    assert len(site.leading) == 1


async def test_failures_that_pass_cost_no_leadership(api_server: StandIn, tmp_path: Path) -> None:
    """Whatever is answered for two attempts."""
    async with board(tmp_path, api_server) as site:
        one = site.replica("one")
        await led_by(site, one)
        for code in (500, 429, 409, 401):
            before = site.writes
            site.server.fail(code, times=2, verbs=["update"])
            await until(lambda before=before: site.writes > before + 1)

        assert one.changes == [True]


async def test_a_lease_that_was_deleted_by_hand_is_made_again(site: Board) -> None:
    """By its leader, who goes on leading; the other does not take it for free."""
    one = site.replica("one")
    await led_by(site, one)
    two = site.replica("two")
    await until(lambda: two.election.leader == "one")
    site.cluster.delete(LEASES, LEASE)
    await until(lambda: site.lease.get("holderIdentity") == "one")

    assert (one.changes, two.changes) == ([True], [])


async def test_a_right_that_is_missing_is_told(kube_plane: Plane, tmp_path: Path) -> None:
    """With the rule that the role must have; once it is there, the replica leads."""
    async with board(tmp_path, kube_plane.server, groups=()) as site:
        one = site.replica("one")
        await until(lambda: bool(one.election.problems))
        (problem,) = one.election.problems
        rule = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]}
        grant(site.cluster, "lease", USER, [rule])
        await led_by(site, one)

        assert (problem.subject, problem.reason) == ("Lease default/federation-controller", "Forbidden")
        assert problem.message.endswith(
            'the role must have the rule apiGroups: ["coordination.k8s.io"], resources: ["leases"],'
            " verbs: [get, create, update]"
        )
        assert one.election.problems == ()
