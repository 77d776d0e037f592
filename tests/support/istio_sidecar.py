"""An Envoy set up as istiod sets up a sidecar, from objects of Istio: what istiod makes of their fields, for tests.

Names, TLS, ALPN, priorities and policies are as Istio's pilot makes them (networking/core: cluster_tls,
listener_inbound, filterchain_options, loadbalancer; security/authz). Left out is what needs Istio's own Envoy filters:
metadata exchange, and the filter that offers another ALPN for each protocol, whose outcome is given here. Nothing is
redirected: listeners are bound where the application would be reached.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]

HTTP11_ALPN = ("istio-http/1.1", "istio", "http/1.1")
HTTP2_ALPN = ("istio-h2", "istio", "h2")
TCP_ALPN = ("istio-peer-exchange", "istio")
"""What clients offer: HTTP by the version that the caller speaks."""
MESH_ALPN = ("istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2")
"""By which a server that takes plaintext as well knows callers of its mesh."""

_TYPE = "type.googleapis.com/envoy.extensions"
_CIPHERS = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
)


@dataclass(frozen=True)
class Secrets:
    """The files that stand in for the agent's SDS: the own certificate, and all roots in one pool."""

    directory: Path

    def write(self, chain_pem: str, key_pem: str, roots_pem: str) -> None:
        self.directory.mkdir(exist_ok=True)
        own = {"certificate_chain": {"inline_string": chain_pem}, "private_key": {"inline_string": key_pem}}
        self._write("default", {"tls_certificate": own})
        self._write("ROOTCA", {"validation_context": {"trusted_ca": {"inline_string": roots_pem}}})

    def _write(self, name: str, content: Json) -> None:
        secret = {"@type": f"{_TYPE}.transport_sockets.tls.v3.Secret", "name": name, **content}
        aside = self.directory / f"{name}.new"
        aside.touch(mode=0o600)
        aside.write_text(json.dumps({"resources": [secret]}))
        aside.replace(self.directory / f"{name}.json")

    def source(self, name: str) -> Json:
        path = {"path": str(self.directory / f"{name}.json")}
        return {"name": name, "sds_config": {"path_config_source": path, "resource_api_version": "V3"}}


def priorities(labels: Sequence[Mapping[str, str]], failover_priority: Sequence[str]) -> list[int]:
    """What Istio makes of endpoints with these labels: by the first condition that fails, then without gaps.

    For conditions of the form ``label=value``, which compare endpoints alone.
    """
    conditions = [condition.split("=") for condition in failover_priority]
    found = []
    for own in labels:
        failed = next((at for at, (key, value) in enumerate(conditions) if own.get(key) != value), len(conditions))
        found.append(len(conditions) - failed)
    used = sorted(set(found))
    return [used.index(priority) for priority in found]


