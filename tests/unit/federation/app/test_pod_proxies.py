"""From what a pod is told and mounted to the bootstrap of its Envoy."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from federation.app.pod_proxies import (
    PodPlace,
    bundle_domain,
    check_token,
    gateway_pod,
    installed_place,
    load_installation,
    parse_xds_address,
    pod_bootstrap,
    write_pod_bootstrap,
)
from federation.app.programs import ENVOY_VARIABLE
from federation.model.addresses import HostPort
from federation.model.errors import ConfigError
from gateway.nodes import GatewayNode, Listen, SidecarNode, parse_node_metadata
from support.pod import mounted, service_account_token, trust_bundle

XDS = Listen("federation-controller.federation-system.svc", 15012)
SIDECAR = SidecarNode("10.0.0.7", 15006, redirect_port=15001)


@pytest.fixture
def place(tmp_path: Path) -> PodPlace:
    mounted(tmp_path)
    return PodPlace(
        region="us",
        xds=XDS,
        admin=HostPort("127.0.0.1", 15000),
        health=HostPort("0.0.0.0", 15021),
        token=tmp_path / "token",
        trust_bundle=tmp_path / "bundle.pem",
    )


def bootstrap(place: PodPlace, directory: Path) -> Any:
    return pod_bootstrap(SIDECAR, "sidecar~demo~echo-1", place, directory)


def test_a_bootstrap_holds_what_the_pod_was_told(place: PodPlace, tmp_path: Path) -> None:
    """Who and where it is, its controllers by name, and where the kubelet asks."""
    found = bootstrap(replace(place, cluster="us-east", zone="us-1"), tmp_path)
    assert parse_node_metadata(found["node"]["metadata"]) == SIDECAR
    assert (found["node"]["id"], found["node"]["cluster"]) == ("sidecar~demo~echo-1", "us-east")
    assert found["node"]["locality"] == {"region": "us", "zone": "us-1"}
    text = json.dumps(found["static_resources"])
    assert [word for word in (XDS.host, "15021", "token.json", "control-plane.json") if word not in text] == []


def test_the_token_is_in_no_file_of_ours(place: PodPlace, tmp_path: Path) -> None:
    """Only the file that the kubelet keeps holds it, with whatever mode it has."""
    output = tmp_path / "proxy" / "envoy.json"
    write_pod_bootstrap(SIDECAR, "sidecar", place, output)
    written = {file.name: file.read_text() for file in output.parent.iterdir()}
    assert sorted(written) == ["control-plane.json", "envoy.json", "token.json"]
    assert place.token.read_text() not in "".join(written.values())
    assert str(place.token) in written["token.json"]


def test_the_controllers_are_those_of_the_trust_bundle(place: PodPlace, tmp_path: Path) -> None:
    """Its certificates name the trust domain; where they don't, somebody must."""
    bootstrap(place, tmp_path)
    assert "spiffe://us-east.acme/" in (tmp_path / "control-plane.json").read_text()
    place.trust_bundle.write_text(trust_bundle(""))
    with pytest.raises(ConfigError, match="name no trust domain"):
        bootstrap(place, tmp_path)
    bootstrap(replace(place, trust_domain="elsewhere.acme"), tmp_path)
    assert "spiffe://elsewhere.acme/" in (tmp_path / "control-plane.json").read_text()


def test_a_trust_bundle_of_another_domain_is_refused(place: PodPlace, tmp_path: Path) -> None:
    """Rather than an Envoy that trusts nobody for ever."""
    with pytest.raises(ConfigError, match=r"is of us-east\.acme, not of us-west\.acme"):
        bootstrap(replace(place, trust_domain="us-west.acme"), tmp_path)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (None, "can't be read: No such file or directory"),
        ("", "is unusable"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "is unusable"),
        (trust_bundle("spiffe://a.acme", "spiffe://b.acme"), "is of several trust domains"),
    ],
    ids=["missing", "empty", "malformed", "of two domains"],
)
def test_a_trust_bundle_that_is_none_is_told(content: str | None, cause: str, tmp_path: Path) -> None:
    """With its file and the object that it comes from."""
    path = tmp_path / "bundle.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        bundle_domain(path)
    assert str(caught.value).startswith(f"trust bundle {path} {cause}")
    assert "federation-trust-bundle" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (None, "can't be read: No such file or directory"),
        ("\n", "is empty"),
        ("x" * 43, "is not for the audience federation.acme"),
        ("a.b.c", "is not for the audience federation.acme"),
        (service_account_token("https://kubernetes.default.svc"), "is not for the audience federation.acme"),
        (service_account_token(), "is not for the audience federation.acme"),
    ],
    ids=["missing", "empty", "no JWT", "no claims", "for the API server", "for nobody"],
)
def test_a_token_that_is_no_use_is_told(content: str | None, cause: str, tmp_path: Path) -> None:
    """Its text is not."""
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        check_token(path, "acme")
    assert str(caught.value) == f"token {path} {cause}"
    assert "serviceAccountToken" in caught.value.hint


