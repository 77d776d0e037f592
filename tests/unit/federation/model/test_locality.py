"""Locality: order, weights, and who is left out."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.model.locality import (
    MAX_READY,
    WEIGHT_PER_ENDPOINT,
    LocalityGroup,
    Shares,
    Site,
    drained_weights,
    nearest_distance,
    plan_localities,
    rank_clusters,
    spread_weight,
)
from federation.model.names import ClusterId
from support.builders import EAST, NORTH, WEST, backend, merged_port, merged_service

SOUTH = ClusterId("south")
OWN = Site(EAST, "eu", "net-east")
SITES = {
    NORTH: Site(NORTH, "eu", "net-north"),
    SOUTH: Site(SOUTH, "eu", "net-south"),
    WEST: Site(WEST, "us", "net-west"),
}
UINT32_MAX = 2**32 - 1


def plan(
    ready: dict[ClusterId, int],
    *,
    local_ready: int = 0,
    clusters: tuple[ClusterId, ...] = (EAST, NORTH, SOUTH, WEST),
    own: Site = OWN,
    sites: dict[ClusterId, Site] = SITES,
    demoted: frozenset[ClusterId] = frozenset(),
    shares: dict[ClusterId, int] | None = None,
) -> tuple[LocalityGroup, ...]:
    """The plan of the sample's port, backed by ``clusters``, with so many endpoints ready in each."""
    port = merged_port(*clusters)
    service = merged_service(
        ports=[port], backends=[backend(cluster, zones={"a": count}) for cluster, count in ready.items()]
    )
    return plan_localities(
        port,
        service,
        own=own,
        sites=sites,
        local_ready=local_ready,
        demoted=demoted,
        shares={cluster: Shares(share) for cluster, share in (shares or {}).items()},
    )


def parts(groups: tuple[LocalityGroup, ...]) -> dict[ClusterId, tuple[int, Fraction]]:
    """The priority of each cluster, and its part of that priority's calls."""
    total = {priority: Fraction(0) for priority in {group.priority for group in groups}}
    for group in groups:
        total[group.priority] += group.weight * group.scale
    return {group.cluster: (group.priority, group.weight * group.scale / total[group.priority]) for group in groups}


def test_own_cluster_then_own_region_then_the_others() -> None:
    """The nearest come first; clusters of one distance share a priority, ordered by id."""
    expected = (
        LocalityGroup(0, EAST, "eu", 3),
        LocalityGroup(1, NORTH, "eu", 2),
        LocalityGroup(1, SOUTH, "eu", 4),
        LocalityGroup(2, WEST, "us", 50),
    )
    assert expected == plan({WEST: 50, SOUTH: 4, NORTH: 2, EAST: 3}, local_ready=3)


def test_the_nearest_is_found_whether_or_not_it_is_ready() -> None:
    """By who exports the port and where that is; who is nowhere does not count."""
    distances = [
        nearest_distance(merged_port(*clusters), own=OWN, sites=SITES)
        for clusters in ((EAST, NORTH, WEST), (NORTH, WEST), (WEST,), (WEST, ClusterId("nowhere")), ())
    ]
    assert distances == [0, 1, 2, 2, 0]


@pytest.mark.parametrize(
    ("demoted", "expected"),
    [
        ({NORTH}, {EAST: 0, SOUTH: 1, WEST: 2, NORTH: 3}),
        ({NORTH, SOUTH}, {EAST: 0, WEST: 1, NORTH: 2, SOUTH: 2}),
        ({NORTH, WEST}, {EAST: 0, SOUTH: 1, NORTH: 2, WEST: 3}),
        ({NORTH, SOUTH, WEST}, {EAST: 0, NORTH: 1, SOUTH: 1, WEST: 2}),
    ],
)
def test_demoted_clusters_come_last(demoted: set[ClusterId], expected: dict[ClusterId, int]) -> None:
    """Behind all others, in their own order, without a gap; where all are demoted, nothing changes."""
    ready = {EAST: 1, NORTH: 1, SOUTH: 1, WEST: 1}
    groups = plan(ready, local_ready=1, demoted=frozenset(demoted))
    assert {group.cluster: group.priority for group in groups} == expected


