"""Envoy's bootstrap document: where the control plane is, how to prove who one is, what to count.

A plain JSON document, built without Envoy's messages so that the process that starts Envoy stays small. It holds no
secret: Envoy itself reads the node's token, and again when the file is replaced, as the kubelet does within the hour.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from gateway.nodes import Listen, Node, SidecarNode, node_metadata
from gateway.telemetry import BUCKETS_MILLISECONDS, STATS_PREFIX
from gateway.xds.metrics_listener import metrics_cluster, metrics_listener
from gateway.xds.overload import Limits, overload_manager

_TYPE = "type.googleapis.com/envoy.extensions."

# A Service keeps its address, so that a look each minute is enough. Envoy's 5 s would be a dozen questions every time,
# for the search list and two families, from every pod of the cluster.
_DNS = {
    "name": "envoy.clusters.dns",
    "typed_config": {
        "@type": f"{_TYPE}clusters.dns.v3.DnsCluster",
        "dns_refresh_rate": "60s",
        "dns_jitter": "10s",
        "dns_failure_refresh_rate": {"base_interval": "1s", "max_interval": "5s"},
        "dns_lookup_family": "ALL",
    },
}

# Every counter that somebody reads, and no other: per-cluster statistics of 10,000 services cost 280 MB and three
# quarters of the start-up time.
_STATS = (
    {"prefix": f"{STATS_PREFIX}."},
    {"prefix": "listener."},
    {"prefix": "listener_manager."},
    {"prefix": "cluster_manager."},
    {"prefix": "overload."},
    {"prefix": "server."},
    {"prefix": "control_plane."},
    {"prefix": "tcp.gateway."},
    {"prefix": "tcp.inbound_tcp."},
    {"prefix": "http.inbound."},
    {"prefix": "inbound.rbac."},
    {"prefix": "http.outbound."},
    {"safe_regex": {"regex": r"cluster\.(xds|app\|).*"}},
    {"safe_regex": {"regex": r"cluster\..*\.ssl\.(fail_.*|connection_error|handshake)"}},
    {"safe_regex": {"regex": r"cluster\..*\.outlier_detection\.ejections_(active|enforced_total)"}},
    {
        "safe_regex": {
            "regex": r"cluster\..*\.upstream_(rq_(total|retry|retry_overflow)|cx_(total|connect_fail|active))"
        }
    },
)

# Envoy closes a connection of whose streams half, and at least 250, were reset in their first two seconds: its guard
# against floods of resets (CVE-2023-44487). Hedges that lose are such resets, so that slow answers alone would have
# sidecars cut one another's calls. The peers of a sidecar are its application and workloads with an accepted identity.
_SIDECAR_RUNTIME = {"overload.premature_reset_total_stream_count": 4_000_000_000}


# Whoever is on this host reaches the admin port. It answers questions and changes nothing. Only what came from the
# control plane can be dumped, without its keys.
_ADMIN_PATHS = (
    r"/(ready|server_info|stats(/prometheus)?|clusters|listeners|certs|memory)(\?.*)?"
    r"|/config_dump\?resource=dynamic_[a-z_]+(&.*)?"
)


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Where the xDS server listens: a Unix socket path, or a TLS address (IP or host name) and how it is verified; and
    what one proves oneself by."""

    socket: str = ""
    address: Listen | None = None
    trust_source: str = ""
    """File with what ``build_trust_source`` returns."""
    token_source: str = ""
    """File with what ``build_token_source`` returns."""


