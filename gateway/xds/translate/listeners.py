"""Listeners of the gateway (one, constant in size) and of a sidecar (inbound, and the outbound ways in)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from federation.model.names import CLUSTERSET_DOMAIN
from gateway.ir.model import AppProtocol, ImportedPort, InboundPort
from gateway.telemetry import Telemetry
from gateway.xds import protos as pb
from gateway.xds.translate.access_log import caller_log, gateway_log, listener_metadata, server_log
from gateway.xds.translate.clusters import PASSED_BUFFER_BYTES, app_cluster_name, http2_options
from gateway.xds.translate.messages import milliseconds, socket_address
from gateway.xds.translate.on_demand import tcp_proxy
from gateway.xds.translate.routes import (
    CALLER_OVERRIDES,
    HEADER_MUTATION,
    OUTBOUND_ROUTES,
    imported_routes,
)
from gateway.xds.translate.tls import ads, caller_filter, downstream_tls
from gateway.xds.translate.traffic import overloaded_reply, tcp_hash_policy

PASSTHROUGH_CLUSTER = "passthrough"
GENERATION_NAMESPACE = "federation"
"""Of the metadata that marks filter chains."""

# A TCP call first tries dead hosts of its own cluster; each refused try ejects one. Envoy decides that on its main
# thread: tries in one go would all see the same dead host, so they wait a little, ever longer.
_TCP_CONNECT_ATTEMPTS = 10
_TCP_BACK_OFF_MS = 5, 100


# For a TLS hello or handshake; Envoy's default is 15 s for the one and none for the other.
_HANDSHAKE_MS = 5000

_HEADERS_MS = 10_000
"""For the headers of a request, from their first byte on."""

# SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT as Linux numbers them: a caller that vanished without a
# reset is given up after 25 s, as the upstreams of clusters.py are.
_KEEPALIVE = ((1, 9, 1), (6, 4, 10), (6, 5, 5), (6, 6, 3))


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int


def gateway_listener(address: Address, telemetry: Telemetry, terminating: Sequence[pb.Message] = ()) -> pb.Message:
    """SNI passthrough for every exported service: the SNI is the cluster's name, taken on demand.

    Refused without asking the control plane: plaintext, and any SNI outside the clusterset's domain. Nothing is
    decrypted but by the chains of ``terminating``, for the SNIs that they name.
    """
    proxy = tcp_proxy("gateway", "unknown-sni")
    proxy.access_log.extend(gateway_log(telemetry))
    try_again(proxy)
    chain = pb.FilterChain(
        filter_chain_match=pb.FilterChainMatch(transport_protocol="tls", server_names=[f"*.{CLUSTERSET_DOMAIN}"]),
        filters=[
            network_filter("envoy.filters.network.sni_cluster", pb.SniCluster()),
            network_filter("envoy.filters.network.tcp_proxy", proxy),
        ],
    )
    listener = pb.Listener(
        name="gateway",
        stat_prefix="gateway",
        address=socket_address(address.host, address.port),
        listener_filters=[_tls_inspector()],
        filter_chains=[chain, *terminating],
        metadata=listener_metadata(),
        traffic_direction=pb.TrafficDirection.INBOUND,
        listener_filters_timeout=milliseconds(_HANDSHAKE_MS),
        socket_options=[pb.SocketOption(level=level, name=name, int_value=value) for level, name, value in _KEEPALIVE],
    )
    listener.per_connection_buffer_limit_bytes.value = PASSED_BUFFER_BYTES
    return listener


def inbound_listener(
    address: Address, ports: Sequence[InboundPort], telemetry: Telemetry, generation: int = 0
) -> pb.Message:
    """The mTLS side of one workload: one filter chain per exported port, chosen by SNI; all else is refused.

    A new ``generation`` of trust ends the connections of the one before (``of_generation``).
    """
    return pb.Listener(
        name="inbound",
        stat_prefix="inbound",
        address=socket_address(address.host, address.port),
        listener_filters=[_tls_inspector()],
        filter_chains=[of_generation(_inbound_chain(port, telemetry), generation) for port in sorted(ports)],
        traffic_direction=pb.TrafficDirection.INBOUND,
        listener_filters_timeout=milliseconds(_HANDSHAKE_MS),
    )


def _inbound_chain(port: InboundPort, telemetry: Telemetry) -> pb.Message:
    cluster = app_cluster_name(port)
    if port.protocol.is_http:
        manager = http_manager("inbound", server=True)
        manager.forward_client_cert_details = pb.HttpConnectionManager.SANITIZE_SET
        manager.set_current_client_cert_details.uri = True
        manager.access_log.extend(server_log(telemetry, port))
        manager.route_config.CopyFrom(
            pb.RouteConfiguration(
                name="inbound",
                virtual_hosts=[
                    pb.VirtualHost(
                        name="inbound",
                        domains=["*"],
                        routes=_inbound_routes(port, cluster),
                    )
                ],
            )
        )
        if port.others_limit:
            manager.local_reply_config.CopyFrom(overloaded_reply())
        manager.http_filters.append(router_filter())
        filters = [network_filter("envoy.filters.network.http_connection_manager", manager)]
    else:
        filters = [
            network_filter(
                "envoy.filters.network.tcp_proxy",
                pb.TcpProxy(stat_prefix="inbound_tcp", cluster=cluster, access_log=server_log(telemetry, port)),
            )
        ]
    return pb.FilterChain(
        name=port.name,
        # The service port, and all shards of it.
        filter_chain_match=pb.FilterChainMatch(transport_protocol="tls", server_names=[port.name, f"*.{port.name}"]),
        filters=[caller_filter(), *filters],
        transport_socket=downstream_tls(http=port.protocol.is_http),
        transport_socket_connect_timeout=milliseconds(_HANDSHAKE_MS),
    )


def _inbound_routes(port: InboundPort, cluster: str) -> list[pb.Message]:
    """All to the application; where calls of other clusters are limited, theirs with the priority that has the limit.

    Who calls is told by the certificate: Envoy itself writes the header, and drops what came with the call.
    """
    usual = pb.Route(match=pb.RouteMatch(prefix="/"), route=pb.RouteAction(cluster=cluster, timeout=milliseconds(0)))
    if not port.others_limit:
        return [usual]
    home = pb.HeaderMatcher(
        name="x-forwarded-client-cert", string_match=pb.StringMatcher(contains=f"URI=spiffe://{port.trust_domain}/")
    )
    usual.match.headers.append(home)
    others = pb.Route(
        match=pb.RouteMatch(prefix="/"),
        route=pb.RouteAction(cluster=cluster, timeout=milliseconds(0), priority=pb.RoutingPriority.HIGH),
    )
    return [usual, others]


def http_proxy_listener(address: Address, telemetry: Telemetry, generation: int = 0) -> pb.Message:
    """Outbound, explicit: an HTTP proxy port whose requests are routed by host (absolute form or Host header).

    ``generation`` is of the trust that any of its calls may rest on.
    """
    manager = outbound_manager()
    manager.rds.route_config_name = OUTBOUND_ROUTES
    manager.rds.config_source.CopyFrom(ads())
    manager.access_log.extend(caller_log(telemetry, http=True))
    filters = [network_filter("envoy.filters.network.http_connection_manager", manager)]
    return outbound_listener("http-proxy", address, filters, generation)


def local_listener(address: Address, port: ImportedPort, telemetry: Telemetry) -> pb.Message:
    """Outbound, explicit: one local port for one imported service port, HTTP or TCP."""
    filters = _outbound_filters(port, telemetry)
    return outbound_listener(f"local|{address.host}|{address.port}", address, filters, port.generation)


def redirect_listener(port: int, *, ipv6: bool = False) -> pb.Message:
    """Outbound, transparent: takes redirected connections and hands each to the listener of its original destination.

    Destinations that are no clusterset IP pass through untouched. ``ipv6`` is a listener of its own, and takes none of
    IPv4: the kernel tells the original destination by the family of the socket.
    """
    listener = pb.Listener(
        name="redirect-ipv6" if ipv6 else "redirect",
        stat_prefix="redirect",
        address=socket_address("::1" if ipv6 else "0.0.0.0", port),
        listener_filters=[
            pb.ListenerFilter(name="envoy.filters.listener.original_dst", typed_config=pb.pack(pb.OriginalDst()))
        ],
        filter_chains=[
            pb.FilterChain(
                filters=[
                    network_filter(
                        "envoy.filters.network.tcp_proxy",
                        pb.TcpProxy(stat_prefix="passthrough", cluster=PASSTHROUGH_CLUSTER),
                    )
                ]
            )
        ],
        traffic_direction=pb.TrafficDirection.OUTBOUND,
    )
    listener.use_original_dst.value = True
    return listener


def passthrough_cluster() -> pb.Message:
    """Where redirected connections go whose destination is not ours."""
    return pb.Cluster(
        name=PASSTHROUGH_CLUSTER,
        type=pb.Cluster.ORIGINAL_DST,
        lb_policy=pb.Cluster.CLUSTER_PROVIDED,
        connect_timeout=milliseconds(5000),
    )


def vip_listener(vip: str, port: ImportedPort, telemetry: Telemetry) -> pb.Message:
    """Outbound, transparent: the listener of one clusterset IP and port. It binds nothing; redirect hands over."""
    name, filters = f"{'vip6' if ':' in vip else 'vip'}|{port.name}", _outbound_filters(port, telemetry)
    listener = outbound_listener(name, Address(vip, port.port), filters, port.generation)
    listener.bind_to_port.value = False
    return listener


def _outbound_filters(port: ImportedPort, telemetry: Telemetry) -> list[pb.Message]:
    log = caller_log(telemetry, http=port.protocol.is_http, port=port)
    if port.protocol is AppProtocol.TCP:
        hashed = tcp_hash_policy(port.policy.load_balancing)
        proxy = pb.TcpProxy(stat_prefix="outbound_tcp", cluster=port.name, hash_policy=hashed, access_log=log)
        try_again(proxy)
        if port.policy.timeouts.idle_ms:
            proxy.idle_timeout.CopyFrom(milliseconds(port.policy.timeouts.idle_ms))
        return [network_filter("envoy.filters.network.tcp_proxy", proxy)]
    manager = outbound_manager()
    manager.access_log.extend(log)
    manager.route_config.CopyFrom(
        pb.RouteConfiguration(
            name=port.name,
            virtual_hosts=[pb.VirtualHost(name=port.name, domains=["*"], routes=imported_routes(port))],
        )
    )
    return [network_filter("envoy.filters.network.http_connection_manager", manager)]


def try_again(proxy: pb.Message) -> None:
    """Have connections that fail tried again, on what is healthy then."""
    base, longest = _TCP_BACK_OFF_MS
    proxy.max_connect_attempts.value = _TCP_CONNECT_ATTEMPTS
    proxy.backoff_options.base_interval.CopyFrom(milliseconds(base))
    proxy.backoff_options.max_interval.CopyFrom(milliseconds(longest))


def outbound_listener(name: str, address: Address, filters: Sequence[pb.Message], generation: int) -> pb.Message:
    return pb.Listener(
        name=name,
        stat_prefix="outbound",
        address=socket_address(address.host, address.port),
        filter_chains=[of_generation(pb.FilterChain(filters=filters), generation)],
        metadata=listener_metadata(),
        traffic_direction=pb.TrafficDirection.OUTBOUND,
    )


def of_generation(chain: pb.Message, generation: int) -> pb.Message:
    """The chain, marked with the generation of trust that its connections rest on.

    Envoy never verifies an open connection again. It replaces chains that differ, if only in this mark, drains the
    connections of the old ones, and closes them at the end of its drain time.
    """
    if generation:
        chain.metadata.filter_metadata[GENERATION_NAMESPACE].update({"trust_generation": str(generation)})
    return chain


def outbound_manager() -> pb.Message:
    manager = http_manager("outbound", server=False)
    manager.http_filters.append(
        pb.HttpFilter(
            name=HEADER_MUTATION,
            typed_config=pb.pack(
                pb.HeaderMutation(
                    mutations=pb.Mutations(
                        request_mutations=[pb.HeaderMutationRule(remove=name) for name in CALLER_OVERRIDES]
                    )
                )
            ),
        )
    )
    manager.http_filters.append(router_filter())
    return manager


def http_manager(stat_prefix: str, *, server: bool) -> pb.Message:
    manager = pb.HttpConnectionManager(
        stat_prefix=stat_prefix,
        codec_type=pb.HttpConnectionManager.AUTO,
        http2_protocol_options=http2_options(keepalive=server),
        upgrade_configs=[pb.HttpConnectionManager.UpgradeConfig(upgrade_type="websocket")],
        stream_idle_timeout=milliseconds(0),
        request_headers_timeout=milliseconds(_HEADERS_MS),
    )
    # What a sidecar adds beyond the call itself costs 10 % of it: no request IDs until tracing asks for them.
    manager.generate_request_id.value = False
    return manager


def router_filter() -> pb.Message:
    router = pb.Router(suppress_envoy_headers=True)
    router.dynamic_stats.value = False
    return pb.HttpFilter(name="envoy.filters.http.router", typed_config=pb.pack(router))


def _tls_inspector() -> pb.Message:
    return pb.ListenerFilter(name="envoy.filters.listener.tls_inspector", typed_config=pb.pack(pb.TlsInspector()))


def network_filter(name: str, config: pb.Message) -> pb.Message:
    return pb.Filter(name=name, typed_config=pb.pack(config))