def test_a_drained_cluster_gives_up_calls_to_those_of_its_distance() -> None:
    """Two clusters of a region, one of them at 40 %: the other has the rest."""
    found = parts(plan({NORTH: 5, SOUTH: 5}, shares={NORTH: 40}))
    assert found == {NORTH: (0, Fraction(40, 200)), SOUTH: (0, Fraction(160, 200))}


def test_what_nobody_of_the_distance_takes_goes_to_the_next() -> None:
    """The only cluster of the region is at 70 %: 30 % of its calls go to the far one, however large that is."""
    found = parts(plan({NORTH: 2, WEST: 50}, shares={NORTH: 70}))
    assert found == {NORTH: (0, Fraction(7, 10)), WEST: (0, Fraction(3, 10))}


def test_what_the_next_distance_is_drained_of_stays_among_it() -> None:
    """Two distances drained at once: the near one's rest goes to the far one, as that shares it among itself."""
    sites = {**SITES, SOUTH: Site(SOUTH, "us", "net-south")}
    found = parts(plan({NORTH: 1, SOUTH: 1, WEST: 1}, sites=sites, shares={NORTH: 50, WEST: 25}))
    assert found == {NORTH: (0, Fraction(1, 2)), SOUTH: (0, Fraction(2, 5)), WEST: (0, Fraction(1, 10))}


def test_own_pods_keep_the_calls_of_their_cluster() -> None:
    """Who is drained is a peer's gateway: what is at home comes first, and what is behind keeps its order."""
    found = parts(plan({NORTH: 1, WEST: 1}, local_ready=1, shares={NORTH: 50}))
    assert {cluster: priority for cluster, (priority, _) in found.items()} == {EAST: 0, NORTH: 1, WEST: 1}


def test_nothing_goes_to_a_cluster_that_does_not_answer() -> None:
    """A cluster that is drained keeps its calls where the others are demoted."""
    found = parts(plan({NORTH: 1, WEST: 1}, demoted=frozenset({WEST}), shares={NORTH: 10}))
    assert found == {NORTH: (0, Fraction(1)), WEST: (1, Fraction(1))}


