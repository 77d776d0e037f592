"""The bootstrap: how an Envoy of ours finds and proves itself to its control plane."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from gateway.nodes import GatewayNode, Listen, Node, SidecarNode, parse_node_metadata
from gateway.xds.bootstrap import ControlPlane, build_bootstrap, build_token_source, build_trust_source
from gateway.xds.overload import Limits, overload_manager

GATEWAY = GatewayNode(Listen("127.0.0.1", 15443))
SIDECAR = SidecarNode("10.0.0.1", 15006)
TOKEN = "/run/federation/token.json"
SOCKET = ControlPlane(socket="/run/federation/xds.sock", token_source=TOKEN)
TLS = ControlPlane(
    address=Listen("192.0.2.1", 15012), trust_source="/run/federation/control-plane.json", token_source=TOKEN
)


def bootstrap(node: Node = SIDECAR, xds: ControlPlane = SOCKET, health: Listen | None = None) -> Any:
    return build_bootstrap(
        node,
        node_id="node-1",
        cluster="east",
        region="eu",
        zone="a",
        admin=Listen("127.0.0.1", 15000),
        xds=xds,
        health=health,
    )


def xds_cluster(document: Any) -> Any:
    (cluster,) = document["static_resources"]["clusters"]
    return cluster


@pytest.mark.parametrize("node", [GATEWAY, SIDECAR], ids=["gateway", "sidecar"])
def test_the_node_tells_who_where_and_what_it_is(node: Node) -> None:
    """The controller finds in the bootstrap, a JSON document, what it needs to make the node's listeners."""
    found = json.loads(json.dumps(bootstrap(node)))["node"]
    assert (found["id"], found["cluster"], found["locality"]) == ("node-1", "east", {"region": "eu", "zone": "a"})
    assert parse_node_metadata(found["metadata"]) == node


def test_the_token_is_read_by_envoy_alone() -> None:
    """The bootstrap names the file that names the token's file: two documents without a secret, and one header."""
    document = bootstrap()
    (service,) = document["dynamic_resources"]["ads_config"]["grpc_services"]
    assert "initial_metadata" not in service
    (options,) = xds_cluster(document)["typed_extension_protocol_options"].values()
    injector, codec = (item["typed_config"] for item in options["http_filters"])
    assert codec["@type"].endswith(".UpstreamCodec")
    credential = injector["credential"]["typed_config"]
    assert (credential["header"], credential["header_value_prefix"]) == ("authorization", "Bearer ")
    assert credential["credential"]["sds_config"]["path_config_source"] == {"path": TOKEN}
    (secret,) = build_token_source("/var/run/secrets/federation/token")["resources"]
    assert secret["name"] == credential["credential"]["name"]
    assert secret["generic_secret"] == {"secret": {"filename": "/var/run/secrets/federation/token"}}


def test_a_sidecar_takes_all_clusters_and_a_gateway_none() -> None:
    """A gateway takes its clusters on demand, and beside a wildcard misses would not be delivered."""
    assert [sorted(bootstrap(node)["dynamic_resources"]) for node in (SIDECAR, GATEWAY)] == [
        ["ads_config", "cds_config", "lds_config"],
        ["ads_config", "lds_config"],
    ]


def test_a_gateway_with_limits_has_an_overload_manager_and_is_still_looked_into() -> None:
    """Neither the kubelet nor whoever looks at the admin port is refused by a gateway that refuses callers."""
    document: Any = build_bootstrap(
        GATEWAY,
        node_id="node-1",
        cluster="east",
        region="eu",
        zone="a",
        admin=Listen("127.0.0.1", 15000),
        xds=SOCKET,
        health=Listen("127.0.0.1", 15021),
        limits=Limits(256 << 20, 1000),
    )
    assert document["overload_manager"] == overload_manager(Limits(256 << 20, 1000))
    (health,) = document["static_resources"]["listeners"]
    assert health["bypass_overload_manager"]
    assert health["ignore_global_conn_limit"]
    assert document["admin"]["ignore_global_conn_limit"]
    assert "overload_manager" not in bootstrap()


def test_the_stream_is_incremental() -> None:
    """Delta xDS: with the state of the world, one changed endpoint would resend everything."""
    assert bootstrap()["dynamic_resources"]["ads_config"]["api_type"] == "DELTA_GRPC"


