"""Where the gateways are reached, by what their Service and the nodes say."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.kube.gateway_addresses import (
    HOST_PORT_ANNOTATION,
    MAX_ADDRESSES,
    decide_addresses,
    nodes_with_ready,
    parse_gateway_node,
    parse_gateway_service,
)

MTLS = {"name": "mtls", "port": 15443, "nodePort": 31443}


def service(
    type_: str = "LoadBalancer", *, ports: Any = (MTLS,), ingress: Any = (), host_port: str = "", **spec: Any
) -> dict[str, Any]:
    annotations = {HOST_PORT_ANNOTATION: host_port} if host_port else {}
    return {
        "metadata": {"name": "federation-gateway", "namespace": "federation-system", "annotations": annotations},
        "spec": {"type": type_, "ports": [*ports], **spec},
        "status": {"loadBalancer": {"ingress": [*ingress]}},
    }


def node(
    name: str, internal: str = "", external: str = "", *, ready: str = "True", zone: str = "", **rest: Any
) -> dict[str, Any]:
    addresses = [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": internal}]
    return {
        "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone, **rest.pop("labels", {})}, **rest},
        "status": {
            "addresses": [*addresses, {"type": "ExternalIP", "address": external}],
            "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready}],
        },
    }


def decided(service: dict[str, Any], *nodes: dict[str, Any], backed: Any = ()) -> tuple[list[str], list[str]]:
    """The addresses, and the reasons for trouble."""
    addresses, problems = decide_addresses(
        parse_gateway_service(service), [parse_gateway_node(one) for one in nodes], backed
    )
    assert all(one.subject == "Service federation-system/federation-gateway" for one in problems)
    return [str(one) for one in addresses], [one.reason for one in problems]


def test_a_load_balancer_is_reached_by_its_ips() -> None:
    """Those that it was given and those it was made with, sorted as numbers, with the Service's port; never nodes."""
    found = service(
        ingress=[{"ip": "203.0.113.10"}, {"ip": "203.0.113.9"}, {"ip": "2001:DB8::1"}], externalIPs=["198.51.100.1"]
    )

    told = ["198.51.100.1:15443", "203.0.113.9:15443", "203.0.113.10:15443", "[2001:db8::1]:15443"]
    assert decided(found, node("a", "10.0.0.1")) == (told, [])


def test_a_load_balancer_with_a_name_is_reached_by_it() -> None:
    """As peers spell it, after the IPs; a name that means the host which asks leads nobody here."""
    name = {"hostname": "LB-1.example.com."}

    assert decided(service(ingress=[name])) == (["lb-1.example.com:15443"], [])
    assert decided(service(ingress=[name, {"ip": "203.0.113.9"}])) == (
        ["203.0.113.9:15443", "lb-1.example.com:15443"],
        [],
    )
    assert decided(service(ingress=[{"hostname": "localhost"}, {"hostname": "no_name"}])) == ([], ["NoAddress"])


@pytest.mark.parametrize(
    ("found", "reasons"),
    [
        (service(), ["NoAddress"]),
        (service("ClusterIP"), ["NoAddress"]),
        (service("NodePort"), ["NoAddress"]),
        (service("NodePort", externalTrafficPolicy="Local"), ["NoAddress"]),
        (service(ports=[{"name": "a", "port": 1}, {"name": "b", "port": 2}]), ["NoPort"]),
        (service(ports=[{**MTLS, "protocol": "UDP"}]), ["NoPort"]),
        (
            service(ingress=[{"ip": "127.0.0.1"}, {"ip": "169.254.0.1"}, {"ip": "no ip"}, {"ip": "fe80::1%eth0"}]),
            ["NoAddress"],
        ),
    ],
)
def test_what_leads_nowhere_says_why(found: dict[str, Any], reasons: list[str]) -> None:
    """No address yet, no way from outside, no port that is known to be the one, no address that anybody could use."""
    assert decided(found) == ([], reasons)


