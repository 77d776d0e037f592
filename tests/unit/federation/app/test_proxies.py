"""From settings to the Envoys of a gateway and of a sidecar."""

from __future__ import annotations

import json
import shlex
import stat
from pathlib import Path
from typing import Any

import pytest
import typer.main

from federation.app.programs import ENVOY_VARIABLE
from federation.app.proxies import gateway_node, gateway_process, sidecar_node, sidecar_process
from federation.cli.main import app
from federation.membership.tokens import create_token
from federation.model.configuration import ClusterSettings, SidecarSettings
from federation.model.errors import ConfigError
from federation.model.settings import parse_cluster_settings, parse_sidecar_settings
from gateway.nodes import GatewayNode, Listen, LocalPort, ProbeSpec, SidecarNode

SIDECAR = """
clusterDirectory: .
namespace: demo
serviceAccount: echo
address: 127.10.1.11
httpProxy: 127.10.1.11:3128
outbound: [{service: demo/ledger, port: 9000, listen: "127.10.1.11:9000"}]
redirectPort: 15001
probe: {port: 8080, path: /healthz, interval: 1s}
"""


def cluster(directory: Path, xds: str = "unix:xds.sock") -> ClusterSettings:
    return parse_cluster_settings(
        "{clusterset: acme, cluster: us-east, region: us, trustDomain: us-east.acme, memberKeyFile: k,"
        f" exchange: {{url: 'redis://h'}}, xds: {{listen: '{xds}'}}}}",
        directory=directory,
    )


def sidecar(directory: Path, more: str = "") -> SidecarSettings:
    return parse_sidecar_settings(SIDECAR + more, directory=directory)


def test_a_sidecar_tells_all_its_settings() -> None:
    """What the control plane needs to know of a sidecar is in its node, durations in milliseconds."""
    assert sidecar_node(sidecar(Path("/site"))) == SidecarNode(
        address="127.10.1.11",
        inbound_port=15006,
        http_proxy=Listen("127.10.1.11", 3128),
        redirect_port=15001,
        outbound=(LocalPort("demo", "ledger", 9000, Listen("127.10.1.11", 9000)),),
        probe=ProbeSpec(8080, "/healthz", 1000, 500),
    )


def test_a_gateway_tells_where_it_listens() -> None:
    """The gateway's node is its listener."""
    assert gateway_node(cluster(Path("/site"))) == GatewayNode(Listen("127.0.0.1", 15443))


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """What EnvoyProcess is made with, and an Envoy that is found."""
    envoy = tmp_path / "envoy"
    envoy.write_text("#!/bin/sh\n")
    envoy.chmod(0o755)
    monkeypatch.setenv(ENVOY_VARIABLE, str(envoy))
    made: list[Any] = []
    monkeypatch.setattr(
        "federation.app.proxies.EnvoyProcess", lambda *arguments, **options: made.append((*arguments, options))
    )
    return made


def test_the_processes_have_directories_of_their_own(tmp_path: Path, captured: list[Any]) -> None:
    """Two workloads on one host, and the gateway, never share a bootstrap."""
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    for name in ("gateway", "demo.echo"):
        create_token(tokens / f"{name}.token")
    gateway_process(cluster(tmp_path))
    sidecar_process(sidecar(tmp_path), cluster(tmp_path))
    sidecar_process(sidecar(tmp_path, "inboundPort: 15007"), cluster(tmp_path))
    assert [directory.relative_to(tmp_path / "state") for _, _, directory, _ in captured] == [
        Path("gateway"),
        Path("sidecars/demo~127.10.1.11~15006"),
        Path("sidecars/demo~127.10.1.11~15007"),
    ]


def test_proxies_end_connections_within_seconds(tmp_path: Path, captured: list[Any]) -> None:
    """Where TLS ends, a removed trust domain's connections end as well."""
    (tmp_path / "tokens").mkdir()
    for name in ("gateway", "demo.echo"):
        create_token(tmp_path / "tokens" / f"{name}.token")
    gateway_process(cluster(tmp_path))
    sidecar_process(sidecar(tmp_path), cluster(tmp_path))
    assert [options for *_, options in captured] == [{"drain_seconds": 5}] * 2


def test_the_token_stays_in_its_file(tmp_path: Path, captured: list[Any]) -> None:
    """Envoy is told where the workload's token is; no file that is written for it holds the token."""
    path = tmp_path / "tokens" / "demo.echo.token"
    path.parent.mkdir()
    create_token(path)
    sidecar_process(sidecar(tmp_path), cluster(tmp_path))
    _, bootstrap, directory, _ = captured[0]
    written = json.dumps(bootstrap()) + "".join(file.read_text() for file in directory.iterdir())
    assert (str(directory / "token.json") in written, str(path) in written) == (True, True)
    assert path.read_text().strip() not in written
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_each_start_looks_at_the_token(tmp_path: Path, captured: list[Any]) -> None:
    """An Envoy that would start without it, or with one that others can read, is not started."""
    path = tmp_path / "tokens" / "demo.echo.token"
    path.parent.mkdir()
    create_token(path)
    sidecar_process(sidecar(tmp_path), cluster(tmp_path))
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="mode is 0640"):
        captured[0][1]()


def test_over_tls_the_controller_is_verified_by_its_identity(tmp_path: Path, captured: list[Any]) -> None:
    """A proxy that reaches the controller over TCP knows its bundle and whom to expect."""
    (tmp_path / "tokens").mkdir()
    create_token(tmp_path / "tokens" / "gateway.token")
    gateway_process(cluster(tmp_path, "127.0.0.1:15012"))
    captured[0][1]()
    text = (captured[0][2] / "control-plane.json").read_text()
    assert [part for part in (str(tmp_path / "state/bundle.pem"), "spiffe://us-east.acme/") if part not in text] == []


@pytest.mark.parametrize(
    ("content", "mode", "cause"),
    [
        (None, 0o600, "can't be read: No such file or directory"),
        ("token", 0o644, "can't be read: mode is 0644, it must not be wider than 0600"),
        ("\n", 0o600, "is empty"),
    ],
)
def test_a_token_that_is_no_use_is_an_error_before_envoy_starts(
    content: str | None, mode: int, cause: str, tmp_path: Path, captured: list[Any]
) -> None:
    """Missing, readable for others, or empty: the file and the cause are told, with the command that makes one."""
    path = tmp_path / "tokens" / "demo.echo.token"
    path.parent.mkdir()
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        sidecar_process(sidecar(tmp_path), cluster(tmp_path))
    assert (str(caught.value), captured) == (f"token {path} {cause}", [])
    words = shlex.split(caught.value.hint.split("`")[1])
    assert words[0] == "federation"
    command = typer.main.get_command(app)
    for word in words[1:3]:
        command = command.commands[word]
