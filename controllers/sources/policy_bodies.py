"""The body of a TrafficPolicy: its fields to values, each that is wrong noted with its path.

Pure; called with the object's names by ``manifests``, which discards the value where a problem was noted. The schema of
the CRD refuses most of it before it is stored; files have no API server, and what a schema can't say is here for both.
"""

from __future__ import annotations

import re
from typing import Final

from controllers.sources.fields import Fields
from controllers.sources.policy_fields import note_unknown, read_integer, read_milliseconds
from controllers.sources.service_bodies import read_created
from federation.model.names import ClusterId, is_dns_label
from federation.model.traffic_policy import (
    MAX_WEIGHT,
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

MAX_TARGETS: Final = 16
MAX_TIERS: Final = 16
MAX_TIER_CLUSTERS: Final = 64
MAX_LIMIT: Final = 1_000_000
"""What proxies have as their limit without a policy, which no proxy reaches."""
MAX_CAPACITY: Final = 100_000

_GROUPS: Final = {TargetKind.SERVICE: "", TargetKind.SERVICE_IMPORT: "multicluster.x-k8s.io"}
_SECTIONS: Final = (
    "failover",
    "loadBalancing",
    "limits",
    "retries",
    "timeouts",
    "outlierDetection",
    "capacity",
)
# RFC 9110 tokens; a cookie's name is one, too.
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def read_traffic_policy(namespace: str, name: str, root: Fields) -> TrafficPolicy:
    """A TrafficPolicy of ``federation-gateway.dev/v1alpha1``."""
    metadata = root.section("metadata")
    if not root.has("spec"):
        root.note("spec", "Required", "is required")
    spec = root.section("spec")
    note_unknown(spec, ("targetRefs", *_SECTIONS))
    if root.has("spec") and not set(spec.names) - {"targetRefs"}:
        spec.note("", "Required", f"must have one of {', '.join(_SECTIONS)}")
    timeouts = _read_timeouts(spec.section("timeouts"))
    return TrafficPolicy(
        namespace=namespace,
        name=name,
        spec=PolicySpec(
            failover=_read_failover(spec.section("failover")) if spec.has("failover") else None,
            load_balancing=_read_balancing(spec.section("loadBalancing")) if spec.has("loadBalancing") else None,
            limits=_read_limits(spec.section("limits")) if spec.has("limits") else None,
            retries=_read_retries(spec.section("retries"), timeouts) if spec.has("retries") else None,
            timeouts=timeouts if spec.has("timeouts") else None,
            outlier_detection=_read_outliers(spec.section("outlierDetection"))
            if spec.has("outlierDetection")
            else None,
            capacity=_read_capacity(spec.section("capacity")) if spec.has("capacity") else None,
        ),
        targets=_read_targets(spec),
        created=read_created(metadata),
        generation=metadata.integer("generation", 0, 2**63 - 1),
    )


def _read_targets(spec: Fields) -> tuple[Target, ...]:
    found: dict[str, Target] = {}
    if spec.has("targetRefs"):
        spec.require_items("targetRefs")
    for number, section in enumerate(spec.sections("targetRefs")):
        note_unknown(section, ("group", "kind", "name"))
        if number == MAX_TARGETS:
            spec.note("targetRefs", "TooMany", f"has more than {MAX_TARGETS} items")
        if not section.has("kind"):
            section.note("kind", "Required", "is required")
        kind = TargetKind(section.choice("kind", {one.value for one in TargetKind}, TargetKind.SERVICE))
        group = section.text("group", _GROUPS[kind])
        if group != _GROUPS[kind]:
            section.note("group", "InvalidValue", f"{group!r} is not the group of {kind}, {_GROUPS[kind]!r}")
        name = section.required_text("name")
        if name and not is_dns_label(name):
            section.note("name", "InvalidName", f"{name!r} is not a DNS label")
        if name in found:
            section.note("name", "Duplicate", f"{name!r} is another target's name, too")
        found[name] = Target(name, kind)
    return tuple(sorted(found.values()))


def _read_failover(section: Fields) -> Failover:
    note_unknown(section, ("order", "unlisted", "threshold"))
    if section.has("order"):
        section.require_items("order")
    taken: set[object] = set()
    tiers = tuple(_read_tier(tier, taken) for tier in section.sections("order"))
    if len(tiers) > MAX_TIERS:
        section.note("order", "TooMany", f"has more than {MAX_TIERS} items")
    unlisted = Unlisted(section.choice("unlisted", {one.value for one in Unlisted}, Unlisted.LAST))
    if unlisted is Unlisted.NEVER and not tiers:
        section.note("unlisted", "InvalidValue", "is 'Never' without an order: no cluster would be called")
    return Failover(tiers, unlisted, section.integer("threshold", 1, 100))


def _read_tier(section: Fields, taken: set[object]) -> Tier:
    note_unknown(section, ("clusters", "region", "scope"))
    if sum(section.has(key) for key in ("clusters", "region", "scope")) != 1:
        section.note("", "InvalidValue", "must have exactly one of clusters, region, scope")
    scope = section.choice("scope", {one.value for one in Scope}, "")
    region = section.text("region")
    if section.has("region") and _LABEL_VALUE.fullmatch(region) is None:
        section.note("region", "InvalidValue", f"{region!r} is not the name of a region")
    for key, value in (("scope", scope), ("region", region)):
        if value and (key, value) in taken:
            section.note(key, "Duplicate", f"{value!r} is in a tier before")
        taken.add((key, value))
    return Tier(_read_shares(section, taken), region, Scope(scope) if scope else None)


def _read_shares(tier: Fields, taken: set[object]) -> tuple[ClusterShare, ...]:
    if not tier.has("clusters"):
        return ()
    tier.require_items("clusters")
    shares: list[ClusterShare] = []
    sections = tuple(tier.sections("clusters"))
    for section in sections:
        note_unknown(section, ("name", "weight"))
        name = section.required_text("name")
        if name and not is_dns_label(name):
            section.note("name", "InvalidName", f"{name!r} is no cluster id: not a DNS label")
        if ("cluster", name) in taken:
            section.note("name", "Duplicate", f"{name!r} is in this tier or one before")
        taken.add(("cluster", name))
        shares.append(ClusterShare(ClusterId(name), section.integer("weight", 0, MAX_WEIGHT)))
    weighted = [section.has("weight") for section in sections]
    if any(weighted) and not all(weighted):
        sections[weighted.index(False)].note("weight", "Required", "is required where others of the tier have one")
    elif shares and all(share.weight == 0 for share in shares):
        tier.note("clusters", "InvalidValue", "must have a weight above 0")
    if len(shares) > MAX_TIER_CLUSTERS:
        tier.note("clusters", "TooMany", f"has more than {MAX_TIER_CLUSTERS} items")
    return tuple(shares)


def _read_balancing(section: Fields) -> LoadBalancing:
    note_unknown(section, ("algorithm", "hashOn", "sessionAffinity", "ramp"))
    algorithm = Algorithm(section.choice("algorithm", {one.value for one in Algorithm}, Algorithm.LEAST_REQUEST))
    affinity = section.choice("sessionAffinity", {"None", "Service"}, "None") == "Service"
    ramp = read_milliseconds(section, "ramp", 0, high=3_600_000)
    hashed = algorithm is Algorithm.RING_HASH
    key: HashKey | None = None
    if section.has("hashOn"):
        key = _read_hash_key(section.section("hashOn"))
        if not hashed:
            section.note("hashOn", "InvalidValue", "is for the algorithm RingHash alone")
    elif hashed:
        section.note("hashOn", "Required", "is required by the algorithm RingHash")
    if hashed and affinity:
        section.note("sessionAffinity", "InvalidValue", "must not be Service where the algorithm is RingHash")
    if hashed and ramp:
        section.note("ramp", "InvalidValue", "must not be set where the algorithm is RingHash: a ring has no ramp")
    return LoadBalancing(algorithm, key, affinity, ramp)


def _read_hash_key(section: Fields) -> HashKey:
    note_unknown(section, ("header", "cookie", "sourceAddress"))
    by_address = section.boolean("sourceAddress", default=False)
    found = [HashKey(HashSource.SOURCE_ADDRESS)] if by_address else []
    for key, source in (("header", HashSource.HEADER), ("cookie", HashSource.COOKIE)):
        if section.has(key):
            name = section.text(key)
            if _TOKEN.fullmatch(name) is None:
                section.note(key, "InvalidValue", f"{name[:80]!r} is not the name of a {key}")
            found.append(HashKey(source, name.lower() if source is HashSource.HEADER else name))
    if len(found) != 1:
        section.note("", "InvalidValue", "must have exactly one of header, cookie, sourceAddress")
        return HashKey(HashSource.SOURCE_ADDRESS)
    return found[0]


def _read_limits(section: Fields) -> Limits:
    note_unknown(section, ("connections", "pendingRequests", "requests"))
    return Limits(*(section.integer(key, 1, MAX_LIMIT) for key in ("connections", "pendingRequests", "requests")))


def _read_retries(section: Fields, timeouts: Timeouts) -> Retries:
    note_unknown(section, ("attempts", "budget", "hedgeAfter"))
    budget = section.section("budget")
    note_unknown(budget, ("percent", "minConcurrent"))
    usual = Retries()
    hedge_after = read_milliseconds(section, "hedgeAfter", usual.hedge_after_ms)
    attempts = read_integer(section, "attempts", usual.attempts, 0, 10)
    if section.has("hedgeAfter") and hedge_after and timeouts.backend_request_ms:
        section.note("hedgeAfter", "InvalidValue", "must be 0s where timeouts.backendRequest is set: that ends the try")
    if section.has("hedgeAfter") and hedge_after and not attempts:
        section.note("hedgeAfter", "InvalidValue", "must be 0s where attempts is 0: a hedge is an attempt")
    return Retries(
        attempts=attempts,
        budget_percent=read_integer(budget, "percent", usual.budget_percent, 0, 100),
        min_concurrent=read_integer(budget, "minConcurrent", usual.min_concurrent, 0, MAX_LIMIT),
        hedge_after_ms=hedge_after,
    )


def _read_timeouts(section: Fields) -> Timeouts:
    note_unknown(section, ("connect", "request", "backendRequest", "idle"))
    usual = Timeouts()
    found = Timeouts(
        connect_ms=read_milliseconds(section, "connect", usual.connect_ms, low=1, high=600_000),
        request_ms=read_milliseconds(section, "request", usual.request_ms),
        backend_request_ms=read_milliseconds(section, "backendRequest", usual.backend_request_ms),
        idle_ms=read_milliseconds(section, "idle", usual.idle_ms),
    )
    # GEP-1742.
    if 0 < found.request_ms < found.backend_request_ms:
        section.note("backendRequest", "InvalidValue", "must not be longer than request")
    return found


def _read_outliers(section: Fields) -> OutlierDetection:
    note_unknown(
        section, ("consecutiveFailures", "interval", "baseEjectionTime", "maxEjectionTime", "maxEjectedPercent")
    )
    usual = OutlierDetection()
    base = read_milliseconds(section, "baseEjectionTime", usual.base_ejection_ms, low=1)
    found = OutlierDetection(
        consecutive_failures=section.integer("consecutiveFailures", 0, 1000),
        interval_ms=read_milliseconds(section, "interval", usual.interval_ms, low=1),
        base_ejection_ms=base,
        max_ejection_ms=read_milliseconds(section, "maxEjectionTime", max(usual.max_ejection_ms, base), low=1),
        max_ejected_percent=read_integer(section, "maxEjectedPercent", usual.max_ejected_percent, 0, 100),
    )
    if found.max_ejection_ms < found.base_ejection_ms:
        section.note("maxEjectionTime", "InvalidValue", "must not be shorter than baseEjectionTime")
    return found


def _read_capacity(section: Fields) -> Capacity:
    note_unknown(section, ("requestsPerEndpoint", "othersPercent"))
    return Capacity(
        requests_per_endpoint=section.required_integer("requestsPerEndpoint", 1, MAX_CAPACITY),
        others_percent=read_integer(section, "othersPercent", 100, 1, 100),
    )
