"""TrafficPolicy: what is taken, and every rule of validation with the path it names."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from controllers.sources.manifests import Manifest, ObjectId, parse_manifests
from federation.model.names import ClusterId
from federation.model.traffic_policy import (
    Algorithm,
    Capacity,
    ClusterShare,
    Failover,
    HashKey,
    HashSource,
    Limits,
    LoadBalancing,
    OutlierDetection,
    PolicySpec,
    Retries,
    Scope,
    Target,
    TargetKind,
    Tier,
    Timeouts,
    TrafficPolicy,
    Unlisted,
)


def policy(spec: object, **metadata: object) -> Manifest:
    (manifest,) = parse_manifests(
        {
            "apiVersion": "federation-gateway.dev/v1alpha1",
            "kind": "TrafficPolicy",
            "metadata": {"name": "echo.v1", "namespace": "demo"} | metadata,
            "spec": spec,
        }
    )
    return manifest


def spec_of(**sections: object) -> PolicySpec:
    """The spec that is read without a problem."""
    manifest = policy(sections)
    assert isinstance(manifest.value, TrafficPolicy), manifest.problems
    return manifest.value.spec


def test_a_full_policy_is_taken_whole() -> None:
    """Every field, each in its unit."""
    manifest = policy(
        {
            "targetRefs": [
                {"group": "multicluster.x-k8s.io", "kind": "ServiceImport", "name": "web"},
                {"group": "", "kind": "Service", "name": "echo"},
            ],
            "failover": {
                "order": [
                    {"clusters": [{"name": "west", "weight": 80}, {"name": "east", "weight": 20}]},
                    {"region": "eu-central"},
                    {"scope": "OwnRegion"},
                ],
                "unlisted": "Never",
                "threshold": 70,
            },
            "loadBalancing": {"algorithm": "RoundRobin", "sessionAffinity": "Service", "ramp": "30s"},
            "limits": {"connections": 1, "pendingRequests": 2, "requests": 3},
            "retries": {"attempts": 1, "budget": {"percent": 5, "minConcurrent": 6}, "hedgeAfter": "0s"},
            "timeouts": {"connect": "2s", "request": "10s", "backendRequest": "3s", "idle": "1h"},
            "outlierDetection": {
                "consecutiveFailures": 0,
                "interval": "2s",
                "baseEjectionTime": "1m",
                "maxEjectionTime": "2m",
                "maxEjectedPercent": 50,
            },
            "capacity": {"requestsPerEndpoint": 10, "othersPercent": 40},
        },
        creationTimestamp="2026-01-02T03:04:05Z",
        generation=3,
    )

    west, east = ClusterShare(ClusterId("west"), 80), ClusterShare(ClusterId("east"), 20)
    assert manifest.problems == ()
    assert manifest.id == ObjectId("TrafficPolicy", "demo", "echo.v1")
    assert manifest.value == TrafficPolicy(
        "demo",
        "echo.v1",
        PolicySpec(
            Failover((Tier((west, east)), Tier(region="eu-central"), Tier(scope=Scope.OWN_REGION)), Unlisted.NEVER, 70),
            LoadBalancing(Algorithm.ROUND_ROBIN, None, service_affinity=True, ramp_ms=30_000),
            Limits(1, 2, 3),
            Retries(1, 5, 6, 0),
            Timeouts(2000, 10_000, 3000, 3_600_000),
            OutlierDetection(0, 2000, 60_000, 120_000, 50),
            Capacity(10, 40),
        ),
        (Target("echo"), Target("web", TargetKind.SERVICE_IMPORT)),
        datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        3,
    )


def test_sections_that_are_left_out_say_nothing() -> None:
    """And of a section that is there, fields that are left out are as without a policy."""
    assert spec_of(limits={"requests": 5}) == PolicySpec(limits=Limits(requests=5))
    assert spec_of(retries={"attempts": 5}) == PolicySpec(retries=Retries(attempts=5))
    assert spec_of(outlierDetection={"baseEjectionTime": "1m"}).outlier_detection == OutlierDetection(
        base_ejection_ms=60_000, max_ejection_ms=60_000
    )
    assert spec_of(failover={"threshold": 50}).failover == Failover(threshold_percent=50)


@pytest.mark.parametrize(
    ("hashed", "expected"),
    [
        ({"header": "X-User"}, HashKey(HashSource.HEADER, "x-user")),
        ({"cookie": "Session"}, HashKey(HashSource.COOKIE, "Session")),
        ({"sourceAddress": True}, HashKey(HashSource.SOURCE_ADDRESS)),
    ],
)
def test_a_ring_hash_says_what_it_hashes(hashed: dict[str, Any], expected: HashKey) -> None:
    """Names of headers are lower case to Envoy, names of cookies are what they are."""
    found = spec_of(loadBalancing={"algorithm": "RingHash", "hashOn": hashed}).load_balancing

    assert found == LoadBalancing(Algorithm.RING_HASH, expected)


def weights(*pairs: tuple[str, int | None]) -> dict[str, Any]:
    clusters = [{"name": name} | ({} if weight is None else {"weight": weight}) for name, weight in pairs]
    return {"failover": {"order": [{"clusters": clusters}]}}


LIMITS = {"limits": {"requests": 5}}


@pytest.mark.parametrize(
    ("spec", "path", "message"),
    [
        (None, "spec", "is required"),
        ({}, "spec", "must have one of failover, loadBalancing"),
        ({"targetRefs": [{"kind": "Service", "name": "a"}]}, "spec", "must have one of failover"),
        ({"limit": {}}, "spec.limit", "did you mean limits?"),
        ({"targetRefs": [], **LIMITS}, "spec.targetRefs", "must not be empty"),
        ({"targetRefs": [{"name": "a"}], **LIMITS}, "spec.targetRefs[0].kind", "is required"),
        ({"targetRefs": [{"kind": "Pod", "name": "a"}], **LIMITS}, "spec.targetRefs[0].kind", "'Pod' is none of"),
        ({"targetRefs": [{"kind": "Service"}], **LIMITS}, "spec.targetRefs[0].name", "is required"),
        ({"targetRefs": [{"kind": "Service", "name": "A"}], **LIMITS}, "spec.targetRefs[0].name", "not a DNS label"),
        (
            {"targetRefs": [{"kind": "ServiceImport", "name": "a", "group": "x"}], **LIMITS},
            "spec.targetRefs[0].group",
            "not the group of ServiceImport, 'multicluster.x-k8s.io'",
        ),
        (
            {"targetRefs": [{"kind": "Service", "name": "a"}, {"kind": "ServiceImport", "name": "a"}], **LIMITS},
            "spec.targetRefs[1].name",
            "another target's name",
        ),
        (
            {"targetRefs": [{"kind": "Service", "name": f"a{number}"} for number in range(17)], **LIMITS},
            "spec.targetRefs",
            "more than 16",
        ),
        ({"failover": {"order": []}}, "spec.failover.order", "must not be empty"),
        ({"failover": {"order": [{}]}}, "spec.failover.order[0]", "exactly one of clusters, region, scope"),
        (
            {"failover": {"order": [{"region": "eu", "scope": "Others"}]}},
            "spec.failover.order[0]",
            "exactly one of clusters, region, scope",
        ),
        ({"failover": {"order": [{"region": "e u"}]}}, "spec.failover.order[0].region", "not the name of a region"),
        ({"failover": {"order": [{"scope": "Near"}]}}, "spec.failover.order[0].scope", "'Near' is none of"),
        (
            {"failover": {"order": [{"region": "eu"}, {"region": "eu"}]}},
            "spec.failover.order[1].region",
            "in a tier before",
        ),
        ({"failover": {"order": [{"region": str(n)} for n in range(17)]}}, "spec.failover.order", "more than 16"),
        ({"failover": {"order": [{"clusters": []}]}}, "spec.failover.order[0].clusters", "must not be empty"),
        (weights(("a", 1), ("a", 1)), "spec.failover.order[0].clusters[1].name", "in this tier or one before"),
        (weights(("A", 1)), "spec.failover.order[0].clusters[0].name", "no cluster id"),
        (weights(("a", 1), ("b", None)), "spec.failover.order[0].clusters[1].weight", "is required where others"),
        (weights(("a", 0), ("b", 0)), "spec.failover.order[0].clusters", "must have a weight above 0"),
        (weights(("a", 1001)), "spec.failover.order[0].clusters[0].weight", "1001 is not from 0 to 1000"),
        (weights(*((f"c{n}", 1) for n in range(65))), "spec.failover.order[0].clusters", "more than 64"),
        ({"failover": {"unlisted": "Never"}}, "spec.failover.unlisted", "no cluster would be called"),
        ({"failover": {"threshold": 0}}, "spec.failover.threshold", "0 is not from 1 to 100"),
        ({"loadBalancing": {"algorithm": "Random"}}, "spec.loadBalancing.algorithm", "'Random' is none of"),
        ({"loadBalancing": {"algorithm": "RingHash"}}, "spec.loadBalancing.hashOn", "is required by"),
        ({"loadBalancing": {"hashOn": {"header": "a"}}}, "spec.loadBalancing.hashOn", "for the algorithm RingHash"),
        (
            {"loadBalancing": {"algorithm": "RingHash", "hashOn": {}}},
            "spec.loadBalancing.hashOn",
            "exactly one of header, cookie, sourceAddress",
        ),
        (
            {"loadBalancing": {"algorithm": "RingHash", "hashOn": {"header": "a b"}}},
            "spec.loadBalancing.hashOn.header",
            "not the name of a header",
        ),
        (
            {"loadBalancing": {"algorithm": "RingHash", "hashOn": {"cookie": "a"}, "ramp": "5s"}},
            "spec.loadBalancing.ramp",
            "a ring has no ramp",
        ),
        (
            {"loadBalancing": {"algorithm": "RingHash", "hashOn": {"cookie": "a"}, "sessionAffinity": "Service"}},
            "spec.loadBalancing.sessionAffinity",
            "must not be Service",
        ),
        ({"limits": {"requests": 0}}, "spec.limits.requests", "0 is not from 1 to 1000000"),
        ({"retries": {"attempts": 11}}, "spec.retries.attempts", "11 is not from 0 to 10"),
        ({"retries": {"budget": {"percent": 101}}}, "spec.retries.budget.percent", "101 is not from 0 to 100"),
        ({"retries": {"attempts": 0, "hedgeAfter": "1s"}}, "spec.retries.hedgeAfter", "a hedge is an attempt"),
        (
            {"retries": {"hedgeAfter": "1s"}, "timeouts": {"backendRequest": "1s"}},
            "spec.retries.hedgeAfter",
            "that ends the try",
        ),
        (
            {"timeouts": {"request": "1s", "backendRequest": "2s"}},
            "spec.timeouts.backendRequest",
            "longer than request",
        ),
        ({"timeouts": {"connect": "0s"}}, "spec.timeouts.connect", "'0s' is not from 1ms to 10m"),
        (
            {"outlierDetection": {"baseEjectionTime": "5s", "maxEjectionTime": "1s"}},
            "spec.outlierDetection.maxEjectionTime",
            "not be shorter than baseEjectionTime",
        ),
        ({"capacity": {}}, "spec.capacity.requestsPerEndpoint", "is required"),
        (
            {"capacity": {"requestsPerEndpoint": 1, "othersPercent": 0}},
            "spec.capacity.othersPercent",
            "0 is not from 1 to 100",
        ),
    ],
)
def test_what_is_wrong_is_refused_with_its_path(spec: object, path: str, message: str) -> None:
    """One problem for one fault, about the policy, and no value."""
    manifest = policy(spec)

    assert manifest.value is None
    assert [one.subject for one in manifest.problems] == ["TrafficPolicy demo/echo.v1"]
    assert [one.path for one in manifest.problems] == [path]
    assert message in manifest.problems[0].message


def test_all_faults_are_told_at_once() -> None:
    """Of every section."""
    manifest = policy({"limits": {"requests": 0}, "timeouts": {"connect": "1"}, "capacity": {"rps": 5}})

    assert [one.path for one in manifest.problems] == [
        "spec.timeouts.connect",
        "spec.limits.requests",
        "spec.capacity.rps",
        "spec.capacity.requestsPerEndpoint",
    ]
