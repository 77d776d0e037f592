"""docs/file-sites.md holds what it promises: who copies its blocks has a cluster that works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from federation.app.offline import OfflineSite, imports, load_site, node_resources, project
from federation.model.names import ServiceKey

PAGE = Path(__file__).parents[3] / "docs" / "file-sites.md"

FILES = {"cluster.yaml": "clusterset: ", "echo.yaml": "apiVersion: ", "sidecar-echo-1.yaml": "clusterDirectory: "}
"""The file that each YAML block of the page is, with how it begins."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The directory that the page describes."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    for (file, beginning), block in zip(FILES.items(), blocks, strict=True):
        assert block.startswith(beginning), file
        (tmp_path / file).write_text(block)
    return tmp_path


@pytest.fixture
def site(directory: Path) -> OfflineSite:
    return load_site(directory)


def test_the_settings_are_those_of_the_text(site: OfflineSite) -> None:
    """The page's cluster.yaml is accepted, and is that of the cluster which the page's commands name."""
    assert (site.settings.clusterset, site.settings.cluster) == ("acme", "us-east")


def test_every_manifest_is_used(site: OfflineSite) -> None:
    """The page's manifests export one service with one ready endpoint, and none of them is refused."""
    (merged,) = imports(project(site, []))
    assert (site.problems, merged.key, [backend.ready for backend in merged.backends]) == (
        (),
        ServiceKey("demo", "echo"),
        [1],
    )


def test_the_identity_is_that_of_the_annotation(site: OfflineSite) -> None:
    """The annotation of the page's EndpointSlice names the service account that others expect."""
    (merged,) = imports(project(site, []))
    assert merged.backends[0].identities == ("spiffe://us-east.acme/ns/demo/sa/echo",)


def test_the_sidecar_is_one_of_this_cluster(directory: Path, site: OfflineSite) -> None:
    """The page's sidecar file is accepted, and its Envoy gets the service and its own inbound side."""
    resources = node_resources(site, project(site, []), str(directory / "sidecar-echo-1.yaml"))
    names = {resource.name for resource in resources}
    assert {"outbound_.80_._.echo.demo.svc.clusterset.local", "app|127.10.1.11|8080|http"} <= names
