"""What a TrafficPolicy sets in Envoy; whole configurations are golden cases."""

from __future__ import annotations

import pytest

from federation.model.traffic_policy import (
    DEFAULTS,
    Algorithm,
    HashKey,
    HashSource,
    LoadBalancing,
    OutlierDetection,
)
from gateway.xds.translate.traffic import (
    circuit_breakers,
    http_hash_policy,
    outlier_detection,
    overprovisioning_factor,
    tcp_hash_policy,
)


@pytest.mark.parametrize("threshold", [*range(1, 101)])
def test_a_tier_is_full_exactly_from_its_threshold_on(threshold: int) -> None:
    """Envoy takes a priority for full where healthy hosts, in percent, times the factor is 100 %."""
    factor = overprovisioning_factor(threshold)

    assert threshold * factor >= 100 * 100
    assert threshold * (factor - 1) < 100 * 100


def test_ejection_can_be_switched_off_and_is_as_late_as_the_policy_says() -> None:
    """Five answers above 500 would otherwise eject before eight failures, which are such answers, do."""
    assert outlier_detection(3, OutlierDetection(consecutive_failures=0)) is None
    assert not outlier_detection(3).HasField("consecutive_5xx")
    late = outlier_detection(3, OutlierDetection(consecutive_failures=8))
    assert (late.consecutive_gateway_failure.value, late.consecutive_5xx.value) == (8, 8)


def test_what_limits_others_is_for_calls_of_high_priority_alone() -> None:
    """Those of the own cluster, and of connections that are older than the limit, have the usual one."""
    usual, high = circuit_breakers(others_limit=4).thresholds

    assert (usual.max_requests.value, high.max_requests.value) == (1_000_000, 4)
    assert len(circuit_breakers(DEFAULTS).thresholds) == 1


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (HashKey(HashSource.HEADER, "x-user"), "header"),
        (HashKey(HashSource.COOKIE, "session"), "cookie"),
        (HashKey(HashSource.SOURCE_ADDRESS), "connection_properties"),
    ],
)
def test_a_call_is_hashed_by_what_the_policy_says_and_a_connection_by_its_source(key: HashKey, expected: str) -> None:
    """A connection has neither header nor cookie."""
    balancing = LoadBalancing(Algorithm.RING_HASH, key)

    assert [each.WhichOneof("policy_specifier") for each in http_hash_policy(balancing)] == [expected]
    assert [each.WhichOneof("policy_specifier") for each in tcp_hash_policy(balancing)] == ["source_ip"]
    assert http_hash_policy(LoadBalancing()) == tcp_hash_policy(LoadBalancing()) == []
