"""Outbound HTTP routes: how a call is retried and hedged by default, and the route table of the HTTP proxy port.

What may be repeated without harm (GET, HEAD, OPTIONS) is retried on another cluster after any failure and hedged: where
no answer came within 500 ms, the same request also goes elsewhere and the first answer wins. Nothing is cut: a server
that needs 2 s still answers. Everything else is retried only where the request never reached a server.
"""

from __future__ import annotations

from collections.abc import Sequence

from federation.model.traffic_policy import DEFAULTS, TrafficSettings
from gateway.ir.model import ImportedPort
from gateway.xds import protos as pb
from gateway.xds.translate.messages import milliseconds
from gateway.xds.translate.traffic import OVERLOADED_HEADER, http_hash_policy

OUTBOUND_ROUTES = "outbound"
"""Name of the route table of the HTTP proxy port."""

_REPEATABLE = "GET|HEAD|OPTIONS"
_NEVER_REACHED = "connect-failure,refused-stream,reset-before-request"
_ANY_FAILURE = "connect-failure,refused-stream,reset,gateway-error"

# Caller-set overrides of our policy: a timeout of theirs would end as the 204 that only hedges may mean.
CALLER_OVERRIDES = (
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
)

HEADER_MUTATION = "envoy.filters.http.header_mutation"


def virtual_host(port: ImportedPort) -> pb.Message:
    """The routes of one imported HTTP port, under host:port, and for port 80 under the bare host as well."""
    domains = [f"{port.service.host}:{port.port}"]
    if port.port == 80:
        domains.append(port.service.host)
    return pb.VirtualHost(name=port.name, domains=domains, routes=imported_routes(port))


def route_configuration(hosts: Sequence[pb.Message], *, name: str) -> bytes:
    """A RouteConfiguration on the wire; without a name it is a part to be joined to one that has it."""
    content: bytes = pb.RouteConfiguration(name=name, virtual_hosts=hosts).SerializeToString(deterministic=True)
    return content


def imported_routes(port: ImportedPort) -> list[pb.Message]:
    """The routes of one imported HTTP port, whatever the host."""
    return outbound_routes(port.name, port.policy, sheds=port.sheds)


def outbound_routes(cluster: str, policy: TrafficSettings = DEFAULTS, *, sheds: bool = False) -> list[pb.Message]:
    """Upgrades as they are, repeatable calls retried and hedged, the rest retried where nothing was sent, or where a
    cluster that ``sheds`` says that it was not taken in."""
    upgrade = pb.RouteMatch(prefix="/", headers=[pb.HeaderMatcher(name="upgrade", present_match=True)])
    repeatable = pb.RouteMatch(
        prefix="/",
        headers=[
            pb.HeaderMatcher(
                name=":method",
                string_match=pb.StringMatcher(safe_regex=pb.RegexMatcher(regex=_REPEATABLE)),
            )
        ],
    )
    routes = [
        pb.Route(match=upgrade, route=_action(cluster, _NEVER_REACHED, policy, sheds=sheds)),
        pb.Route(match=repeatable, route=_action(cluster, _ANY_FAILURE, policy, sheds=sheds)),
        pb.Route(match=pb.RouteMatch(prefix="/"), route=_action(cluster, _NEVER_REACHED, policy, sheds=sheds)),
    ]
    for route in routes[1:]:
        _set_timeouts(route.route, policy)
    if _hedges(policy):
        _hedge(routes[1], policy.retries.hedge_after_ms)
    return routes


def never_reached_route(cluster: str) -> pb.Message:
    """All calls, tried again where nothing was sent."""
    action = _action(cluster, _NEVER_REACHED, DEFAULTS, sheds=False)
    return pb.Route(match=pb.RouteMatch(prefix="/"), route=action)


def _hedges(policy: TrafficSettings) -> bool:
    """Whether calls are hedged: Envoy ends a try after its timeout, or sends another beside it, never both."""
    retries = policy.retries
    return bool(retries.attempts and retries.hedge_after_ms and not policy.timeouts.backend_request_ms)


def _hedge(hedged: pb.Message, after_ms: int) -> None:
    hedged.route.retry_policy.per_try_timeout.CopyFrom(milliseconds(after_ms))
    hedged.route.hedge_policy.hedge_on_per_try_timeout = True
    # Envoy counts the soft timeout of a hedge against the host, as a 504, or as a 204 where this header is present:
    # a slow answer is not a failure (source/common/router/router.cc, onSoftPerTryTimeout).
    hedged.typed_per_filter_config[HEADER_MUTATION].CopyFrom(
        pb.pack(
            pb.HeaderMutationPerRoute(
                mutations=pb.Mutations(
                    request_mutations=[
                        pb.HeaderMutationRule(
                            append=pb.HeaderValueOption(
                                header=pb.HeaderValue(key="x-envoy-upstream-rq-timeout-alt-response", value="1"),
                                append_action=pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
                            )
                        )
                    ]
                )
            )
        )
    )


def _set_timeouts(action: pb.Message, policy: TrafficSettings) -> None:
    timeouts = policy.timeouts
    if timeouts.request_ms:
        # Not the route's own timeout, which would end a hedged call with the 204 that only hedges may mean.
        action.max_stream_duration.max_stream_duration.CopyFrom(milliseconds(timeouts.request_ms))
    if timeouts.backend_request_ms and policy.retries.attempts:
        action.retry_policy.per_try_timeout.CopyFrom(milliseconds(timeouts.backend_request_ms))
    elif timeouts.backend_request_ms:
        action.timeout.CopyFrom(milliseconds(timeouts.backend_request_ms))
    if timeouts.idle_ms:
        action.idle_timeout.CopyFrom(milliseconds(timeouts.idle_ms))


def _action(cluster: str, retry_on: str, policy: TrafficSettings, *, sheds: bool) -> pb.Message:
    # No route timeout: calls last as long as caller and server agree, or as a policy says.
    action = pb.RouteAction(
        cluster=cluster, timeout=milliseconds(0), hash_policy=http_hash_policy(policy.load_balancing)
    )
    if policy.retries.attempts:
        action.retry_policy.CopyFrom(_retry_policy(retry_on, policy.retries.attempts, sheds=sheds))
    return action


def _retry_policy(retry_on: str, attempts: int, *, sheds: bool) -> pb.Message:
    policy = pb.RetryPolicy(
        retry_on=f"{retry_on},retriable-headers" if sheds else retry_on,
        retriable_headers=[pb.HeaderMatcher(name=OVERLOADED_HEADER, present_match=True)] if sheds else [],
        retry_host_predicate=[
            pb.RetryPolicy.RetryHostPredicate(
                name="envoy.retry_host_predicates.previous_hosts",
                typed_config=pb.pack(pb.PreviousHostsPredicate()),
            )
        ],
        host_selection_retry_max_attempts=5,
        # The second try goes to the next priority at once instead of to a neighbour that may have died together.
        retry_priority=pb.RetryPolicy.RetryPriority(
            name="envoy.retry_priorities.previous_priorities",
            typed_config=pb.pack(pb.PreviousPrioritiesConfig(update_frequency=1)),
        ),
        retry_back_off=pb.RetryPolicy.RetryBackOff(base_interval=milliseconds(2), max_interval=milliseconds(20)),
    )
    # Usually one for each of the other two distances (region, the rest). Hedges count among them: a GET is sent thrice.
    policy.num_retries.value = attempts
    return policy
