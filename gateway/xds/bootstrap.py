"""Envoy's bootstrap document: where the control plane is, how to prove who one is, what to count.

A plain JSON document, built without Envoy's messages so that the process that starts Envoy stays small. It holds the
node's token: it must be written to a file that only its owner reads.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.nodes import Listen, Node, SidecarNode, node_metadata

_HTTP2_OPTIONS = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {
            "http2_protocol_options": {"connection_keepalive": {"interval": "10s", "timeout": "5s"}}
        },
    }
}

# Every counter that somebody reads, and no other: per-cluster statistics of 10,000 services cost 280 MB and three
# quarters of the start-up time.
_STATS = (
    {"prefix": "listener."},
    {"prefix": "listener_manager."},
    {"prefix": "cluster_manager."},
    {"prefix": "server."},
    {"prefix": "control_plane."},
    {"prefix": "tcp.gateway."},
    {"prefix": "http.inbound."},
    {"prefix": "inbound.rbac."},
    {"prefix": "http.outbound."},
    {"safe_regex": {"regex": r"cluster\.(xds|app\|).*"}},
    {
        "safe_regex": {
            "regex": r"cluster\..*\.(ssl\.(fail_.*|handshake)|outlier_detection\.ejections_(active|enforced_total))"
        }
    },
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


# Whoever is on this host reaches the admin port. It answers questions, changes nothing, and never shows the bootstrap,
# which holds the node's token: only what came from the control plane can be dumped, without its keys.
_ADMIN_PATHS = (
    r"/(ready|server_info|stats(/prometheus)?|clusters|listeners|certs|memory)(\?.*)?"
    r"|/config_dump\?resource=dynamic_[a-z_]+(&.*)?"
)


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Where the xDS server listens: a Unix socket path, or a TLS address and how it is verified there."""

    socket: str = ""
    address: Listen | None = None
    trust_source: str = ""
    """File with what ``build_trust_source`` returns."""


def build_bootstrap(
    node: Node, *, node_id: str, cluster: str, region: str, zone: str, token: str, admin: Listen, xds: ControlPlane
) -> dict[str, object]:
    """The bootstrap of one Envoy. The result holds ``token``."""
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
                    "initial_metadata": [{"key": "authorization", "value": f"Bearer {token}"}],
                }
            ],
        },
        "lds_config": {"ads": {}, "resource_api_version": "V3"},
    }
    # A gateway has no CDS on this stream: it takes its clusters on demand, on a stream of their own.
    if isinstance(node, SidecarNode):
        dynamic["cds_config"] = {"ads": {}, "resource_api_version": "V3"}
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
        },
        "dynamic_resources": dynamic,
        "static_resources": {"clusters": [_xds_cluster(xds)]},
        "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": list(_STATS)}}},
    }
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


def _xds_cluster(xds: ControlPlane) -> dict[str, object]:
    cluster: dict[str, object] = {
        "name": "xds",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": _HTTP2_OPTIONS,
    }
    if xds.address is None:
        endpoint: dict[str, object] = {"pipe": {"path": xds.socket}}
    else:
        endpoint = {"socket_address": {"address": xds.address.host, "port_value": xds.address.port}}
        cluster["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "common_tls_context": {
                    "tls_params": {
                        "tls_minimum_protocol_version": "TLSv1_3",
                        "tls_maximum_protocol_version": "TLSv1_3",
                    },
                    "alpn_protocols": ["h2"],
                    "validation_context_sds_secret_config": {
                        "name": "xds",
                        "sds_config": {
                            "path_config_source": {"path": xds.trust_source},
                            "resource_api_version": "V3",
                        },
                    },
                },
            },
        }
    cluster["load_assignment"] = {
        "cluster_name": "xds",
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": endpoint}}]}],
    }
    return cluster
