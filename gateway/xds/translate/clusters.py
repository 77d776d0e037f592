"""Envoy clusters and their endpoints: imported ports (sidecar), exported ports (gateway), the application (sidecar).

Failover needs no configuration: the settings here are those that lost no call when endpoints were killed, frozen or
black-holed under load (docs/decisions/003). Envoy's own defaults lost two thirds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from gateway.ir.model import AppProtocol, ExportedPort, ImportedPort, InboundPort, Upstream, UpstreamLocality
from gateway.nodes import ProbeSpec
from gateway.xds import protos as pb
from gateway.xds.translate.access_log import call_metadata, service_metadata
from gateway.xds.translate.messages import milliseconds, socket_address
from gateway.xds.translate.tls import ads, upstream_tls
from gateway.xds.translate.traffic import (
    circuit_breakers,
    failure_matcher,
    outlier_detection,
    overprovisioning_factor,
    set_balancing,
)

# Covers TCP and the TLS handshake with the far sidecar, so it must hold two round trips around the world; a frozen host
# costs a new connection this long.
_CONNECT_TIMEOUT_MS = 1000

PASSED_BUFFER_BYTES = 256 << 10
"""In either direction of a connection that a gateway passes on: what a slow reader may leave there. Envoy's default of
1 MiB would let 500 of them fill half a gigabyte."""

# From a gateway to a sidecar of its own cluster, TCP alone. It must be less than what the caller waits for, or the
# caller gives up before the gateway has tried another endpoint: a host that vanished would cost calls a second.
_NEAR_CONNECT_TIMEOUT_MS = 250

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
        connect_timeout=milliseconds(port.policy.timeouts.connect_ms),
        transport_socket=upstream_tls(port.name, port.identities, http=port.protocol.is_http),
        circuit_breakers=circuit_breakers(port.policy),
        common_lb_config=_common_lb(),
        outlier_detection=outlier_detection(3 if port.protocol.is_http else 1, port.policy.outlier_detection),
        metadata=service_metadata(port),
    )
    set_balancing(cluster, port)
    if port.protocol.is_http:
        set_http(cluster, http2_options(keepalive=True), failure_matcher() if port.sheds else None)
    else:
        _tcp_keepalive(cluster)
    return cluster


def import_assignment(port: ImportedPort) -> pb.Message:
    """The endpoints of one imported port: own cluster, then same region, then the rest, as contiguous priorities, or in
    the order of a policy."""
    assignment = pb.ClusterLoadAssignment(
        cluster_name=port.name, endpoints=[_locality(locality) for locality in port.localities]
    )
    threshold = port.policy.failover.threshold_percent
    if threshold is not None:
        assignment.policy.overprovisioning_factor.value = overprovisioning_factor(threshold)
    return assignment


def export_cluster(port: ExportedPort) -> pb.Message:
    """The gateway's cluster behind one SNI. It holds nothing but names, so it never changes: on-demand discovery
    asks for it once, and endpoints come by EDS.
    """
    cluster = pb.Cluster(
        name=port.name,
        type=pb.Cluster.EDS,
        eds_cluster_config=pb.Cluster.EdsClusterConfig(eds_config=ads()),
        connect_timeout=milliseconds(_NEAR_CONNECT_TIMEOUT_MS),
        lb_policy=pb.Cluster.LEAST_REQUEST,
        circuit_breakers=circuit_breakers(),
        common_lb_config=_common_lb(),
        outlier_detection=outlier_detection(1),
        metadata=service_metadata(port),
    )
    _tcp_keepalive(cluster)
    cluster.per_connection_buffer_limit_bytes.value = PASSED_BUFFER_BYTES
    return cluster


def export_assignment(port: ExportedPort) -> pb.Message:
    """The sidecars behind one SNI of the own cluster."""
    endpoints = [pb.LocalityLbEndpoints(lb_endpoints=_hosts(port.upstreams))] if port.upstreams else []
    return pb.ClusterLoadAssignment(cluster_name=port.name, endpoints=endpoints)


def app_cluster_name(port: InboundPort) -> str:
    return f"app|{port.app_address}|{port.app_port}|{port.protocol}"


def app_cluster(port: InboundPort, probe: ProbeSpec | None, others_limit: int = 0) -> pb.Message:
    """The sidecar's cluster for its own application, in the clear on the workload's own address. ``others_limit`` is of
    calls of other clusters at a time, whichever of its services they are for; 0: none."""
    name = app_cluster_name(port)
    cluster = pb.Cluster(
        name=name,
        type=pb.Cluster.STATIC,
        connect_timeout=milliseconds(_CONNECT_TIMEOUT_MS),
        load_assignment=pb.ClusterLoadAssignment(
            cluster_name=name,
            endpoints=[pb.LocalityLbEndpoints(lb_endpoints=_hosts([Upstream(port.app_address, port.app_port)]))],
        ),
        circuit_breakers=circuit_breakers(others_limit=others_limit),
    )
    # With one host, Envoy's panic mode would keep sending to an application that failed its probe.
    cluster.common_lb_config.healthy_panic_threshold.value = 0
    if port.protocol is AppProtocol.HTTP2:
        set_http(cluster, http2_options(keepalive=False))
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


def set_http(cluster: pb.Message, http2: pb.Message, failures: pb.Message | None = None) -> None:
    options = pb.HttpProtocolOptions(
        explicit_http_config=pb.HttpProtocolOptions.ExplicitHttpConfig(http2_protocol_options=http2),
        outlier_detection=failures,
    )
    cluster.typed_extension_protocol_options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"].CopyFrom(
        pb.pack(options)
    )


def _tcp_keepalive(cluster: pb.Message) -> None:
    keepalive = cluster.upstream_connection_options.tcp_keepalive
    keepalive.keepalive_time.value = 10
    keepalive.keepalive_interval.value = 5
    keepalive.keepalive_probes.value = 3


def _common_lb() -> pb.Message:
    config = pb.Cluster.CommonLbConfig()
    # Off as long as any endpoint of any cluster is healthy; with none left, trying all beats failing at once. (Envoy
    # panics only where the health of all priorities together is short, and rounds to whole percents.)
    config.healthy_panic_threshold.value = 1
    # The default of 1 s holds back the second ejection: a second of failures.
    config.update_merge_window.CopyFrom(milliseconds(0))
    return config


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
    hosts, metadata = _hosts(locality.upstreams), call_metadata(locality)
    for host in hosts:
        host.metadata.CopyFrom(metadata)
    found = pb.LocalityLbEndpoints(
        # The sub-zone tells clusters of one region apart in Envoy's own views.
        locality=pb.Locality(region=locality.region, zone=locality.zone, sub_zone=locality.cluster),
        priority=locality.priority,
        lb_endpoints=hosts,
    )
    if locality.share:
        found.load_balancing_weight.value = locality.share
    return found


def _hosts(upstreams: Sequence[Upstream]) -> list[pb.Message]:
    hosts = []
    for upstream in upstreams:
        host = pb.LbEndpoint(endpoint=_endpoint(upstream))
        if upstream.weight != 1:
            host.load_balancing_weight.value = upstream.weight
        if not upstream.healthy:
            host.health_status = pb.HealthStatus.UNHEALTHY
        hosts.append(host)
    return hosts


def _endpoint(upstream: Upstream) -> pb.Message:
    """A host with one address, or with several that are tried one after the other (RFC 8305, "happy eyeballs").

    Envoy tells the hosts of a cluster apart by their first address alone, and shards have the same ones. So the first
    address of a shard is a mark and leads nowhere: the kernel refuses to connect TCP to a multicast address, at once
    and without a packet, and Envoy goes on to the next. After that it waits 300 ms for a connection, TLS handshake
    included, before it tries another way as well: a gateway that is dead or frozen costs no call.
    """
    where = socket_address(upstream.address, upstream.port)
    if not (upstream.server_name or upstream.others):
        return pb.Endpoint(address=where)
    others = [where, *(socket_address(way.address, way.port) for way in upstream.others)]
    return pb.Endpoint(
        hostname=upstream.server_name,
        address=_mark(upstream.server_name, *others),
        additional_addresses=[pb.Endpoint.AdditionalAddress(address=other) for other in others],
    )


def _mark(name: str, *ways: pb.Message) -> pb.Message:
    """A multicast address and port that differ where name or ways do (44 bits of a hash of them): of a host that it
    has, by its first address, Envoy takes over no other ones."""
    identity = b"".join((name.encode(), *(way.SerializeToString(deterministic=True) for way in ways)))
    digest = hashlib.blake2b(identity, digest_size=6).digest()
    address = f"{224 + digest[0] % 16}.{digest[1]}.{digest[2]}.{digest[3]}"
    return socket_address(address, int.from_bytes(digest[4:]) or 1)
