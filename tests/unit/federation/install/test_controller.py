"""The controllers' Deployment and Services."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any

from typer.testing import CliRunner

from federation.app.kube.base_settings import parse_base_settings
from federation.cli.main import app
from federation.install.controller import ARGUMENTS
from federation.model.addresses import HostPort
from federation.model.configuration import ClusterSettings
from support.installation import NAMESPACE, one, rendered

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
        "settings": {"configMap"},
    }
    (container,) = pod()["containers"]
    options = dict(zip(container["args"][1::2], container["args"][2::2], strict=True))
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert "readOnly" not in mounts[options["--dir"]]
    assert mounts[str(PurePosixPath(options["--base"]).parent)] == {
        "name": "settings",
        "mountPath": "/etc/federation",
        "readOnly": True,
    }


def settings(*words: str) -> ClusterSettings:
    text = one(rendered(*words), "ConfigMap", "federation-settings")["data"]["cluster.yaml"]
    return parse_base_settings(text, directory=Path("/var/lib/federation"))


def test_settings_listen_where_pods_are_reached() -> None:
    """Listeners are the ports of the pods on every address, and what the values say stands beside them."""
    found = settings("settings.region=eu", "settings.dns.ttl=30s")
    (container,) = pod()["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert found.xds.listen == HostPort("0.0.0.0", ports["xds"])
    assert found.http.listen == HostPort("0.0.0.0", ports["http-metrics"])
    assert found.dns.listen == HostPort("0.0.0.0", ports["dns"])
    assert (found.region, found.dns.ttl) == ("eu", timedelta(seconds=30))
    assert found.kubernetes is not None
    assert found.kubernetes.namespace == NAMESPACE


def test_istio_is_called_at_the_workloads_own_ports() -> None:
    """With mesh istio gateways don't call a port of sidecars, with a webhook or without; pods start anew for it."""
    assert settings().mesh.sidecar_port == 15006
    assert settings("mesh=istio").mesh.sidecar_port == 0
    assert settings("mesh=istio", "injection.enabled=false", "settings.region=eu").mesh.sidecar_port == 0


def test_other_settings_make_other_pods() -> None:
    """They are read at the start, so that a change of them is rolled out."""

    def digest(*words: str) -> str:
        (container,) = one(rendered(*words), "Deployment", NAME)["spec"]["template"]["spec"]["containers"]
        (found,) = [variable["value"] for variable in container["env"] if variable["name"] == "SETTINGS_DIGEST"]
        return str(found)

    assert digest() != digest("settings.region=eu")
    assert len({digest(), digest("mesh=istio"), digest("mesh=istio", "injection.enabled=false")}) == 3
    assert digest("controller.replicas=3") == digest()


def test_the_arguments_are_a_command() -> None:
    """The program knows every option that its container starts it with."""
    result = CliRunner().invoke(app, [*ARGUMENTS, "--help"])
    assert result.exit_code == 0, result.output
    assert all(word in result.output for word in ARGUMENTS if word.startswith("--"))


def test_dns_is_asked_over_both_transports() -> None:
    """Port 53 of UDP and TCP, at an address that may be fixed."""
    spec = one(rendered("dns.clusterIP=10.96.0.53"), "Service", "federation-dns")["spec"]
    assert {(port["port"], port["protocol"]) for port in spec["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert spec["clusterIP"] == "10.96.0.53"
    assert "clusterIP" not in one(rendered(), "Service", "federation-dns")["spec"]
