"""The settings files: defaults, strictness, and every violation at once with its path."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from ipaddress import IPv4Network, ip_network
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel

from federation.model import configuration
from federation.model import settings as grammar
from federation.model.addresses import HostPort, UnixSocket
from federation.model.configuration import (
    CaSettings,
    ClusterSettings,
    DnsSettings,
    ExchangeSettings,
    GatewaySettings,
    OutboundListener,
    ProbeSettings,
    SidecarXdsSettings,
)
from federation.model.errors import ConfigError
from federation.model.exchange_address import parse_exchange_address
from federation.model.names import ServiceKey
from federation.model.settings import parse_cluster_settings, parse_sidecar_settings

DIRECTORY = Path("/srv/us-east")
REFERENCE = Path(__file__).parents[4] / "docs" / "reference"

CLUSTER: dict[str, Any] = {
    "clusterset": "example",
    "cluster": "us-east",
    "region": "us",
    "trustDomain": "us-east.example",
    "memberKeyFile": "member.key",
    "exchange": {"url": "redis://127.0.0.1:6379"},
}
SIDECAR: dict[str, Any] = {
    "clusterDirectory": ".",
    "namespace": "demo",
    "serviceAccount": "echo",
    "address": "127.10.0.1",
}


def cluster(**changes: object) -> grammar.ClusterSettings:
    return parse_cluster_settings(yaml.safe_dump(CLUSTER | changes), directory=DIRECTORY)


def sidecar(**changes: object) -> grammar.SidecarSettings:
    return parse_sidecar_settings(yaml.safe_dump(SIDECAR | changes), directory=DIRECTORY)


def broken(parse: Callable[..., object], **changes: object) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse(**changes)
    return caught.value.violations


def test_paths_start_at_the_directory_of_the_file() -> None:
    """Relative paths are resolved against the given directory, absolute ones stay."""
    settings = cluster(memberKeyFile="/etc/member.key", stateDirectory="var")

    assert settings.member_key_file == Path("/etc/member.key")
    assert settings.state_directory == DIRECTORY / "var"
    assert settings.tokens_directory == DIRECTORY / "tokens"
    assert settings.xds.listen == UnixSocket(DIRECTORY / "state/xds.sock")


def test_dependent_defaults_follow_what_they_depend_on() -> None:
    """Network is the cluster's id and the advertised address is the gateway's own, unless given."""
    settings = cluster(cluster="eu-west", gateway={"listen": "127.0.0.1:1"})

    assert settings.network == "eu-west"
    assert settings.gateway.addresses == (HostPort("127.0.0.1", 1),)


def test_given_values_are_taken() -> None:
    """Each kind of field becomes the value that the core takes."""
    settings = cluster(
        zone="us-1",
        network="flat",
        exchange={
            "url": "unix:///run/redis.sock",
            "caFile": "ca.pem",
            "credentialsFile": "/run/credentials",
            "leaseSeconds": 6,
            "beatSeconds": 0.5,
        },
        gateway={"listen": "0.0.0.0:15443", "addresses": ["192.0.2.1:15443", "[2001:db8::1]:443"]},
        mesh={"sidecarPort": 16006},
        xds={"listen": "127.0.0.1:15012"},
        dns={"listen": "127.0.0.53:5353", "ttl": "1m"},
        vipRange="10.0.0.0/16",
        ca={"leafTtl": "20s", "caTtl": "1m30s", "propagation": "500ms"},
    )

    assert settings.zone == "us-1"
    assert settings.network == "flat"
    assert settings.exchange.lease_seconds == 6.0
    assert str(settings.exchange.url) == "unix:///run/redis.sock"
    assert settings.exchange.ca_file == DIRECTORY / "ca.pem"
    assert settings.exchange.credentials_file == Path("/run/credentials")
    assert settings.gateway.addresses == (HostPort("192.0.2.1", 15443), HostPort("2001:db8::1", 443))
    assert settings.mesh.sidecar_port == 16006
    assert settings.xds.listen == HostPort("127.0.0.1", 15012)
    assert settings.dns == DnsSettings(HostPort("127.0.0.53", 5353), timedelta(minutes=1))
    assert settings.vip_range == IPv4Network("10.0.0.0/16")
    assert settings.ca.leaf_ttl == timedelta(seconds=20)
    assert settings.ca.ca_ttl == timedelta(seconds=90)
    assert settings.ca.propagation == timedelta(milliseconds=500)


def test_a_mesh_that_redirects_has_no_sidecar_port() -> None:
    """0 is the workload's own port."""
    assert cluster(mesh={"sidecarPort": 0}).mesh.sidecar_port == 0