def build_bootstrap(
    node: Node,
    *,
    node_id: str,
    cluster: str,
    region: str,
    zone: str,
    admin: Listen,
    xds: ControlPlane,
    health: Listen | None = None,
    drain_file: str = "",
    limits: Limits | None = None,
    metrics: Listen | None = None,
) -> dict[str, object]:
    """The bootstrap of one Envoy.

    ``health``: where any GET is answered with 200 as soon as the control plane has said what to listen on, for the
    kubelet; then Envoy waits for that without limit. Without it, Envoy begins with nothing after 15 s. ``drain_file``:
    by a 1 in the place of its 0, all HTTP connections of a sidecar end with the calls that are under way. ``limits``:
    what a gateway holds at most. ``metrics``: where ``/metrics`` is served.
    """
    dynamic: dict[str, object] = {
        "ads_config": {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [
                {
                    "envoy_grpc": {
                        "cluster_name": "xds",
                        # Envoy's default waits up to 30 s before it comes back to a restarted control plane.
                        "retry_policy": {"retry_back_off": {"base_interval": "0.1s", "max_interval": "2s"}},
                    },
                }
            ],
        },
        "lds_config": _by_ads(health),
    }
    # A gateway has no CDS on this stream: it takes its clusters on demand, on a stream of their own.
    if isinstance(node, SidecarNode):
        dynamic["cds_config"] = _by_ads(health)
    document: dict[str, object] = {
        "node": {
            "id": node_id,
            "cluster": cluster,
            "locality": {"region": region, "zone": zone},
            "metadata": node_metadata(node),
        },
        "admin": {
            "address": {"socket_address": {"address": admin.host, "port_value": admin.port}},
            "allow_paths": [{"safe_regex": {"regex": _ADMIN_PATHS}}],
            # Whoever looks why a proxy is full must get in.
            "ignore_global_conn_limit": True,
        },
        "dynamic_resources": dynamic,
        "static_resources": {
            "clusters": [_xds_cluster(xds), *([] if metrics is None else [metrics_cluster(admin)])],
            "listeners": [
                *([] if health is None else [_health_listener(health)]),
                *([] if metrics is None else [metrics_listener(metrics)]),
            ],
        },
        "stats_config": {
            "stats_matcher": {"inclusion_list": {"patterns": list(_STATS)}},
            "histogram_bucket_settings": [
                {"match": {"prefix": f"{STATS_PREFIX}."}, "buckets": list(BUCKETS_MILLISECONDS)}
            ],
        },
    }
    if drain_file:
        document["overload_manager"] = _drained_by(drain_file)
    if limits is not None:
        document["overload_manager"] = overload_manager(limits)
    if isinstance(node, SidecarNode):
        document["layered_runtime"] = {"layers": [{"name": "static", "static_layer": _SIDECAR_RUNTIME}]}
    return document


def build_trust_source(trust_bundle: str, server_identity: str) -> dict[str, object]:
    """How an xDS server proves itself over TLS: by a certificate of ``trust_bundle`` (PEM file) for this SPIFFE ID.

    A document of its own, since Envoy watches a bundle that SDS names and never looks again at one that the bootstrap
    names: a rotated CA would cost it its control plane (CertificateValidationContext.watched_directory).
    """
    return {
        "resources": [
            {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
                "name": "xds",
                "validation_context": {
                    "trusted_ca": {"filename": trust_bundle},
                    "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": server_identity}}],
                },
            }
        ]
    }


def build_token_source(token_file: str) -> dict[str, object]:
    """The node's token: the text of a file, without white space at its ends.

    SDS, since Envoy watches the files that it names: a token that is put in the place of the file, or behind a symbolic
    link that is swapped (as in the kubelet's volumes), is sent with the next stream. One that is written into the file
    may be missed.
    """
    return {
        "resources": [
            {
                "@type": f"{_TYPE}transport_sockets.tls.v3.Secret",
                "name": "token",
                "generic_secret": {"secret": {"filename": token_file}},
            }
        ]
    }


def _drained_by(file: str) -> dict[str, object]:
    """Envoy's own ways to have connections end are open to whoever reaches its admin port, or close the listener and
    cut what is left after a time. An overload that we claim does neither: answers carry GOAWAY, or Connection: close.
    """
    monitor = "envoy.resource_monitors.injected_resource"
    return {
        "refresh_interval": "0.2s",
        "resource_monitors": [
            {
                "name": monitor,
                "typed_config": {
                    "@type": f"{_TYPE}resource_monitors.injected_resource.v3.InjectedResourceConfig",
                    "filename": file,
                },
            }
        ],
        "actions": [
            {
                "name": "envoy.overload_actions.disable_http_keepalive",
                "triggers": [{"name": monitor, "threshold": {"value": 1.0}}],
            }
        ],
    }


