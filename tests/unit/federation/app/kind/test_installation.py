"""With which values the federation is installed in a cluster of kind."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from federation.app.kind.installation import (
    digest,
    exchange_image,
    split_image,
    values_text,
)
from federation.app.kind.topology import load_topology
from federation.install.manifests import render
from federation.install.values import default_values_text, parse_values
from federation.install.vocabulary import EXCHANGE
from support.fake_kind import CONFIGS

TOPOLOGY = load_topology(CONFIGS)
EAST, WEST = TOPOLOGY.clusters[:2]


def test_every_cluster_has_the_shared_values() -> None:
    """With the image and the clusterset of this run and its own region; the first one has the exchange, on a fixed port
    of its nodes."""
    east, west = (yaml.safe_load(values_text(TOPOLOGY, one, "federation-gateway:kind-1")) for one in (EAST, WEST))
    exchange = east.pop("exchange")

    assert [east.pop("settings"), west.pop("settings")] == [{"region": EAST.region}, {"region": WEST.region}]
    assert {**TOPOLOGY.values, "clusterset": "kind", "image": west["image"]} == west == east
    assert (west["image"]["repository"], west["image"]["tag"]) == ("federation-gateway", "kind-1")
    assert exchange["service"] == {"type": "NodePort", "nodePort": 30379}
    assert (exchange["inCluster"], exchange["names"]) == (True, ["east-control-plane"])


def test_the_ports_that_are_opened_are_those_that_are_used() -> None:
    """By NetworkPolicies: the gateway's and the exchange's, as seen from inside and from other clusters."""
    values = yaml.safe_load(values_text(TOPOLOGY, EAST, "x:y"))
    policy = values["networkPolicy"]
    assert values["gateway"]["service"]["nodePort"] in {port["port"] for port in policy["peerGatewayPorts"]}
    assert values["exchange"]["service"]["nodePort"] in {port["port"] for port in policy["exchangePorts"]}


def test_the_installation_accepts_them() -> None:
    """And makes of them what the clusters need: ports of nodes for gateway and exchange, the image that was loaded."""
    objects = {}
    for cluster in (EAST, WEST):
        given = parse_values([("values", values_text(TOPOLOGY, cluster, "federation-gateway:kind-1"))], ())
        for one in render(given, "federation-system"):
            objects[cluster.name, one["kind"], one["metadata"]["name"]] = one
    ports = {
        (cluster, name): [port.get("nodePort") for port in one["spec"]["ports"]]
        for (cluster, kind, name), one in objects.items()
        if kind == "Service"
    }
    assert ports["east", "federation-gateway"] == ports["west", "federation-gateway"] == [30443]
    assert ports["east", EXCHANGE] == [30379]
    assert ("west", EXCHANGE) not in ports
    assert ("east", "StatefulSet", EXCHANGE) in objects
    pod = objects["west", "Deployment", "federation-controller"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "federation-gateway:kind-1"


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("federation-gateway", ("federation-gateway", "latest")),
        ("federation-gateway:0.1.0", ("federation-gateway", "0.1.0")),
        ("host:5000/federation-gateway", ("host:5000/federation-gateway", "latest")),
        ("host:5000/federation-gateway:kind-1", ("host:5000/federation-gateway", "kind-1")),
    ],
)
def test_an_image_has_a_repository_and_a_tag(image: str, parts: tuple[str, str]) -> None:
    """A port of a registry is no tag."""
    assert split_image(image) == parts


def test_other_values_have_another_digest() -> None:
    """The image among them."""
    assert digest(values_text(TOPOLOGY, WEST, "a:1")) == digest(values_text(TOPOLOGY, WEST, "a:1"))
    assert digest(values_text(TOPOLOGY, WEST, "a:1")) != digest(values_text(TOPOLOGY, WEST, "a:2"))


def test_the_exchange_may_be_another_image() -> None:
    """As the values say; without a word it is that of every installation."""
    assert exchange_image(TOPOLOGY) == yaml.safe_load(default_values_text())["exchange"]["image"]
    assert exchange_image(replace(TOPOLOGY, values={"exchange": {"image": "redis:7"}})) == "redis:7"
