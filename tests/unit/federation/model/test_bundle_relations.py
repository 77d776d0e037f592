"""Settings of the own bundle: which belong together, and which exclude each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from federation.model.addresses import HostPort
from federation.model.configuration import BundleEndpointSettings, BundleEndpointSource, ClusterSettings
from federation.model.errors import ConfigError
from federation.model.settings import parse_cluster_settings

DIRECTORY = Path("/etc/federation")
URL = "https://spire.example:8443/bundle"
ID = "spiffe://us-east.example/spire/server"
CLUSTER: dict[str, Any] = {
    "clusterset": "example",
    "cluster": "us-east",
    "region": "us",
    "trustDomain": "us-east.example",
    "memberKeyFile": "member.key",
    "exchange": {"url": "redis://127.0.0.1:6379"},
}
SPIFFE = {"url": URL, "profile": "https_spiffe", "spiffeId": ID, "bootstrapFile": "b.pem"}
SERVED = {"listen": "127.0.0.1:8443"}
FILES = {"certificateFile": "tls.crt", "keyFile": "tls.key"}


def cluster(**changes: object) -> ClusterSettings:
    return parse_cluster_settings(yaml.safe_dump(CLUSTER | changes), directory=DIRECTORY)


def test_without_a_source_the_ca_is_the_built_in_one_and_nothing_is_served() -> None:
    """The default: an own CA, and no bundle endpoint."""
    settings = cluster()

    assert (settings.ca.external, settings.bundle_endpoint) == (False, None)


def test_each_source_makes_the_ca_external() -> None:
    """A file, an endpoint of the web's and one of SPIFFE's are read as they are written."""
    file = cluster(ca={"bundleFile": "root.pem"}).ca
    web = cluster(ca={"bundleEndpoint": {"url": URL, "profile": "https_web", "caFile": "ca.pem"}}).ca
    spiffe = cluster(ca={"bundleEndpoint": SPIFFE}).ca

    assert (file.external, web.external, spiffe.external) == (True, True, True)
    assert file.bundle_file == DIRECTORY / "root.pem"
    assert web.bundle_endpoint == BundleEndpointSource(URL, "https_web", ca_file=DIRECTORY / "ca.pem")
    assert spiffe.bundle_endpoint == BundleEndpointSource(URL, "https_spiffe", ID, DIRECTORY / "b.pem")


def test_the_endpoint_shows_the_own_svid_or_files() -> None:
    """The default profile needs no files with the built-in CA; files come with the other, or with a CA elsewhere."""
    own = cluster(bundleEndpoint=SERVED).bundle_endpoint
    web = cluster(bundleEndpoint=SERVED | FILES | {"profile": "https_web"}).bundle_endpoint
    elsewhere = cluster(bundleEndpoint=SERVED | FILES, ca={"bundleFile": "root.pem"}).bundle_endpoint

    listen, files = HostPort("127.0.0.1", 8443), (DIRECTORY / "tls.crt", DIRECTORY / "tls.key")
    assert own == BundleEndpointSettings(listen)
    assert web == BundleEndpointSettings(listen, "https_web", *files)
    assert elsewhere == BundleEndpointSettings(listen, "https_spiffe", *files)


@pytest.mark.parametrize(
    ("changes", "violation"),
    [
        ({"ca": {"bundleFile": "root.pem", "bundleEndpoint": SPIFFE}}, "ca: bundleFile and bundleEndpoint exclude"),
        ({"ca": {"bundleEndpoint": SPIFFE | {"caFile": "ca.pem"}}}, "ca.bundleEndpoint.caFile: has no meaning"),
        (
            {"ca": {"bundleEndpoint": SPIFFE | {"profile": "https_web"}}},
            "ca.bundleEndpoint: spiffeId and bootstrapFile have no meaning",
        ),
        (
            {"ca": {"bundleEndpoint": {"url": URL, "profile": "https_spiffe", "spiffeId": ID}}},
            "ca.bundleEndpoint: profile https_spiffe needs spiffeId and bootstrapFile",
        ),
        (
            {"ca": {"bundleEndpoint": {"url": URL, "profile": "https_spiffe", "bootstrapFile": "b.pem"}}},
            "ca.bundleEndpoint: profile https_spiffe needs spiffeId and bootstrapFile",
        ),
        ({"ca": {"bundleEndpoint": {"url": URL}}}, "ca.bundleEndpoint.profile: is required"),
        ({"ca": {"bundleEndpoint": SPIFFE | {"url": "http://a/b"}}}, "ca.bundleEndpoint.url: must begin with https"),
        ({"ca": {"bundleEndpoint": SPIFFE | {"url": "https://u@a/b"}}}, "ca.bundleEndpoint.url: must contain neither"),
        ({"ca": {"bundleEndpoint": SPIFFE | {"spiffeId": "spiffe://a"}}}, "ca.bundleEndpoint.spiffeId: must be"),
        ({"ca": {"bundleEndpoint": SPIFFE | {"spiffeId": "spiffe://a/../b"}}}, "ca.bundleEndpoint.spiffeId: must be"),
        ({"bundleEndpoint": SERVED | {"profile": "https_web"}}, "bundleEndpoint: certificateFile and keyFile are"),
        ({"bundleEndpoint": SERVED, "ca": {"bundleFile": "r.pem"}}, "bundleEndpoint: certificateFile and keyFile are"),
        ({"bundleEndpoint": SERVED | FILES}, "bundleEndpoint: certificateFile and keyFile have no meaning"),
        ({"bundleEndpoint": SERVED | {"keyFile": "k"}}, "bundleEndpoint: certificateFile and keyFile belong together"),
        ({"bundleEndpoint": {"listen": "127.0.0.1:15443"}}, "gateway.listen: 127.0.0.1:15443 is also bundleEndpoint"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, object], violation: str) -> None:
    """Each combination without a meaning is named by its path."""
    with pytest.raises(ConfigError) as caught:
        cluster(**changes)

    assert len(caught.value.violations) == 1
    assert caught.value.violations[0].startswith(violation)