def test_all_violations_are_reported_together() -> None:
    """One reading names every wrong field by its path, unknown keys and missing ones among them."""
    violations = broken(
        cluster,
        cluster="US_East",
        trustDomain="Us East",
        memberKeyFile=7,
        exchange={},
        gateway={"listen": "localhost:1", "admin": "0.0.0.0:15000", "adress": 1},
        mesh={"sidecarPort": "15006"},
        ca={"leafTtl": 3600},
        vipRange="240.96.0.1/12",
    )

    assert [violation.split(": ")[0] for violation in violations] == [
        "cluster",
        "trustDomain",
        "memberKeyFile",
        "exchange.url",
        "gateway.listen",
        "gateway.admin",
        "gateway.adress",
        "mesh.sidecarPort",
        "vipRange",
        "ca.leafTtl",
    ]
    assert "gateway.adress: is no key of this file" in violations
    assert "exchange.url: is required" in violations


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"clusterset": "a.b"}, "clusterset"),
        ({"cluster": "a" * 64}, "cluster"),
        ({"region": ""}, "region"),
        ({"region": None}, "region"),
        ({"zone": "a b"}, "zone"),
        ({"trustDomain": "a" * 256}, "trustDomain"),
        ({"network": "a/b"}, "network"),
        ({"memberKeyFile": ""}, "memberKeyFile"),
        ({"members": []}, "members"),
        ({"authorityDirectory": 7}, "authorityDirectory"),
        ({"exchange": {"url": "http://127.0.0.1"}}, "exchange.url"),
        ({"exchange": {"url": "redis://"}}, "exchange.url"),
        ({"exchange": {"url": "redis://h:99999"}}, "exchange.url"),
        ({"exchange": {"url": "unix://"}}, "exchange.url"),
        ({"exchange": {"url": "redis://h", "beatSeconds": 0}}, "exchange.beatSeconds"),
        ({"exchange": {"url": "redis://h", "beatSeconds": True}}, "exchange.beatSeconds"),
        ({"gateway": {"listen": "127.0.0.1:0"}}, "gateway.listen"),
        ({"gateway": {"addresses": ["0.0.0.0:15443"]}}, "gateway.addresses[0]"),
        ({"gateway": {"admin": "192.0.2.1:15000"}}, "gateway.admin"),
        ({"mesh": {"sidecarPort": 65536}}, "mesh.sidecarPort"),
        ({"xds": {"listen": "unix:"}}, "xds.listen"),
        ({"xds": {"listen": "unix:" + "a" * 104}}, "xds.listen"),
        ({"http": {"listen": "[::1]"}}, "http.listen"),
        ({"dns": {"listen": "53"}}, "dns.listen"),
        ({"dns": {"ttl": "500ms"}}, "dns.ttl"),
        ({"dns": {"ttl": "0s"}}, "dns.ttl"),
        ({"dns": {"ttl": "61m"}}, "dns.ttl"),
        ({"vipRange": "10.0.0.0/25"}, "vipRange"),
        ({"ca": {"caTtl": "0s"}}, "ca.caTtl"),
        ({"ca": {"caTtl": "1.5h"}}, "ca.caTtl"),
    ],
)
def test_a_wrong_value_is_refused_under_its_path(changes: dict[str, object], path: str) -> None:
    """Each grammar holds, and the violation names the field that breaks it, alone."""
    (violation,) = broken(cluster, **changes)

    assert violation.split(": ")[0] == path


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"exchange": {"url": "redis://h", "leaseSeconds": 1.5}},
            "exchange.leaseSeconds: must be at least twice exchange.beatSeconds, or one late beat loses the lease",
        ),
        (
            {"gateway": {"listen": "0.0.0.0:15443"}},
            "gateway.addresses: is required where gateway.listen means every address of the host",
        ),
        ({"ca": {"leafTtl": "24h"}}, "ca.leafTtl: must be shorter than ca.caTtl"),
        ({"ca": {"propagation": "1h"}}, "ca.propagation: must be shorter than ca.leafTtl"),
        (
            {"gateway": {"egress": True}, "ca": {"bundleFile": "ca.pem"}},
            "gateway.egress: needs a certificate of the gateway's own, which no CA elsewhere gives it",
        ),
        (
            {"gateway": {"egress": True}, "kubernetes": {}},
            "gateway.egress: has no way in Kubernetes, where a gateway's pods have no clusterset IPs",
        ),
        (
            {"stateDirectory": "."},
            "stateDirectory: must not contain the cluster's directory, whose manifests would be left out",
        ),
        (
            {"authorityDirectory": "."},
            "authorityDirectory: must not contain the cluster's directory, whose manifests would be left out",
        ),
        ({"http": {"listen": "127.0.0.1:15000"}}, "gateway.admin: 127.0.0.1:15000 is also http.listen"),
        ({"dns": {"listen": "127.0.0.1:15014"}}, "http.listen: 127.0.0.1:15014 is also dns.listen"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(changes: dict[str, object], expected: str) -> None:
    """A relation between fields that does not hold is one violation that names both sides."""
    assert broken(cluster, **changes) == (expected,)


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    """Settings hold no secrets, and the refusal doesn't spread the one it found."""
    with pytest.raises(ConfigError) as caught:
        cluster(exchange={"url": "redis://:hunter2@127.0.0.1"})

    assert caught.value.violations == ("exchange.url: must not contain a password: settings hold no secrets",)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "cluster: a\ncluster: b", "- 1", "x: *a"])