def test_a_token_for_several_audiences_is_good(tmp_path: Path) -> None:
    """And without the name of a clusterset any token is."""
    path = tmp_path / "token"
    path.write_text(service_account_token("other", "federation.acme"))
    check_token(path, "acme")
    path.write_text("anything")
    check_token(path, "")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("federation-controller.federation-system.svc:15012", "federation-controller.federation-system.svc", 15012),
        ("controllers.example.com.:1", "controllers.example.com.", 1),
        ("localhost:65535", "localhost", 65535),
        ("192.0.2.1:15012", "192.0.2.1", 15012),
        ("[2001:db8::1]:15012", "2001:db8::1", 15012),
    ],
)
def test_controllers_are_named_by_address_or_name(text: str, host: str, port: int) -> None:
    """An IPv6 address in brackets; a name with or without the final dot."""
    assert parse_xds_address(text) == Listen(host, port)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "localhost",
            ":15012",
            "localhost:",
            "localhost:0",
            "localhost:65536",
            "a b:1",
            "a..b:1",
            "192.0.2.256:1",
        ),
        *("2001:db8::1:15012", "https://localhost:15012", "-a:1", f"{'a.' * 130}b:1"),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """Nothing is guessed, and what only looks like an address is not looked up."""
    with pytest.raises(ValueError, match=r"is not|has no port"):
        parse_xds_address(text)


BASE = """
region: us
zone: us-1
gateway: {listen: "0.0.0.0:15443", admin: "127.0.0.1:15000"}
xds: {listen: "0.0.0.0:15013"}
kubernetes: {namespace: federation}
"""


def test_a_gateway_finds_what_the_installation_gives_it(
    place: PodPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its controllers in the namespace and at the port of the settings, and its files where they are mounted; who the
    cluster is, the settings don't know."""
    base = tmp_path / "cluster.yaml"
    base.write_text(BASE)
    settings = load_installation(base, tmp_path / "pod")
    found = installed_place(settings)
    assert found.xds == Listen("federation-controller.federation.svc", 15013)
    assert (found.region, found.zone, found.cluster, found.trust_domain) == ("us", "us-1", "", "")
    assert [str(found.token), str(found.trust_bundle)] == [
        "/var/run/secrets/federation/token",
        "/var/run/federation/trust/bundle.pem",
    ]
    made: list[Any] = []
    monkeypatch.setattr(
        "federation.app.pod_proxies.EnvoyProcess",
        lambda *given, shown, drain_seconds: made.append((*given, shown, drain_seconds)),
    )
    envoy = tmp_path / "envoy"
    envoy.write_text("#!/bin/sh\n")
    envoy.chmod(0o755)
    monkeypatch.setenv(ENVOY_VARIABLE, str(envoy))
    gateway_pod(settings, replace(found, token=place.token, trust_bundle=place.trust_bundle))
    ((_, bootstrap, directory, shown, drain_seconds),) = made
    assert drain_seconds == 5
    assert shown, "kubectl logs is where a pod's Envoy is read"
    document = bootstrap()
    assert directory == tmp_path / "pod" / "state" / "gateway"
    assert parse_node_metadata(document["node"]["metadata"]) == GatewayNode(Listen("0.0.0.0", 15443))
    assert document["node"]["cluster"] == "us-east.acme"


def test_a_gateway_without_token_does_not_start(tmp_path: Path) -> None:
    """It is told before Envoy runs."""
    base = tmp_path / "cluster.yaml"
    base.write_text(BASE)
    settings = load_installation(base, tmp_path)
    with pytest.raises(ConfigError, match=r"token .* can't be read"):
        gateway_pod(settings, replace(installed_place(settings), token=tmp_path / "token"))


@pytest.mark.parametrize("content", [None, b"\xff", b"region: us\n"])
def test_an_installation_without_usable_settings_is_told(content: bytes | None, tmp_path: Path) -> None:
    """Missing, no text, or without the section that makes it one of Kubernetes."""
    base = tmp_path / "cluster.yaml"
    if content is not None:
        base.write_bytes(content)
    with pytest.raises(ConfigError, match="the installation's settings") as caught:
        load_installation(base, tmp_path)
    assert caught.value.hint
