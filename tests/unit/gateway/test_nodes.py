"""What an Envoy tells of itself: written by the process that starts it, read by the controller."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from federation.model.errors import ConfigError
from gateway.nodes import (
    METADATA_KEY,
    GatewayNode,
    Listen,
    LocalPort,
    Node,
    ProbeSpec,
    SidecarNode,
    node_metadata,
    parse_node_metadata,
)

LISTEN = Listen("127.0.0.1", 15001)
NODES = [
    GatewayNode(LISTEN),
    SidecarNode("10.0.0.1", 15006),
    SidecarNode(
        address="10.0.0.1",
        inbound_port=15006,
        http_proxy=LISTEN,
        redirect_port=15001,
        redirect_ipv6=True,
        outbound=(LocalPort("demo", "echo", 80, LISTEN),),
        probe=ProbeSpec(8080, "/healthz", 500, 500),
    ),
    GatewayNode(LISTEN, egress=True),
]


@pytest.mark.parametrize("node", NODES, ids=["gateway", "least sidecar", "whole sidecar", "gateway with egress"])
def test_a_node_is_read_as_it_was_written(node: Node) -> None:
    """Also after the way over a bootstrap file and Envoy's Struct, in which every number is a double."""
    struct = json_format.ParseDict(node_metadata(node), Struct())
    arrived = json_format.MessageToDict(struct)
    assert parse_node_metadata(arrived) == node == parse_node_metadata(node_metadata(node))
    assert parse_node_metadata({METADATA_KEY: _doubles(node_metadata(node)[METADATA_KEY])}) == node


def _doubles(value: Any) -> Any:
    match value:
        case dict():
            return {key: _doubles(item) for key, item in value.items()}
        case list() | tuple():
            return [_doubles(item) for item in value]
        case int() if not isinstance(value, bool):
            return float(value)
        case _:
            return value


def test_metadata_of_others_stands_beside_ours() -> None:
    """What an operator adds to the node's metadata is not ours to judge."""
    assert parse_node_metadata({"team": "shop", **node_metadata(NODES[0])}) == NODES[0]


def test_an_envoy_that_we_did_not_start_is_told_so() -> None:
    """Metadata without our object is an error with the way out."""
    with pytest.raises(ConfigError, match="has no 'federation' object") as caught:
        parse_node_metadata({"team": "shop"})
    assert "federation" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "at_fault"),
    [
        ({"role": "router"}, "role"),
        ({"role": None}, "role"),
        ({"inbound_port": 0}, "inbound_port"),
        ({"inbound_port": 65536}, "inbound_port"),
        ({"inbound_port": 15006.5}, "inbound_port"),
        ({"address": ""}, "address"),
        ({"address": "a" * 256}, "address"),
        ({"http_proxy": {"host": "127.0.0.1"}}, "http_proxy"),
        ({"outbound": [{"namespace": "demo", "name": "echo", "port": 80}]}, "outbound"),
        ({"probe": {"port": 1, "path": "/", "interval_ms": 1, "timeout_ms": 500}}, "probe.interval_ms"),
        ({"more": 1}, "more"),
    ],
)
def test_unusable_metadata_is_an_error_that_names_the_field(change: dict[str, object], at_fault: str) -> None:
    """Wrong roles, ports, addresses and unknown fields are refused."""
    good: Any = node_metadata(NODES[1])[METADATA_KEY]
    with pytest.raises(ConfigError, match="unusable") as caught:
        parse_node_metadata({METADATA_KEY: {**good, **change}})
    assert at_fault in str(caught.value)


@pytest.mark.parametrize("value", ["sidecar", [], 1])
def test_metadata_that_is_no_object_is_an_error(value: object) -> None:
    """The object of ours must be one."""
    with pytest.raises(ConfigError, match="unusable"):
        parse_node_metadata({METADATA_KEY: value})


def test_a_gateway_says_only_what_is_not_the_default() -> None:
    """A gateway may be newer than its controller, which refuses what it doesn't know."""
    assert node_metadata(GatewayNode(LISTEN)) == {
        METADATA_KEY: {"role": "gateway", "listen": {"host": "127.0.0.1", "port": 15001}}
    }
