"""Localities under a policy: shares over zones, endpoints that are not ready, the affinity of the Service."""

from __future__ import annotations

from dataclasses import replace

import pytest

from federation.model.locality import LocalityGroup
from federation.model.traffic_policy import (
    DEFAULTS,
    Algorithm,
    HashKey,
    HashSource,
    LoadBalancing,
    TrafficSettings,
)
from gateway.ir.model import Upstream, UpstreamLocality
from gateway.ir.traffic import settings_for, sheds, weigh, with_unready
from support.builders import EAST, NORTH, WEST, backend, merged_port, merged_service

A, B, C, D = (Upstream(f"10.0.0.{number}", 15006) for number in range(1, 5))


def own(zone: str, *upstreams: Upstream, priority: int = 0, share: int = 0) -> UpstreamLocality:
    return UpstreamLocality(priority, EAST, "eu", zone, upstreams, share)


REMOTE = UpstreamLocality(0, WEST, "us", "", (Upstream("192.0.2.1", 15443, 360),))


def test_a_share_is_divided_among_the_zones_of_the_own_cluster() -> None:
    """By what is ready in each; and of all localities together east has four fifths."""
    found = weigh(
        (own("a", A, B), own("b", C), REMOTE),
        (LocalityGroup(0, EAST, "eu", 3, share=80), LocalityGroup(0, WEST, "us", 3, share=20)),
    )

    assert [one.share for one in found] == [533_333, 266_666, 200_000]


def test_own_endpoints_beside_gateways_count_one_by_one() -> None:
    """A gateway is one host and stands for many: by hosts alone it would get nearly all."""
    found = weigh((own("a", A, B), REMOTE), (LocalityGroup(0, EAST, "eu", 2), LocalityGroup(0, WEST, "us", 6)))

    assert [one.share for one in found] == [240, 720]


def test_endpoints_that_are_not_ready_are_there_as_unhealthy() -> None:
    """In zones of their own where nothing is ready; the same address is not both."""
    found = with_unready((own("a", A), REMOTE), EAST, {"a": (A, B), "b": (C, D), "c": (A,)})

    assert found == (
        own("a", A, Upstream(B.address, 15006, healthy=False)),
        own("b", *(Upstream(each.address, 15006, healthy=False) for each in (C, D))),
        REMOTE,
    )


def test_with_nothing_ready_the_own_cluster_stays_out() -> None:
    """A tier of unhealthy endpoints alone would be one to skip."""
    assert with_unready((REMOTE,), EAST, {"a": (A,)}) == (REMOTE,)


@pytest.mark.parametrize(
    ("wanted", "affinity", "kept"), [(True, "ClientIP", True), (True, "None", False), (False, "ClientIP", False)]
)
def test_the_affinity_of_the_service_is_kept_where_the_policy_says_so(wanted: bool, affinity: str, kept: bool) -> None:
    """By source address, over a ring hash."""
    settings = TrafficSettings(load_balancing=LoadBalancing(Algorithm.ROUND_ROBIN, service_affinity=wanted, ramp_ms=5))

    found = settings_for(settings, merged_service(session_affinity=affinity)).load_balancing

    if kept:
        assert (found.algorithm, found.hash_key) == (Algorithm.RING_HASH, HashKey(HashSource.SOURCE_ADDRESS))
        assert found.ramp_ms == 0
    else:
        assert found == settings.load_balancing
    assert settings_for(DEFAULTS, merged_service(session_affinity="ClientIP")) is DEFAULTS


@pytest.mark.parametrize(
    ("cluster", "capacity", "expected"), [(WEST, 5, True), (WEST, 0, False), (EAST, 5, False), (NORTH, 5, False)]
)
def test_a_port_sheds_where_another_cluster_behind_it_states_its_capacity(
    cluster: str, capacity: int, expected: bool
) -> None:
    """The own one lets its own callers through, and north does not have the port."""
    backends = [replace(backend(one), capacity=capacity if one == cluster else 0) for one in (EAST, WEST, NORTH)]

    assert sheds(merged_service(backends=backends), merged_port(EAST, WEST), EAST) is expected
