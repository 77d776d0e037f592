"""What a TrafficPolicy sets in Envoy: balancing, limits, ejection, and how a call that was shed is known.

Given the settings that hold without a policy, every function here gives what the data path has without one
(docs/decisions/003, 024).
"""

from __future__ import annotations

from typing import Final

from federation.model.traffic_policy import (
    DEFAULTS,
    Algorithm,
    HashSource,
    LoadBalancing,
    OutlierDetection,
    TrafficSettings,
)
from gateway.ir.model import ImportedPort
from gateway.xds import protos as pb
from gateway.xds.translate.messages import milliseconds

OVERLOADED_HEADER: Final = "x-federation-overloaded"
"""On the answer of a server's sidecar that had no capacity left for calls of other clusters: the application has not
seen the call, so whatever it was it may be tried elsewhere."""

OVERLOADED_TEXT: Final = "no capacity left for calls of other clusters"

_UNLIMITED: Final = 1_000_000
_LEAST_5XX: Final = 5
"""Envoy's default number of answers above 500 in a row for which a host is ejected, too."""
_RAMP_START_PERCENT: Final = 10

_ALGORITHMS: Final = {
    Algorithm.ROUND_ROBIN: pb.Cluster.ROUND_ROBIN,
    Algorithm.LEAST_REQUEST: pb.Cluster.LEAST_REQUEST,
    Algorithm.RING_HASH: pb.Cluster.RING_HASH,
}


def set_balancing(envoy_cluster: pb.Message, port: ImportedPort) -> None:
    """Which host is picked, once the priority is."""
    balancing = port.policy.load_balancing
    envoy_cluster.lb_policy = _ALGORITHMS[balancing.algorithm]
    if port.policy.failover.order:
        # By the policy, not by the localities at hand: another value replaces the cluster, and with it connections.
        envoy_cluster.common_lb_config.locality_weighted_lb_config.SetInParent()
    if balancing.ramp_ms and balancing.algorithm is not Algorithm.RING_HASH:
        round_robin = balancing.algorithm is Algorithm.ROUND_ROBIN
        config = envoy_cluster.round_robin_lb_config if round_robin else envoy_cluster.least_request_lb_config
        config.slow_start_config.slow_start_window.CopyFrom(milliseconds(balancing.ramp_ms))
        config.slow_start_config.min_weight_percent.value = _RAMP_START_PERCENT


def circuit_breakers(policy: TrafficSettings = DEFAULTS, *, others_limit: int = 0) -> pb.Message:
    """No limit on connections and requests but the policy's. Retries and hedges: a fifth of what is in flight, and
    always 200; Envoy's default of three at a time is what drops calls when a host turns into a black hole.

    ``others_limit`` is for calls that are routed with the high priority, which none are elsewhere. So calls on a
    connection that is older than a limit are not taken for the others': they have the usual priority, without limit.
    """
    limits, retries = policy.limits, policy.retries
    found = [_thresholds(limits.connections, limits.pending_requests, limits.requests)]
    found[0].retry_budget.budget_percent.value = retries.budget_percent
    found[0].retry_budget.min_retry_concurrency.value = retries.min_concurrent
    if others_limit:
        found.append(_thresholds(None, None, others_limit))
        found[1].priority = pb.RoutingPriority.HIGH
    return pb.CircuitBreakers(thresholds=found)


def _thresholds(connections: int | None, pending: int | None, requests: int | None) -> pb.Message:
    thresholds = pb.CircuitBreakers.Thresholds()
    thresholds.max_connections.value = connections or _UNLIMITED
    thresholds.max_pending_requests.value = pending or _UNLIMITED
    thresholds.max_requests.value = requests or _UNLIMITED
    return thresholds


def outlier_detection(usual: int, policy: OutlierDetection = DEFAULTS.outlier_detection) -> pb.Message | None:
    """Ejects after ``usual`` connection failures, resets or 502/503/504 answers in a row, or as many as the policy
    says; None where it says never.

    Local and upstream errors are counted together on purpose: a hedge's timeout then counts as the response code that
    the route gives to it (204, see routes), so that a slow but healthy server is never ejected.
    """
    consecutive = usual if policy.consecutive_failures is None else policy.consecutive_failures
    if not consecutive:
        return None
    detection = pb.OutlierDetection()
    detection.consecutive_gateway_failure.value = consecutive
    if consecutive > _LEAST_5XX:
        # Those failures are among the answers above 500, of which Envoy takes five without being asked.
        detection.consecutive_5xx.value = consecutive
    detection.enforcing_consecutive_gateway_failure.value = 100
    detection.enforcing_success_rate.value = 0
    detection.interval.CopyFrom(milliseconds(policy.interval_ms))
    detection.base_ejection_time.CopyFrom(milliseconds(policy.base_ejection_ms))
    detection.max_ejection_time.CopyFrom(milliseconds(policy.max_ejection_ms))
    detection.max_ejection_percent.value = policy.max_ejected_percent
    return detection


def failure_matcher() -> pb.Message:
    """Which answers count as failures of a host, where some of them are of one that is well and full.

    Ejecting it would send what it still takes to the next one, and topple that.
    """
    failed = pb.HeaderMatcher(
        name=":status", string_match=pb.StringMatcher(safe_regex=pb.RegexMatcher(regex="5[0-9][0-9]"))
    )
    shed = pb.HeaderMatcher(name=OVERLOADED_HEADER, present_match=True)
    rules = [
        pb.MatchPredicate(http_response_headers_match=pb.HttpHeadersMatch(headers=[failed])),
        pb.MatchPredicate(not_match=pb.MatchPredicate(http_response_headers_match=pb.HttpHeadersMatch(headers=[shed]))),
    ]
    matcher = pb.MatchPredicate(and_match=pb.MatchPredicate.MatchSet(rules=rules))
    return pb.HttpProtocolOptions.OutlierDetection(error_matcher=matcher)


def overprovisioning_factor(threshold_percent: int) -> int:
    """Envoy's factor, in percent, under which a priority is full as long as that much of it is healthy."""
    return -(-10_000 // threshold_percent)


def http_hash_policy(balancing: LoadBalancing) -> list[pb.Message]:
    """What of a call is hashed; empty where nothing is."""
    if balancing.hash_key is None:
        return []
    policy = pb.RouteAction.HashPolicy()
    match balancing.hash_key.source:
        case HashSource.HEADER:
            policy.header.header_name = balancing.hash_key.name
        case HashSource.COOKIE:
            policy.cookie.name = balancing.hash_key.name
        case HashSource.SOURCE_ADDRESS:
            policy.connection_properties.source_ip = True
    return [policy]


def tcp_hash_policy(balancing: LoadBalancing) -> list[pb.Message]:
    """The same of a connection: it has neither header nor cookie, so its source address stands in."""
    if balancing.hash_key is None:
        return []
    return [pb.TcpHashPolicy(source_ip=pb.TcpHashPolicy.SourceIp())]


def overloaded_reply() -> pb.Message:
    """What a caller of another cluster is told whose call is refused for want of capacity."""
    overflow = pb.AccessLogFilter(response_flag_filter=pb.ResponseFlagFilter(flags=["UO"]))
    mapper = pb.ResponseMapper(
        filter=overflow,
        headers_to_add=[pb.HeaderValueOption(header=pb.HeaderValue(key=OVERLOADED_HEADER, value="true"))],
    )
    mapper.body.inline_string = OVERLOADED_TEXT
    return pb.LocalReplyConfig(mappers=[mapper])