def outbound_cluster(
    entry: Mapping[str, Any],
    rule: Mapping[str, Any],
    number: int,
    alpn: Sequence[str],
    secrets: Secrets,
    name: str = "",
) -> Json:
    """The cluster of one port of a ServiceEntry under its DestinationRule; ``name`` where it is not Istio's own."""
    host = entry["spec"]["hosts"][0]
    (port,) = [one for one in entry["spec"]["ports"] if one["number"] == number]
    whole = rule["spec"]["trafficPolicy"]
    own = [one for one in whole.get("portLevelSettings", ()) if one["port"]["number"] == number]
    policy = own[0] if own else whole
    ejection = policy["outlierDetection"]
    tls = policy["tls"]
    assert rule["spec"]["host"] == host
    assert tls["mode"] == "ISTIO_MUTUAL"
    cluster = {
        "name": name or f"outbound|{number}||{host}",
        "type": "STATIC",
        "connect_timeout": policy["connectionPool"]["tcp"]["connectTimeout"],
        "lb_policy": policy["loadBalancer"]["simple"],
        "common_lb_config": {
            "healthy_panic_threshold": {"value": ejection["minHealthPercent"]},
            "locality_weighted_lb_config": {},
        },
        "outlier_detection": {
            "enforcing_consecutive_5xx": 100 if ejection["consecutive5xxErrors"] else 0,
            "consecutive_gateway_failure": ejection["consecutiveGatewayErrors"],
            "enforcing_consecutive_gateway_failure": 100,
            "enforcing_success_rate": 0,
            "interval": ejection["interval"],
            "base_ejection_time": ejection["baseEjectionTime"],
            "max_ejection_percent": ejection["maxEjectionPercent"],
        },
        "load_assignment": {
            "cluster_name": name or f"outbound|{number}||{host}",
            "endpoints": _localities(entry["spec"]["endpoints"], port["name"], policy["loadBalancer"]),
        },
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{_TYPE}.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": tls.get("sni", f"outbound_.{number}_._.{host}"),
                "common_tls_context": {
                    "alpn_protocols": list(alpn),
                    "tls_params": {
                        "tls_minimum_protocol_version": "TLSv1_2",
                        "tls_maximum_protocol_version": "TLSv1_3",
                    },
                    **_validation(secrets, [{"exact": identity} for identity in tls["subjectAltNames"]]),
                },
            },
        },
    }
    if "h2" in alpn:
        options = f"{_TYPE}.upstreams.http.v3.HttpProtocolOptions"
        cluster["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": options,
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    return cluster


def _localities(endpoints: Sequence[Mapping[str, Any]], port: str, balancing: Mapping[str, Any]) -> list[Json]:
    ranks = priorities([one["labels"] for one in endpoints], balancing["localityLbSetting"]["failoverPriority"])
    found: dict[tuple[int, str], list[Json]] = {}
    for rank, one in zip(ranks, endpoints, strict=True):
        # Mutual TLS goes to no endpoint that isn't said to take it.
        assert one["labels"]["security.istio.io/tlsMode"] == "istio"
        address = {"socket_address": {"address": one["address"], "port_value": one["ports"][port]}}
        host = {"endpoint": {"address": address}, "load_balancing_weight": one["weight"]}
        found.setdefault((rank, one.get("locality", "")), []).append(host)
    return [
        {
            "priority": rank,
            "locality": dict(zip(("region", "zone", "sub_zone"), place.split("/"), strict=False)),
            "lb_endpoints": hosts,
            "load_balancing_weight": sum(host["load_balancing_weight"] for host in hosts),
        }
        for (rank, place), hosts in sorted(found.items())
    ]


def outbound_listener(address: str, port: int, cluster: str, *, http: bool) -> Json:
    """Leads whatever comes to one cluster."""
    filters = [_http_manager("outbound", cluster, [])] if http else [_tcp_proxy(cluster)]
    return {"name": f"{address}_{port}", "address": _address(address, port), "filter_chains": [{"filters": filters}]}


def inbound_listener(
    address: str,
    port: int,
    app: str,
    *,
    http: bool,
    strict: bool,
    domains: Iterable[str],
    policies: Sequence[Mapping[str, Any]],
    secrets: Secrets,
) -> Json:
    """What a workload's port is guarded by; ``app`` is the application's cluster, ``domains`` are those of callers."""
    tcp = [_network_rbac(policies), _tcp_proxy(app)]
    main = [_http_manager("inbound", app, [_http_rbac(policies)])] if http else tcp
    socket = _downstream_tls(http=http, domains=domains, secrets=secrets)
    mesh = {"destination_port": port, "transport_protocol": "tls"}
    if strict:
        chains = [{"filter_chain_match": mesh, "filters": main, "transport_socket": socket}]
    else:
        by_alpn = {**mesh, "application_protocols": list(MESH_ALPN)}
        plain = {"destination_port": port, "transport_protocol": "raw_buffer"}
        chains = [
            {"filter_chain_match": by_alpn, "filters": main, "transport_socket": socket},
            {"filter_chain_match": plain, "filters": main},
        ]
        if not http:
            # TLS of the application's own passes through.
            chains.append({"filter_chain_match": mesh, "filters": tcp})
    inspector = f"{_TYPE}.filters.listener.tls_inspector.v3.TlsInspector"
    return {
        "name": f"{address}_{port}",
        "address": _address(address, port),
        "listener_filters": [
            {"name": "envoy.filters.listener.tls_inspector", "typed_config": {"@type": inspector}},
        ],
        "filter_chains": chains,
    }


def app_cluster(name: str, address: str, port: int) -> Json:
    endpoint = {"endpoint": {"address": _address(address, port)}}
    assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": assignment}


def bootstrap(admin: tuple[str, int], clusters: Sequence[Json], listeners: Sequence[Json]) -> Json:
    return {
        "node": {"id": "sidecar", "cluster": "istio"},
        "admin": {"address": _address(*admin)},
        "static_resources": {"clusters": list(clusters), "listeners": list(listeners)},
    }


def rbac_rules(policies: Sequence[Mapping[str, Any]]) -> Json:
    """Of AuthorizationPolicies that deny, by the fields: principals, notPorts, and connection.sni not being."""
    found = {}
    for policy in policies:
        metadata, spec = policy["metadata"], policy["spec"]
        assert spec["action"] == "DENY"
        for number, rule in enumerate(spec["rules"]):
            assert set(rule) <= {"from", "to", "when"}
            name = f"ns[{metadata['namespace']}]-policy[{metadata['name']}]-rule[{number}]"
            conditions = [_not_ports(one["operation"]) for one in rule.get("to", ())]
            conditions += [_not_sni(one) for one in rule.get("when", ())]
            found[name] = {
                "permissions": [{"and_rules": {"rules": conditions or [{"any": True}]}}],
                "principals": [{"and_ids": {"ids": [_principals(one["source"]) for one in rule["from"]]}}],
            }
    return {"action": "DENY", "policies": found}


def _not_ports(operation: Mapping[str, Any]) -> Json:
    assert set(operation) == {"notPorts"}
    ports = [{"destination_port": int(port)} for port in operation["notPorts"]]
    return {"not_rule": {"or_rules": {"rules": ports}}}


def _not_sni(condition: Mapping[str, Any]) -> Json:
    assert set(condition) == {"key", "notValues"}
    assert condition["key"] == "connection.sni"
    names = [{"requested_server_name": _string(value)} for value in condition["notValues"]]
    return {"not_rule": {"or_rules": {"rules": names}}}


def _principals(source: Mapping[str, Any]) -> Json:
    assert set(source) == {"principals"}
    found = [{"authenticated": {"principal_name": _string(value, "spiffe://")}} for value in source["principals"]]
    return {"or_ids": {"ids": found}}


def _string(value: str, prefix: str = "") -> Json:
    if value.startswith("*"):
        return {"suffix": value[1:]}
    return {"prefix": prefix + value[:-1]} if value.endswith("*") else {"exact": prefix + value}


def _http_rbac(policies: Sequence[Mapping[str, Any]]) -> Json:
    kind = f"{_TYPE}.filters.http.rbac.v3.RBAC"
    return {"name": "envoy.filters.http.rbac", "typed_config": {"@type": kind, "rules": rbac_rules(policies)}}


def _network_rbac(policies: Sequence[Mapping[str, Any]]) -> Json:
    kind = f"{_TYPE}.filters.network.rbac.v3.RBAC"
    config = {"@type": kind, "stat_prefix": "tcp.", "rules": rbac_rules(policies)}
    return {"name": "envoy.filters.network.rbac", "typed_config": config}


def _http_manager(stat_prefix: str, cluster: str, filters: Sequence[Json]) -> Json:
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{_TYPE}.filters.http.router.v3.Router"},
    }
    host = {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster}}]}
    config = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": stat_prefix,
        "forward_client_cert_details": "APPEND_FORWARD",
        "set_current_client_cert_details": {"subject": True, "dns": True, "uri": True},
        "route_config": {"name": stat_prefix, "virtual_hosts": [host]},
        "http_filters": [*filters, router],
    }
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": config}


def _tcp_proxy(cluster: str) -> Json:
    config = {"@type": f"{_TYPE}.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": cluster, "cluster": cluster}
    return {"name": "envoy.filters.network.tcp_proxy", "typed_config": config}


def _downstream_tls(*, http: bool, domains: Iterable[str], secrets: Secrets) -> Json:
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPE}.transport_sockets.tls.v3.DownstreamTlsContext",
            "require_client_certificate": True,
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"] if http else ["istio-peer-exchange", "h2", "http/1.1"],
                "tls_params": {
                    "cipher_suites": list(_CIPHERS),
                    "tls_minimum_protocol_version": "TLSv1_2",
                    "tls_maximum_protocol_version": "TLSv1_3",
                },
                **_validation(secrets, [{"prefix": f"spiffe://{domain}/"} for domain in sorted(domains)]),
            },
        },
    }


def _validation(secrets: Secrets, names: Sequence[Json]) -> Json:
    """The own certificate, and whoever has one of these names from any of the roots."""
    matchers = [{"san_type": "URI", "matcher": name} for name in names]
    return {
        "tls_certificate_sds_secret_configs": [secrets.source("default")],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": matchers},
            "validation_context_sds_secret_config": secrets.source("ROOTCA"),
        },
    }


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}
