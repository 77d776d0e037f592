"""The controllers' Deployment and Services."""

from __future__ import annotations

from typing import Any

from support.installation import one, rendered

NAME = "federation-controller"


def pod() -> Any:
    return one(rendered(), "Deployment", NAME)["spec"]["template"]["spec"]


def test_there_are_two_and_one_may_go() -> None:
    """Two replicas over zones and nodes; a drain takes one at a time, and never waits for one to get ready."""
    spec = one(rendered(), "Deployment", NAME)["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert {one["topologyKey"] for one in pod()["topologySpreadConstraints"]} == {
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    }
    budget = one(rendered(), "PodDisruptionBudget", NAME)["spec"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")


def test_probes_ask_the_http_port() -> None:
    """Whether it turns, and whether it is ready to serve."""
    (container,) = pod()["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http-metrics"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http-metrics"}
    assert ports["http-metrics"] == 15014


def test_its_disk_is_its_own_and_ends_with_it() -> None:
    """State and temporary files are in volumes that begin empty; the rest of its file system is read only."""
    assert {volume["name"]: volume.keys() - {"name"} for volume in pod()["volumes"]} == {
        "state": {"emptyDir"},
        "tmp": {"emptyDir"},
    }
    (container,) = pod()["containers"]
    assert container["args"][-2:] == ["--dir", "/var/lib/federation"]
    assert "/var/lib/federation" in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_dns_is_asked_over_both_transports() -> None:
    """Port 53 of UDP and TCP, at an address that may be fixed."""
    spec = one(rendered("dns.clusterIP=10.96.0.53"), "Service", "federation-dns")["spec"]
    assert {(port["port"], port["protocol"]) for port in spec["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert spec["clusterIP"] == "10.96.0.53"
    assert "clusterIP" not in one(rendered(), "Service", "federation-dns")["spec"]
