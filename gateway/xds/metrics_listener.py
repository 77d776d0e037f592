"""Where Prometheus asks a proxy: one path, read-only, on a listener apart from the admin port, which stays closed.

The listener asks Envoy's own admin port for the metrics that docs/metrics.md names, and no others. A plain JSON
document, as the bootstrap that it is a part of.
"""

from __future__ import annotations

from gateway.nodes import Listen
from gateway.telemetry import STATS_PREFIX

PATH = "/metrics"

# Beside our own what tells why connections fail, whether Envoy lives and hears its controller.
ENVOY_STATS = (
    r"listener\..*\.(ssl\.|downstream_cx_(total|active)$)",
    r"cluster\..*\.(ssl\.(fail_|connection_error)|upstream_cx_connect_fail$|outlier_detection\.)",
    r"inbound\.rbac\.",
    r"control_plane\.(connected_state|rate_limit_enforced)$",
    r"server\.(live|uptime|memory_allocated|days_until_first_cert_expiring|stats_overflow\.[a-z]*)$",
)

_QUERY = f"usedonly&filter=^({STATS_PREFIX}\\.|{'|'.join(ENVOY_STATS)})"

# Envoy puts its own name before every metric. It is taken off ours, so that one name means one thing wherever it is
# counted. A scrape is one answer; nothing of the data path passes here.
_RENAME = f"""
function envoy_on_response(handle)
  local body = handle:body()
  if body == nil or body:length() == 0 then return end
  body:setBytes((body:getBytes(0, body:length()):gsub("envoy_{STATS_PREFIX}_", "{STATS_PREFIX}_")))
end
"""

# Of one answer, which is held as a whole: 10,000 histograms and 20,000 counters are some 45 MB.
_MOST_BYTES = 64 << 20

_TYPE = "type.googleapis.com/envoy.extensions."


def metrics_listener(address: Listen) -> dict[str, object]:
    """Answers ``GET /metrics``, and everything else with 404."""
    headers = [
        {"name": ":method", "string_match": {"exact": "GET"}},
        {"name": ":path", "string_match": {"exact": PATH}},
    ]
    route = {
        # With no query: what follows would be added to ours.
        "match": {"path": PATH, "headers": headers},
        "route": {"cluster": "metrics", "prefix_rewrite": f"/stats/prometheus?{_QUERY}", "timeout": "30s"},
    }
    manager = {
        "@type": f"{_TYPE}filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "metrics",
        "generate_request_id": False,
        "route_config": {"virtual_hosts": [{"name": "metrics", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.lua",
                "typed_config": {
                    "@type": f"{_TYPE}filters.http.lua.v3.Lua",
                    "default_source_code": {"inline_string": _RENAME},
                },
            },
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPE}filters.http.router.v3.Router", "suppress_envoy_headers": True},
            },
        ],
    }
    return {
        "name": "metrics",
        "address": {"socket_address": {"address": address.host, "port_value": address.port}},
        "per_connection_buffer_limit_bytes": _MOST_BYTES,
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }


def metrics_cluster(admin: Listen) -> dict[str, object]:
    """Envoy's own admin port."""
    address = {"socket_address": {"address": admin.host, "port_value": admin.port}}
    return {
        "name": "metrics",
        "type": "STATIC",
        "connect_timeout": "1s",
        "per_connection_buffer_limit_bytes": _MOST_BYTES,
        "circuit_breakers": {"thresholds": [{"max_connections": 4, "max_requests": 4, "max_pending_requests": 4}]},
        "load_assignment": {
            "cluster_name": "metrics",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