def _by_ads(health: Listen | None) -> dict[str, object]:
    source: dict[str, object] = {"ads": {}, "resource_api_version": "V3"}
    if health is not None:
        # A pod whose connections are redirected to a proxy that listens nowhere reaches nobody: it must not begin yet.
        source["initial_fetch_timeout"] = "0s"
    return source


def _health_listener(health: Listen) -> dict[str, object]:
    """Envoy accepts on no listener before it is initialised, so that any answer at all says that it is."""
    return {
        "name": "health",
        # A proxy that refuses connections for a while is not to be restarted, which would cut those that it has.
        "ignore_global_conn_limit": True,
        "bypass_overload_manager": True,
        "address": {"socket_address": {"address": health.host, "port_value": health.port}},
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": {
                            "@type": f"{_TYPE}filters.network.http_connection_manager.v3.HttpConnectionManager",
                            "stat_prefix": "health",
                            "route_config": {
                                "virtual_hosts": [
                                    {
                                        "name": "health",
                                        "domains": ["*"],
                                        "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
                                    }
                                ]
                            },
                            "http_filters": [
                                {
                                    "name": "envoy.filters.http.router",
                                    "typed_config": {"@type": f"{_TYPE}filters.http.router.v3.Router"},
                                }
                            ],
                        },
                    }
                ]
            }
        ],
    }


def _xds_cluster(xds: ControlPlane) -> dict[str, object]:
    cluster: dict[str, object] = {
        "name": "xds",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": _protocol_options(xds.token_source)
        },
    }
    if xds.address is None:
        endpoint: dict[str, object] = {"pipe": {"path": xds.socket}}
    else:
        endpoint = {"socket_address": {"address": xds.address.host, "port_value": xds.address.port}}
        cluster["transport_socket"] = _tls_socket(xds.trust_source)
        if not _is_address(xds.address.host):
            del cluster["type"]
            cluster["cluster_type"] = _DNS
    cluster["load_assignment"] = {
        "cluster_name": "xds",
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": endpoint}}]}],
    }
    return cluster


def _protocol_options(token_source: str) -> dict[str, object]:
    """HTTP/2, and the token on every stream: what the bootstrap says of a stream's metadata is read only once."""
    return {
        "@type": f"{_TYPE}upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {
            "http2_protocol_options": {"connection_keepalive": {"interval": "10s", "timeout": "5s"}}
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.credential_injector",
                "typed_config": {
                    "@type": f"{_TYPE}filters.http.credential_injector.v3.CredentialInjector",
                    "credential": {
                        "name": "envoy.http.injected_credentials.generic",
                        "typed_config": {
                            "@type": f"{_TYPE}http.injected_credentials.generic.v3.Generic",
                            "header": "authorization",
                            "header_value_prefix": "Bearer ",
                            "credential": {"name": "token", "sds_config": _file_source(token_source)},
                        },
                    },
                },
            },
            {
                "name": "envoy.filters.http.upstream_codec",
                "typed_config": {"@type": f"{_TYPE}filters.http.upstream_codec.v3.UpstreamCodec"},
            },
        ],
    }


def _tls_socket(trust_source: str) -> dict[str, object]:
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPE}transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": {
                "tls_params": {
                    "tls_minimum_protocol_version": "TLSv1_3",
                    "tls_maximum_protocol_version": "TLSv1_3",
                },
                "alpn_protocols": ["h2"],
                "validation_context_sds_secret_config": {"name": "xds", "sds_config": _file_source(trust_source)},
            },
        },
    }


def _file_source(path: str) -> dict[str, object]:
    return {"path_config_source": {"path": path}, "resource_api_version": "V3"}


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
