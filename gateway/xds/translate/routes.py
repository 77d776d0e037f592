"""Outbound HTTP routes: how a call is retried and hedged by default, and the route table of the HTTP proxy port.

What may be repeated without harm (GET, HEAD, OPTIONS) is retried on another cluster after any failure and hedged: where
no answer came within 500 ms, the same request also goes elsewhere and the first answer wins. Nothing is cut: a server
that needs 2 s still answers. Everything else is retried only where the request never reached a server.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.ir.model import ImportedPort
from gateway.xds import protos as pb
from gateway.xds.translate.messages import milliseconds

OUTBOUND_ROUTES = "outbound"
"""Name of the route table of the HTTP proxy port."""

HEDGE_AFTER_MS = 500

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
    return pb.VirtualHost(name=port.name, domains=domains, routes=outbound_routes(port.name))


def route_configuration(hosts: Sequence[pb.Message], *, name: str) -> bytes:
    """A RouteConfiguration on the wire; without a name it is a part to be joined to one that has it."""
    content: bytes = pb.RouteConfiguration(name=name, virtual_hosts=hosts).SerializeToString(deterministic=True)
    return content


def outbound_routes(cluster: str) -> list[pb.Message]:
    """Upgrades as they are, repeatable calls retried and hedged, the rest retried where nothing was sent."""
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
    hedged = pb.Route(match=repeatable, route=_action(cluster, _ANY_FAILURE))
    hedged.route.retry_policy.per_try_timeout.CopyFrom(milliseconds(HEDGE_AFTER_MS))
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
    return [
        pb.Route(match=upgrade, route=_action(cluster, _NEVER_REACHED)),
        hedged,
        never_reached_route(cluster),
    ]


def never_reached_route(cluster: str) -> pb.Message:
    """All calls, tried again where nothing was sent."""
    return pb.Route(match=pb.RouteMatch(prefix="/"), route=_action(cluster, _NEVER_REACHED))


def _action(cluster: str, retry_on: str) -> pb.Message:
    policy = pb.RetryPolicy(
        retry_on=retry_on,
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
    # One for each of the other two distances (region, the rest). Hedges count among them: a GET is sent thrice at most.
    policy.num_retries.value = 2
    # No route timeout: calls last as long as caller and server agree; policies will set one.
    return pb.RouteAction(cluster=cluster, timeout=milliseconds(0), retry_policy=policy)