def test_text_that_is_no_mapping_is_one_violation_of_the_file(text: str) -> None:
    """Broken YAML, a repeated key, an alias and a list are refused as a whole."""
    with pytest.raises(ConfigError) as caught:
        parse_cluster_settings(text, directory=DIRECTORY)

    (violation,) = caught.value.violations
    assert violation.startswith("file: ")
    assert caught.value.hint == "docs/reference/cluster.yaml shows every key with its default"


def test_a_cluster_that_is_backed_by_kubernetes_may_leave_the_addresses_of_its_gateway_to_be_found() -> None:
    """They are those of the gateways' Service; without Kubernetes nobody could know them."""
    settings = cluster(kubernetes={}, gateway={"listen": "0.0.0.0:15443"})

    assert settings.kubernetes == configuration.KubernetesSettings()
    assert settings.gateway.addresses == ()
    assert cluster(kubernetes={"kubeconfig": "k"}).kubernetes == configuration.KubernetesSettings(
        kubeconfig=DIRECTORY / "k"
    )
    assert broken(cluster, gateway={"listen": "0.0.0.0:15443"})[0].startswith("gateway.addresses: ")


def test_a_sidecar_takes_what_is_given() -> None:
    """Every optional part of the sidecar's file becomes its value."""
    settings = sidecar(
        clusterDirectory="..",
        inboundPort=16006,
        zone="z",
        httpProxy="127.0.0.1:3128",
        redirectPort=15001,
        outbound=[{"service": "demo/echo", "port": 8080, "listen": "127.0.0.1:18080"}],
        probe={"port": 8080, "path": "/healthz", "interval": "1s"},
        xds={"address": "10.0.0.5:15012", "trustBundleFile": "ca.pem"},
    )

    assert settings.cluster_directory == DIRECTORY / ".."
    assert settings.address == "127.10.0.1"
    assert settings.inbound_port == 16006
    assert settings.http_proxy == HostPort("127.0.0.1", 3128)
    assert settings.redirect_port == 15001
    assert settings.outbound == (OutboundListener(ServiceKey("demo", "echo"), 8080, HostPort("127.0.0.1", 18080)),)
    assert settings.probe == ProbeSettings(8080, "/healthz", timedelta(seconds=1), timedelta(milliseconds=500))
    assert settings.xds == SidecarXdsSettings(HostPort("10.0.0.5", 15012), DIRECTORY / "ca.pem")


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"namespace": "Demo"}, "namespace"),
        ({"serviceAccount": "a/b"}, "serviceAccount"),
        ({"address": "0.0.0.0"}, "address"),
        ({"address": "echo"}, "address"),
        ({"admin": "0.0.0.0:15000"}, "admin"),
        ({"httpProxy": "3128"}, "httpProxy"),
        ({"redirectPort": 0}, "redirectPort"),
        ({"redirectPort": 15006}, "redirectPort"),
        ({"outbound": [{"service": "echo", "port": 1, "listen": "127.0.0.1:1"}]}, "outbound[0].service"),
        ({"outbound": [{"service": "a/b", "port": 1, "listen": "127.0.0.1:15000"}]}, "admin"),
        ({"probe": {"port": 1, "path": "healthz"}}, "probe.path"),
        ({"xds": {"address": "10.0.0.5:1"}}, "xds.trustBundleFile"),
        ({"xds": {"address": "unix:s", "trustBundleFile": "ca.pem"}}, "xds.trustBundleFile"),
    ],
)
def test_a_wrong_value_of_a_sidecar_is_refused_under_its_path(changes: dict[str, object], path: str) -> None:
    """Each rule of the sidecar's file holds, and the violation names the field."""
    (violation,) = broken(sidecar, **changes)

    assert violation.split(": ")[0] == path


