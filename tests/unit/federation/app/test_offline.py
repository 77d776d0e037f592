"""What directories come to without a controller; the texts that are printed of it are in tests/golden/cli."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.app.offline import OfflineSite, imports, load_site, node_resources, plain_records, project
from federation.model.errors import ConfigError
from support.manifests import exported_service, write_manifests


def site(directory: Path, cluster: str, port: int = 80, host: str = "127.0.0.2") -> OfflineSite:
    """A cluster that exports demo/echo, and a sidecar.yaml of a client beside it."""
    directory.mkdir()
    (directory / "cluster.yaml").write_text(
        f"{{clusterset: acme, cluster: {cluster}, region: us, trustDomain: {cluster}.acme, memberKeyFile: k,"
        " exchange: {url: 'redis://h'}, xds: {listen: '127.0.0.1:15012'}}"
    )
    (directory / "sidecar.yaml").write_text(
        "{clusterDirectory: ., namespace: demo, serviceAccount: client, address: 127.0.0.9,"
        " httpProxy: '127.0.0.9:3128'}"
    )
    write_manifests(directory / "echo.yaml", exported_service("demo", "echo", {"http": port}, [host]))
    return load_site(directory)


def test_a_cluster_publishes_its_gateway_and_its_exports(tmp_path: Path) -> None:
    """The records are those of a controller, but for the bundle, which needs a CA."""
    own = site(tmp_path / "east", "east")
    assert list(plain_records(own.records)) == ["endpoints/demo/echo", "export/demo/echo", "gateway"]


def test_others_are_taken_as_trusted_members(tmp_path: Path) -> None:
    """A service that two clusters export is one import that both back."""
    own, other = site(tmp_path / "east", "east"), site(tmp_path / "west", "west")
    (merged,) = imports(project(own, [other]))
    assert [(backend.cluster, backend.ready) for backend in merged.backends] == [("east", 1), ("west", 1)]


def test_one_cluster_twice_is_an_error(tmp_path: Path) -> None:
    """Two directories of one cluster id can't be looked at together."""
    own, other = site(tmp_path / "a", "east"), site(tmp_path / "b", "east")
    with pytest.raises(ConfigError, match="two of the directories are cluster east"):
        project(own, [other])


def test_the_nodes_of_a_cluster_get_their_resources(tmp_path: Path) -> None:
    """The gateway listens; a sidecar gets a route to what its cluster imports; no secret is made up."""
    own = site(tmp_path / "east", "east")
    projection = project(own, [])
    gateway = node_resources(own, projection, "gateway")
    sidecar = node_resources(own, projection, str(tmp_path / "east" / "sidecar.yaml"))
    kinds = [{resource.type_url.rpartition(".")[2] for resource in resources} for resources in (gateway, sidecar)]
    assert kinds == [
        {"Listener", "Cluster", "ClusterLoadAssignment"},
        {"Listener", "Cluster", "ClusterLoadAssignment", "RouteConfiguration"},
    ]


def test_a_sidecar_of_another_cluster_is_an_error(tmp_path: Path) -> None:
    """A sidecar is shown with its own cluster's view, or not at all."""
    own, other = site(tmp_path / "east", "east"), site(tmp_path / "west", "west")
    with pytest.raises(ConfigError, match="is a sidecar of cluster west, not of east"):
        node_resources(own, project(own, [other]), str(tmp_path / "west" / "sidecar.yaml"))


def test_what_is_not_used_is_told(tmp_path: Path) -> None:
    """Problems of manifests are beside what can be used."""
    directory = tmp_path / "east"
    site(directory, "east")
    (directory / "broken.yaml").write_text("kind: Pod\napiVersion: v1\nmetadata: {name: x}\n")
    (directory / "bad.yaml").write_text("kind: [")
    found = load_site(directory)
    assert "export/demo/echo" in found.records
    assert any("bad.yaml" in problem.subject for problem in found.problems)
