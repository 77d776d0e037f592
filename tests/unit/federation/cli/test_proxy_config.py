"""The command that writes bootstraps for Envoys in pods."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from controllers.injection.annotations import Tuning
from controllers.injection.pod_patch import Injection, bootstrap_arguments
from federation.app import redirect
from federation.cli.main import app
from federation.model.errors import ConfigError
from gateway.nodes import GatewayNode, Listen, ProbeSpec, SidecarNode, parse_node_metadata
from support.pod import mounted

POD = {"POD_IP": "10.0.0.7", "POD_NAMESPACE": "demo", "POD_NAME": "echo-1", "ZONE": "us-1"}


def written(directory: Path, *words: str, environment: dict[str, str] | None = None, option: str = "--output") -> Any:
    """The bootstrap that the command writes; raises what it raises."""
    output = directory / "proxy" / "envoy.json"
    everything = ["proxy-config", *words, *mounted(directory), option, str(output)]
    result = CliRunner().invoke(app, everything, env=POD if environment is None else environment)
    if result.exception is not None:
        raise result.exception
    assert result.stdout == ""
    return json.loads(output.read_text())


def listeners(document: Any) -> list[str]:
    found = document["static_resources"].get("listeners", ())
    return [each["address"]["socket_address"]["address"] for each in found]


def test_a_sidecar_is_as_its_pod(tmp_path: Path) -> None:
    """Pod, namespace and zone come by the environment, the rest by options; no redirect and no checks unless wanted."""
    found = written(tmp_path, "sidecar", "--region", "us")
    assert parse_node_metadata(found["node"]["metadata"]) == SidecarNode("10.0.0.7", 15006)
    assert found["node"]["id"] == "sidecar~demo~echo-1~10.0.0.7~15006"
    assert found["node"]["locality"] == {"region": "us", "zone": "us-1"}
    assert listeners(found) == ["0.0.0.0", "0.0.0.0"]


def test_a_sidecar_may_redirect_and_check_its_application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the webhook would have it."""
    monkeypatch.setattr(redirect, "has_ipv6", lambda: False)
    more = ["--redirect-port", "15001", "--probe-port", "8080", "--probe-path", "/healthz", "--clusterset", "acme"]
    more += ["--cluster-id", "us-east", "--trust-domain", "us-east.acme", "--inbound-port", "15007"]
    found = written(tmp_path, "sidecar", *more, option="--out")
    node = SidecarNode("10.0.0.7", 15007, redirect_port=15001, probe=ProbeSpec(8080, "/healthz", 500, 500))
    assert parse_node_metadata(found["node"]["metadata"]) == node
    assert found["node"]["cluster"] == "us-east"


def test_what_the_webhook_writes_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its words for the container that writes the bootstrap."""
    injection = Injection("federation-gateway:1", "acme", "us-east", "us", "us-east.acme")
    words = bootstrap_arguments(injection, Tuning())
    assert words.pop(0) == "proxy-config"
    for ipv6 in (False, True):
        monkeypatch.setattr(redirect, "has_ipv6", lambda ipv6=ipv6: ipv6)
        found = parse_node_metadata(written(tmp_path, *words)["node"]["metadata"])
        assert found == SidecarNode("10.0.0.7", 15006, redirect_port=15001, redirect_ipv6=ipv6)


def test_kubelet_and_prometheus_ask_in_the_pods_own_family(tmp_path: Path) -> None:
    """Or not at all."""
    six = {**POD, "POD_IP": "2001:db8:0::7"}
    found = written(tmp_path, "sidecar", environment=six)
    assert (listeners(found), found["node"]["id"]) == (["::", "::"], "sidecar~demo~echo-1~2001:db8::7~15006")
    assert listeners(written(tmp_path, "sidecar", "--health-port", "0", "--metrics-port", "0")) == []


def test_a_gateway_takes_connections_from_everywhere(tmp_path: Path) -> None:
    """Unless it is told where."""
    found = written(tmp_path, "gateway")
    assert parse_node_metadata(found["node"]["metadata"]) == GatewayNode(Listen("0.0.0.0", 15443))
    assert found["node"]["id"] == "gateway~echo-1~0.0.0.0:15443"
    found = written(tmp_path, "gateway", "--listen", "[::]:15444", "--xds", "[::1]:15012")
    assert parse_node_metadata(found["node"]["metadata"]) == GatewayNode(Listen("::", 15444))


@pytest.mark.parametrize(
    ("words", "environment", "cause"),
    [
        (["sidecar"], {**POD, "POD_IP": "echo-1"}, "'echo-1' is not the pod's IP address"),
        (["sidecar", "--xds", "nowhere"], POD, "--xds: 'nowhere' is not HOST:PORT"),
        (["gateway", "--listen", "15443"], POD, "--listen: '15443' is not IPv4:PORT"),
        (["sidecar", "--clusterset", "other"], POD, "is not for the audience federation.other"),
        (["sidecar", "--trust-domain", "other"], POD, "is of us-east.acme, not of other"),
    ],
)
def test_what_can_not_be_is_told(words: list[str], environment: dict[str, str], cause: str, tmp_path: Path) -> None:
    """As an error of the settings, before Envoy starts."""
    with pytest.raises(ConfigError) as caught:
        written(tmp_path, *words, environment=environment)
    assert cause in str(caught.value)


def test_a_place_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    """With its path."""
    (tmp_path / "proxy").write_text("")
    with pytest.raises(ConfigError, match="can't be written"):
        written(tmp_path, "sidecar")