def test_values_come_without_pydantic() -> None:
    """Whoever takes a setting doesn't load the library that reads the file."""
    program = f"import sys, {configuration.__name__}; sys.exit('pydantic' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_by_default_nothing_is_reachable_from_another_host() -> None:
    """Every address that is listened on without being asked is a loopback one."""
    gateway = GatewaySettings(())

    assert gateway.listen.is_loopback
    assert gateway.admin.is_loopback
    assert configuration.HttpSettings().listen == HostPort("127.0.0.1", 15014)


def test_clusterset_ips_hide_no_real_address() -> None:
    """The range is class E, and apart from the one that Istio allocates from."""
    default = ClusterSettings.__dataclass_fields__["vip_range"].default

    assert isinstance(default, IPv4Network)
    assert default.subnet_of(IPv4Network("240.0.0.0/4"))
    assert not default.overlaps(ip_network("240.240.0.0/16"))


def test_default_times_fit_each_other() -> None:
    """A late beat doesn't lose the lease, a leaf ends before its CA, and a CA is known everywhere before it signs."""
    exchange, ca = ExchangeSettings(parse_exchange_address("redis://h")), CaSettings()

    assert exchange.lease_seconds >= 2 * exchange.beat_seconds
    assert timedelta() < ca.propagation < ca.leaf_ttl < ca.ca_ttl


def test_the_reference_of_the_cluster_is_complete_and_equals_the_defaults() -> None:
    """docs/reference/cluster.yaml has every key, and with it a cluster is what it is with the required keys alone."""
    text = (REFERENCE / "cluster.yaml").read_text()

    assert parse_cluster_settings(text, directory=DIRECTORY) == cluster()
    parts = keys_of(grammar._BundleSource, "ca.bundleEndpoint.")
    parts |= keys_of(grammar._BundleEndpoint, "bundleEndpoint.") | keys_of(grammar._Kubernetes, "kubernetes.")
    assert keys_of(grammar._Cluster) == keys_in(yaml.safe_load(text)) | parts


def test_the_reference_of_the_sidecar_is_complete_and_equals_the_defaults() -> None:
    """docs/reference/sidecar.yaml has every key, and with it a sidecar is what it is with the required keys alone."""
    text = (REFERENCE / "sidecar.yaml").read_text()

    assert parse_sidecar_settings(text, directory=DIRECTORY) == sidecar()
    parts = keys_of(grammar._Outbound, "outbound[].") | keys_of(grammar._Probe, "probe.")
    assert keys_of(grammar._Sidecar) == keys_in(yaml.safe_load(text)) | parts | keys_of(grammar._SidecarXds, "xds.")


def keys_of(model: type[BaseModel], prefix: str = "") -> set[str]:
    """Every key that the grammar knows; a section's behind ``name.``, those of a list's items behind ``name[].``."""
    keys = set()
    for field in model.model_fields.values():
        path = prefix + str(field.alias)
        keys.add(path)
        dot = "[]." if get_origin(field.annotation) is tuple else "."
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                keys |= keys_of(inner, path + dot)
    return keys


def keys_in(document: dict[str, object], prefix: str = "") -> set[str]:
    keys = set()
    for key, value in document.items():
        keys.add(prefix + key)
        if isinstance(value, dict):
            keys |= keys_in(value, f"{prefix}{key}.")
    return keys
