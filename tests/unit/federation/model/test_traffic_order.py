"""The order of a failover policy: tiers, shares, and who is left out or stays behind."""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction

import pytest

from federation.model.locality import LocalityGroup, Site
from federation.model.names import ClusterId
from federation.model.traffic_order import order_groups, weigh_by_capacity
from federation.model.traffic_policy import ClusterShare, Failover, Scope, Tier, Unlisted
from support.builders import EAST, NORTH, WEST

SOUTH = ClusterId("south")
OWN = Site(EAST, "eu", "net-east")
PLAN = (
    LocalityGroup(0, EAST, "eu", 2),
    LocalityGroup(1, NORTH, "eu", 3),
    LocalityGroup(2, SOUTH, "us", 4),
    LocalityGroup(2, WEST, "us", 5),
)
"""Without a policy: east is called first, then north, then south and west."""


def clusters(*names: ClusterId, **weights: int) -> Tier:
    named = tuple(ClusterShare(name) for name in names)
    return Tier((*named, *(ClusterShare(ClusterId(name), weight) for name, weight in weights.items())))


def ordered(
    *tiers: Tier, unlisted: Unlisted = Unlisted.LAST, demoted: Collection[ClusterId] = (), own: Site = OWN
) -> list[list[tuple[str, int]]]:
    """Clusters with their shares, by priority."""
    found: list[list[tuple[str, int]]] = []
    for group in order_groups(PLAN, Failover(tiers, unlisted), own=own, demoted=demoted):
        found += [[] for _ in range(group.priority + 1 - len(found))]
        found[group.priority].append((group.cluster, group.share))
    return found


def plainly(*tiers: Tier, unlisted: Unlisted = Unlisted.LAST, demoted: Collection[ClusterId] = ()) -> list[list[str]]:
    return [[name for name, _ in tier] for tier in ordered(*tiers, unlisted=unlisted, demoted=demoted)]


def test_without_an_order_the_plan_stays() -> None:
    """Whatever else the policy says."""
    assert order_groups(PLAN, Failover(threshold_percent=50), own=OWN) == PLAN


def test_tiers_are_called_in_their_order_and_the_others_behind_in_theirs() -> None:
    """A list of clusters does not take the rest of the clusterset away."""
    assert plainly(clusters(WEST), clusters(EAST)) == [["west"], ["east"], ["north"], ["south"]]


def test_clusters_that_no_tier_has_may_be_left_alone() -> None:
    """Then nothing but the tiers is called."""
    assert plainly(clusters(WEST), clusters(NORTH), unlisted=Unlisted.NEVER) == [["west"], ["north"]]
    assert plainly(clusters(ClusterId("nowhere")), unlisted=Unlisted.NEVER) == []


@pytest.mark.parametrize(
    ("tiers", "expected"),
    [
        ((Tier(region="us"),), [["south", "west"], ["east"], ["north"]]),
        ((Tier(scope=Scope.OWN_REGION), Tier(scope=Scope.OTHERS)), [["east", "north"], ["south", "west"]]),
        (
            (Tier(scope=Scope.OTHERS), clusters(NORTH), Tier(scope=Scope.OWN_CLUSTER)),
            [["south", "west"], ["north"], ["east"]],
        ),
        ((Tier(region="us"), clusters(WEST)), [["south", "west"], ["east"], ["north"]]),
    ],
    ids=["a region", "near and far", "others are those that no tier has", "the first tier that has a cluster"],
)
def test_tiers_name_clusters_by_where_they_are(tiers: tuple[Tier, ...], expected: list[list[str]]) -> None:
    """A cluster is in one tier alone, and priorities have no gaps."""
    assert plainly(*tiers) == expected


def test_an_unknown_region_is_near_to_nobody() -> None:
    """The own cluster is still its own."""
    nowhere = Site(EAST, "", "net-east")

    assert ordered(Tier(scope=Scope.OWN_REGION), own=nowhere)[0] == [("east", 0)]


def test_a_tier_has_the_shares_that_the_policy_states() -> None:
    """And nobody else has one; 0 is as if no tier had the cluster."""
    assert ordered(clusters(east=80, west=20)) == [[("east", 80), ("west", 20)], [("north", 0)], [("south", 0)]]
    assert ordered(clusters(east=100, west=0), Tier(scope=Scope.OTHERS)) == [
        [("east", 100)],
        [("north", 0), ("south", 0), ("west", 0)],
    ]


def test_who_does_not_answer_stays_behind_whatever_the_policy_says() -> None:
    """In the policy's order among themselves."""
    assert plainly(clusters(WEST), clusters(SOUTH), demoted=[WEST, SOUTH]) == [["east"], ["north"], ["west"], ["south"]]


def test_clusters_of_one_priority_count_by_what_they_can_take_where_all_say_it() -> None:
    """An endpoint counts as much as it can take beside one of the cluster whose endpoints take the most."""

    def scales(capacities: dict[ClusterId, int]) -> list[Fraction]:
        return [group.scale for group in weigh_by_capacity(PLAN, capacities)]

    assert scales({SOUTH: 40, WEST: 8, NORTH: 6}) == [1, 1, 1, Fraction(1, 5)]
    assert scales({SOUTH: 40}) == [1, 1, 1, 1]
    assert weigh_by_capacity(PLAN, {}) == PLAN