@pytest.mark.parametrize(
    "ports",
    [
        [{"name": "status", "port": 15021}, {"name": "mtls", "port": 443}],
        [{"name": "tls", "port": 443}],
    ],
)
def test_the_port_may_be_another(ports: Any) -> None:
    """The one that is named so, or the only one."""
    assert decided(service(ports=ports, ingress=[{"ip": "203.0.113.9"}])) == (["203.0.113.9:443"], [])


def test_node_ports_are_reached_at_every_node_that_is_ready() -> None:
    """None that is not, is going, or is kept from load balancers; whatever it runs."""
    going = {**node("going", "10.0.0.5"), "spec": {"taints": [{"key": "ToBeDeletedByClusterAutoscaler"}]}}
    excluded = node("excluded", "10.0.0.6", labels={"node.kubernetes.io/exclude-from-external-load-balancers": ""})
    nodes = [
        node("b", "10.0.0.2"),
        node("a", "10.0.0.1"),
        node("lost", "10.0.0.3", ready="Unknown"),
        node("deleted", "10.0.0.4", deletionTimestamp="2026-01-01T00:00:00Z"),
        going,
        excluded,
    ]

    assert decided(service("NodePort"), *nodes) == (["10.0.0.1:31443", "10.0.0.2:31443"], [])
    assert decided(service("NodePort"), excluded) == (["10.0.0.6:31443"], [])


def test_nodes_that_drop_what_comes_are_left_out() -> None:
    """With externalTrafficPolicy Local only nodes with a ready gateway answer."""
    nodes = [node("a", "10.0.0.1"), node("b", "10.0.0.2")]

    assert decided(service("NodePort", externalTrafficPolicy="Local"), *nodes, backed={"b"}) == (["10.0.0.2:31443"], [])
    assert decided(service("NodePort", externalTrafficPolicy="Local"), *nodes) == ([], ["NoAddress"])


def test_a_host_port_is_reached_at_nodes_with_a_gateway() -> None:
    """Whatever type the Service is of; an annotation that is no port counts as none."""
    nodes = [node("a", "10.0.0.1"), node("b", "10.0.0.2")]

    assert decided(service("ClusterIP", host_port="8443"), *nodes, backed={"a"}) == (["10.0.0.1:8443"], [])
    assert decided(service("ClusterIP", host_port="8443"), *nodes) == ([], ["NoAddress"])
    assert decided(service("ClusterIP", host_port="70000"), *nodes, backed={"a"}) == ([], ["NoAddress"])


def test_external_ips_of_nodes_are_better() -> None:
    """Where some have one, those without are not reachable for whoever uses them."""
    nodes = [node("a", "10.0.0.1", "203.0.113.1"), node("b", "10.0.0.2")]

    assert decided(service("NodePort"), *nodes) == (["203.0.113.1:31443"], [])


def test_few_addresses_span_all_zones() -> None:
    """However many nodes there are, and in whatever order they are told."""
    nodes = [node(f"a-{number:03}", f"10.1.0.{number}", zone="a") for number in range(1, 100)]
    nodes += [node(f"b-{number:03}", f"10.2.0.{number}", zone="b") for number in range(1, 4)]
    told, reasons = decided(service("NodePort"), *nodes)

    assert (len(told), reasons) == (MAX_ADDRESSES, [])
    assert [one for one in told if one.startswith("10.2.")] == [f"10.2.0.{number}:31443" for number in (1, 2, 3)]
    assert decided(service("NodePort"), *reversed(nodes)) == (told, [])


def test_nodes_with_ready_gateways_are_those_of_ready_endpoints() -> None:
    """Unset means ready, and an endpoint without a node tells of none."""
    endpoints = [
        {"addresses": ["10.0.0.1"], "nodeName": "a", "conditions": {"ready": True}},
        {"addresses": ["10.0.0.2"], "nodeName": "b", "conditions": {"ready": False, "serving": True}},
        {"addresses": ["10.0.0.3"], "nodeName": "c"},
        {"addresses": ["10.0.0.4"]},
    ]

    assert nodes_with_ready({"endpoints": endpoints}) == {"a", "c"}
    assert nodes_with_ready({"endpoints": "none"}) == frozenset()