@pytest.mark.parametrize(
    ("weights", "scale", "shares", "expected"),
    [
        ((60, 60), Fraction(1), (100, 50), (80, 40)),
        ((60, 60), Fraction(1, 2), (), (30, 30)),
        ((60, 60), Fraction(1, 2), (100, 20), (50, 10)),
        ((61, 60), Fraction(1, 1000), (), (1, 1)),
    ],
)
def test_weights_of_gateways_that_are_drained(
    weights: tuple[int, ...], scale: Fraction, shares: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    """What one gateway gives up the others of its cluster take; what the cluster gives up all of them do."""
    assert drained_weights(weights, scale, shares) == expected


def test_priorities_have_no_gaps() -> None:
    """Where a nearer distance has nobody ready, the next one moves up."""
    assert plan({WEST: 1}) == (LocalityGroup(0, WEST, "us", 1),)


def test_own_endpoints_are_counted_as_they_are_now() -> None:
    """Our own published count may be old; the local one decides, both ways."""
    assert (plan({EAST: 5}), plan({EAST: 0}, local_ready=2)) == ((), (LocalityGroup(0, EAST, "eu", 2),))


def test_a_local_service_that_is_not_exported_takes_no_part() -> None:
    """Ready endpoints of our own are not used for a port that we don't export."""
    expected = (LocalityGroup(0, WEST, "us", 1),)
    assert expected == plan({WEST: 1}, local_ready=9, clusters=(WEST,))


def test_only_the_clusters_of_the_port_serve_it() -> None:
    """A backend of the service that doesn't have the port is left out."""
    assert plan({NORTH: 1, WEST: 1}, clusters=(NORTH,)) == (LocalityGroup(0, NORTH, "eu", 1),)


def test_clusters_without_ready_endpoints_or_site_are_left_out() -> None:
    """Neither nobody ready nor no known way there earns a place."""
    sites = {NORTH: SITES[NORTH], WEST: SITES[WEST]}
    assert plan({NORTH: 0, SOUTH: 3, WEST: 1}, sites=sites) == (LocalityGroup(0, WEST, "us", 1),)


def test_an_unknown_region_is_near_to_nobody() -> None:
    """Two clusters that don't say where they are are not taken for neighbours."""
    own = Site(EAST, "", "net-east")
    sites = {NORTH: Site(NORTH, "", "net-north"), WEST: SITES[WEST]}
    expected = (LocalityGroup(0, NORTH, "", 1), LocalityGroup(0, WEST, "us", 1))
    assert expected == plan({NORTH: 1, WEST: 1}, own=own, sites=sites)


def test_the_own_site_is_ours_to_say() -> None:
    """A gateway record of our own that is out of date doesn't override our settings."""
    sites = {**SITES, EAST: Site(EAST, "us", "old")}
    assert plan({EAST: 1}, local_ready=1, sites=sites) == (LocalityGroup(0, EAST, "eu", 1),)


def test_a_boundless_claim_is_bounded() -> None:
    """A peer that claims more endpoints than a cluster can hold counts as a full one."""
    assert plan({WEST: 10**12}) == (LocalityGroup(0, WEST, "us", MAX_READY),)


clusters = st.lists(
    st.sampled_from([EAST, NORTH, SOUTH, WEST, ClusterId("a"), ClusterId("b")]), unique=True, min_size=1
)


@given(clusters, st.data())
def test_priorities_are_contiguous(names: list[ClusterId], data: st.DataObject) -> None:
    """Whoever is ready wherever, priorities run from 0 without gaps and weights are within bounds."""
    counts = st.integers(0, 3)
    regions = st.sampled_from(["", "eu", "us"])
    groups = plan(
        {name: data.draw(counts) for name in names},
        local_ready=data.draw(counts),
        clusters=tuple(sorted(names)),
        sites={name: Site(name, data.draw(regions), "n") for name in names if data.draw(st.booleans())},
        demoted=frozenset(name for name in names if data.draw(st.booleans())),
        shares={name: data.draw(st.sampled_from([1, 40, 100])) for name in names if name != EAST},
    )
    priorities = {group.priority for group in groups}
    assert set(range(len(priorities))) == priorities
    assert all(1 <= group.weight <= MAX_READY for group in groups)
    assert list(groups) == sorted(groups)


@pytest.mark.parametrize(
    ("ready", "addresses", "expected"),
    [
        (1, 1, (120,)),
        (50, 3, (2000, 2000, 2000)),
        (1, 7, (18, 17, 17, 17, 17, 17, 17)),
        (5, 0, ()),
        (0, 2, (60, 60)),
    ],
)
def test_spread_weight(ready: int, addresses: int, expected: tuple[int, ...]) -> None:
    """The weight of a cluster is shared as evenly as integers allow."""
    assert expected == spread_weight(ready, addresses)


@given(st.integers(1, MAX_READY), st.integers(1, 100))
def test_weights_add_up_to_what_is_ready(ready: int, addresses: int) -> None:
    """However many addresses a cluster has, its share among clusters is that of its endpoints."""
    assert WEIGHT_PER_ENDPOINT * ready == sum(spread_weight(ready, addresses))


@given(st.integers(-1, 2**64), st.integers(1, 300))
def test_weights_are_what_envoy_accepts(ready: int, addresses: int) -> None:
    """Every weight is at least 1, and 200 full clusters in one locality stay under the limit of their sum."""
    weights = spread_weight(ready, addresses)
    assert addresses == len(weights)
    assert min(weights) >= 1
    assert 200 * sum(weights) <= UINT32_MAX


@pytest.mark.parametrize(
    ("demoted", "expected"),
    [
        ((), ((EAST,), (NORTH, SOUTH), (WEST,))),
        ((NORTH,), ((EAST,), (SOUTH,), (WEST,), (NORTH,))),
        ((EAST, NORTH), ((SOUTH,), (WEST,), (EAST,), (NORTH,))),
    ],
)
def test_clusters_are_ranked_as_their_endpoints_are_called(
    demoted: tuple[ClusterId, ...], expected: tuple[tuple[ClusterId, ...], ...]
) -> None:
    """Own cluster, own region, the others; the demoted behind; who has no site is left out."""
    service = merged_service(backends=[backend(cluster) for cluster in (WEST, ClusterId("far"), SOUTH, EAST, NORTH)])
    assert rank_clusters(service, own=OWN, sites=SITES, demoted=demoted) == expected
