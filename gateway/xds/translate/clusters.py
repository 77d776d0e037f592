"""Envoy clusters and their endpoints: imported ports (sidecar), exported ports (gateway), the application (sidecar).

Failover needs no configuration: the settings here are those that lost no call when endpoints were killed, frozen or
black-holed under load (docs/decisions/003). Envoy's own defaults lost two thirds.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.ir.model import AppProtocol, ExportedPort, ImportedPort, InboundPort, Upstream, UpstreamLocality
from gateway.nodes import ProbeSpec
from gateway.xds import protos as pb
from gateway.xds.translate.access_log import call_metadata, service_metadata
from gateway.xds.translate.messages import milliseconds, socket_address
from gateway.xds.translate.tls import ads, upstream_tls

_UNLIMITED = 1_000_000

# Covers TCP and the TLS handshake with the far sidecar, so it must hold two round trips around the world; a frozen host
# costs a new connection this long.
_CONNECT_TIMEOUT_MS = 1000

# A far sidecar or gateway that vanished without a reset answers no ping: its connection is given up, and its streams
# are tried elsewhere, after at most the sum. Slow answers are not cut: the far codec answers pings by itself.
_PING_INTERVAL_MS = 500
_PING_TIMEOUT_MS = 1000

_STREAM_WINDOW = 1 << 20
_CONNECTION_WINDOW = 16 << 20


def import_cluster(port: ImportedPort) -> pb.Message:
    """The outbound cluster of one imported port; its endpoints come by EDS under the same name."""
    cluster = pb.Cluster(
        name=port.name,
        type=pb.Cluster.EDS,
        eds_cluster_config=pb.Cluster.EdsClusterConfig(eds_config=ads()),
        connect_timeout=milliseconds(_CONNECT_TIMEOUT_MS),
        lb_policy=pb.Cluster.LEAST_REQUEST,
        transport_socket=upstream_tls(port.name, port.identities, http=port.protocol.is_http),
        circuit_breakers=_circuit_breakers(),
        common_lb_config=_common_lb(),
        outlier_detection=_outlier_detection(3 if port.protocol.is_http else 1),
        metadata=service_metadata(port),
    )
    if port.protocol.is_http:
        _set_http(cluster, http2_options(keepalive=True))
    else:
        _tcp_keepalive(cluster)
    return cluster


def import_assignment(port: ImportedPort) -> pb.Message:
    """The endpoints of one imported port: own cluster, then same region, then the rest, as contiguous priorities."""
    return pb.ClusterLoadAssignment(
        cluster_name=port.name, endpoints=[_locality(locality) for locality in port.localities]
    )


def export_cluster(port: ExportedPort) -> pb.Message:
    """The gateway's cluster behind one SNI. It holds nothing but names, so it never changes: on-demand discovery
    asks for it once, and endpoints come by EDS.
    """
    cluster = pb.Cluster(
        name=port.name,
        type=pb.Cluster.EDS,
        eds_cluster_config=pb.Cluster.EdsClusterConfig(eds_config=ads()),
        connect_timeout=milliseconds(_CONNECT_TIMEOUT_MS),
        lb_policy=pb.Cluster.LEAST_REQUEST,
        circuit_breakers=_circuit_breakers(),
        common_lb_config=_common_lb(),
        outlier_detection=_outlier_detection(1),
        metadata=service_metadata(port),
    )
    _tcp_keepalive(cluster)
    return cluster


def export_assignment(port: ExportedPort) -> pb.Message:
    """The sidecars behind one SNI of the own cluster."""
    endpoints = [pb.LocalityLbEndpoints(lb_endpoints=_hosts(port.upstreams))] if port.upstreams else []
    return pb.ClusterLoadAssignment(cluster_name=port.name, endpoints=endpoints)


def app_cluster_name(port: InboundPort) -> str:
    return f"app|{port.app_address}|{port.app_port}|{port.protocol}"


def app_cluster(port: InboundPort, probe: ProbeSpec | None) -> pb.Message:
    """The sidecar's cluster for its own application, in the clear on the workload's own address."""
    name = app_cluster_name(port)
    cluster = pb.Cluster(
        name=name,
        type=pb.Cluster.STATIC,
        connect_timeout=milliseconds(_CONNECT_TIMEOUT_MS),
        load_assignment=pb.ClusterLoadAssignment(
            cluster_name=name,
            endpoints=[pb.LocalityLbEndpoints(lb_endpoints=_hosts([Upstream(port.app_address, port.app_port)]))],
        ),
        circuit_breakers=_circuit_breakers(),
    )
    # With one host, Envoy's panic mode would keep sending to an application that failed its probe.
    cluster.common_lb_config.healthy_panic_threshold.value = 0
    if port.protocol is AppProtocol.HTTP2:
        _set_http(cluster, http2_options(keepalive=False))
    if probe is not None and port.protocol.is_http:
        cluster.health_checks.append(_health_check(probe, port))
        host = cluster.load_assignment.endpoints[0].lb_endpoints[0].endpoint
        host.health_check_config.port_value = probe.port
    return cluster


def http2_options(*, keepalive: bool) -> pb.Message:
    """HTTP/2 as sidecars speak it: large windows (measured for bulk), extended CONNECT for WebSocket, pings."""
    options = pb.Http2ProtocolOptions(allow_connect=True)
    options.initial_stream_window_size.value = _STREAM_WINDOW
    options.initial_connection_window_size.value = _CONNECTION_WINDOW
    if keepalive:
        options.connection_keepalive.interval.CopyFrom(milliseconds(_PING_INTERVAL_MS))
        options.connection_keepalive.timeout.CopyFrom(milliseconds(_PING_TIMEOUT_MS))
    return options


def _set_http(cluster: pb.Message, http2: pb.Message) -> None:
    options = pb.HttpProtocolOptions(
        explicit_http_config=pb.HttpProtocolOptions.ExplicitHttpConfig(http2_protocol_options=http2)
    )
    cluster.typed_extension_protocol_options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"].CopyFrom(
        pb.pack(options)
    )


def _tcp_keepalive(cluster: pb.Message) -> None:
    keepalive = cluster.upstream_connection_options.tcp_keepalive
    keepalive.keepalive_time.value = 10
    keepalive.keepalive_interval.value = 5
    keepalive.keepalive_probes.value = 3


def _circuit_breakers() -> pb.Message:
    """No limit on connections and requests. Retries and hedges: a fifth of what is in flight, and always 200.

    Envoy's default of three retries at a time is what drops calls when a host turns into a black hole.
    """
    thresholds = pb.CircuitBreakers.Thresholds()
    for limit in (thresholds.max_connections, thresholds.max_pending_requests, thresholds.max_requests):
        limit.value = _UNLIMITED
    thresholds.retry_budget.budget_percent.value = 20
    thresholds.retry_budget.min_retry_concurrency.value = 200
    return pb.CircuitBreakers(thresholds=[thresholds])


def _common_lb() -> pb.Message:
    config = pb.Cluster.CommonLbConfig()
    # Off as long as any endpoint of any cluster is healthy; with none left, trying all beats failing at once. (Envoy
    # panics only where the health of all priorities together is short, and rounds to whole percents.)
    config.healthy_panic_threshold.value = 1
    # The default of 1 s holds back the second ejection: a second of failures.
    config.update_merge_window.CopyFrom(milliseconds(0))
    return config


def _outlier_detection(consecutive: int) -> pb.Message:
    """Ejects after ``consecutive`` connection failures, resets or 502/503/504 answers.

    Local and upstream errors are counted together on purpose: a hedge's timeout then counts as the response code that
    the route gives to it (204, see routes), so that a slow but healthy server is never ejected.
    """
    detection = pb.OutlierDetection()
    detection.consecutive_gateway_failure.value = consecutive
    detection.enforcing_consecutive_gateway_failure.value = 100
    detection.enforcing_success_rate.value = 0
    detection.interval.CopyFrom(milliseconds(1000))
    detection.base_ejection_time.CopyFrom(milliseconds(5000))
    detection.max_ejection_time.CopyFrom(milliseconds(30000))
    detection.max_ejection_percent.value = 100
    return detection


def _health_check(probe: ProbeSpec, port: InboundPort) -> pb.Message:
    check = pb.HealthCheck(
        timeout=milliseconds(probe.timeout_ms),
        interval=milliseconds(probe.interval_ms),
        no_traffic_interval=milliseconds(probe.interval_ms),
        http_health_check=pb.HealthCheck.HttpHealthCheck(
            path=probe.path,
            host=port.service.host,
            expected_statuses=[pb.Int64Range(start=100, end=500)],
            codec_client_type=pb.CodecClientType.HTTP2
            if port.protocol is AppProtocol.HTTP2
            else pb.CodecClientType.HTTP1,
        ),
    )
    check.unhealthy_threshold.value = 2
    check.healthy_threshold.value = 1
    return check


def _locality(locality: UpstreamLocality) -> pb.Message:
    hosts = _hosts(locality.upstreams)
    for host in hosts:
        host.metadata.CopyFrom(call_metadata(locality))
    return pb.LocalityLbEndpoints(
        # The sub-zone tells clusters of one region apart in Envoy's own views.
        locality=pb.Locality(region=locality.region, zone=locality.zone, sub_zone=locality.cluster),
        priority=locality.priority,
        lb_endpoints=hosts,
    )


def _hosts(upstreams: Sequence[Upstream]) -> list[pb.Message]:
    hosts = []
    for upstream in upstreams:
        host = pb.LbEndpoint(
            endpoint=pb.Endpoint(address=socket_address(upstream.address, upstream.port)),
        )
        if upstream.weight != 1:
            host.load_balancing_weight.value = upstream.weight
        hosts.append(host)
    return hosts