def test_a_control_plane_behind_a_socket_needs_no_tls() -> None:
    """A Unix socket is guarded by its permissions."""
    cluster = xds_cluster(bootstrap())
    endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    assert endpoint == {"address": {"pipe": {"path": "/run/federation/xds.sock"}}}
    assert "transport_socket" not in cluster


def test_a_control_plane_on_the_network_is_verified() -> None:
    """Over TCP it is TLS 1.3, verified by a file that Envoy watches: what the bootstrap itself names is read once."""
    cluster = xds_cluster(bootstrap(xds=TLS))
    endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    assert endpoint == {"address": {"socket_address": {"address": "192.0.2.1", "port_value": 15012}}}
    context = cluster["transport_socket"]["typed_config"]["common_tls_context"]
    assert context["tls_params"]["tls_minimum_protocol_version"] == "TLSv1_3"
    assert "validation_context" not in context
    source = context["validation_context_sds_secret_config"]
    assert source["sds_config"]["path_config_source"] == {"path": TLS.trust_source}
    (secret,) = build_trust_source("bundle.pem", "spiffe://east.test/federation/controller")["resources"]
    assert secret["name"] == source["name"]


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("192.0.2.1", "STATIC"),
        ("2001:db8::1", "STATIC"),
        ("federation-controller.federation-system.svc", "envoy.clusters.dns"),
    ],
)
def test_a_control_plane_with_a_name_is_looked_up(host: str, kind: str) -> None:
    """An address is taken as it is; a name is asked for once a minute."""
    cluster = xds_cluster(bootstrap(xds=replace(TLS, address=Listen(host, 15012))))
    found = [cluster.get("type"), cluster.get("cluster_type", {}).get("name")]
    assert found == ([kind, None] if kind == "STATIC" else [None, kind])
    assert "transport_socket" in cluster


def test_the_kubelet_is_answered_when_there_is_a_configuration() -> None:
    """Then Envoy waits for its first one, however long; without a kubelet it does not."""
    found = bootstrap(health=Listen("0.0.0.0", 15021))
    (listener,) = found["static_resources"]["listeners"]
    assert listener["address"] == {"socket_address": {"address": "0.0.0.0", "port_value": 15021}}
    sources = [found["dynamic_resources"][name]["initial_fetch_timeout"] for name in ("lds_config", "cds_config")]
    assert sources == ["0s", "0s"]
    assert bootstrap()["static_resources"]["listeners"] == []
    assert "initial_fetch_timeout" not in json.dumps(bootstrap())


def test_a_control_plane_must_prove_its_identity() -> None:
    """A certificate of the own trust domain is not enough: it must be exactly the controller's."""
    (secret,) = build_trust_source("bundle.pem", "spiffe://east.test/federation/controller")["resources"]
    assert secret["validation_context"] == {
        "trusted_ca": {"filename": "bundle.pem"},
        "match_typed_subject_alt_names": [
            {"san_type": "URI", "matcher": {"exact": "spiffe://east.test/federation/controller"}}
        ],
    }


def test_only_counters_that_are_read_are_kept() -> None:
    """An inclusion list: what is not named costs neither memory nor start-up time."""
    assert list(bootstrap()["stats_config"]["stats_matcher"]) == ["inclusion_list"]


def test_the_admin_page_listens_where_it_is_told() -> None:
    """Nothing but the given address answers to an administrator."""
    assert bootstrap()["admin"]["address"] == {"socket_address": {"address": "127.0.0.1", "port_value": 15000}}


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/ready", True),
        ("/stats/prometheus?usedonly", True),
        ("/config_dump?resource=dynamic_active_secrets", True),
        ("/config_dump", False),
        ("/config_dump?resource=bootstrap", False),
        ("/config_dump?mask=bootstrap&resource=dynamic_listeners", False),
        ("/quitquitquit", False),
        ("/logging?level=trace", False),
    ],
)
def test_the_admin_page_shows_no_bootstrap_and_takes_no_orders(path: str, *, allowed: bool) -> None:
    """Everybody on the host reaches it: what holds the bootstrap, or changes the proxy, is not answered."""
    (rule,) = bootstrap()["admin"]["allow_paths"]
    assert (re.fullmatch(rule["safe_regex"]["regex"], path) is not None) == allowed
