"""The description of the clusters: those that are shipped, and what is refused of others."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest
import yaml

from federation.app.kind.topology import REGION, KindCluster, load_topology
from federation.model.errors import ConfigError
from support.fake_kind import CONFIGS

ZONE = "topology.kubernetes.io/zone"


def config(cluster: KindCluster) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load(cluster.config.read_text())
    return found


def test_three_clusters_are_shipped() -> None:
    """With one control plane and one or two workers each, in two regions and several zones."""
    topology = load_topology(CONFIGS)
    roles = [[node["role"] for node in config(cluster)["nodes"]] for cluster in topology.clusters]  # type: ignore[attr-defined]
    zones = [
        {node["labels"][ZONE] for node in config(cluster)["nodes"]}  # type: ignore[attr-defined]
        for cluster in topology.clusters
    ]

    assert [(one.name, one.region) for one in topology.clusters] == [("east", "us"), ("west", "us"), ("north", "eu")]
    assert [one.nodes for one in topology.clusters] == [len(one) for one in roles] == [3, 2, 2]
    assert all(one == ["control-plane", *["worker"] * (len(one) - 1)] for one in roles)
    assert len(zones[0]) == 2
    assert not set.intersection(*zones)
    assert (topology.seat.context, topology.seat.control_plane) == ("kind-east", "east-control-plane")


def test_addresses_overlap_on_purpose_and_host_ports_do_not() -> None:
    """What differs between clusters is only what this host must tell apart, on loopback."""
    shipped = [config(cluster) for cluster in load_topology(CONFIGS).clusters]
    for name in ("podSubnet", "serviceSubnet"):
        ranges = [ip_network(one["networking"][name]) for one in shipped]  # type: ignore[index]
        assert all(ranges[0].overlaps(other) for other in ranges[1:])
    mapped = [port for one in shipped for port in one["nodes"][0]["extraPortMappings"]]  # type: ignore[index]
    assert len({port["hostPort"] for port in mapped}) == len(mapped) == 4
    assert {port["listenAddress"] for port in mapped} == {"127.0.0.1"}
    assert sorted({port["containerPort"] for port in mapped}) == [30379, 30443]


def test_some_of_the_clusters_are_a_clusterset_too() -> None:
    """The first is always needed; the sample is where they are."""
    topology = load_topology(CONFIGS)
    two = topology.only(["west", "east"])
    assert [one.name for one in two.clusters] == ["east", "west"]
    assert (two.callers, two.servers) == (("east",), ("west",))
    with pytest.raises(ConfigError, match="no cluster south"):
        topology.only(["east", "south"])
    with pytest.raises(ConfigError, match="without east") as refused:
        topology.only(["west"])
    assert refused.value.hint == "--clusters east,west"


def without_mark(directory: Path) -> None:
    path = directory / "west.yaml"
    path.write_text(path.read_text().replace("federation-gateway.dev/kind: clusterset", "other: label"))


def two_regions(directory: Path) -> None:
    path = directory / "west.yaml"
    path.write_text(path.read_text().replace(f"{REGION}: us", f"{REGION}: eu", 1))


def another_name(directory: Path) -> None:
    path = directory / "west.yaml"
    path.write_text(path.read_text().replace("name: west", "name: kind"))


def unknown_key(directory: Path) -> None:
    path = directory / "topology.yaml"
    path.write_text(path.read_text() + "region: us\n")


def stranger(directory: Path) -> None:
    path = directory / "topology.yaml"
    path.write_text(path.read_text().replace("servers: [west, north]", "servers: [mars]"))


def gone(directory: Path) -> None:
    (directory / "north.yaml").unlink()


def no_yaml(directory: Path) -> None:
    (directory / "values.yaml").write_text("{")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (without_mark, "the control-plane needs the label"),
        (two_regions, "every node needs the same label"),
        (another_name, "must have the name west"),
        (unknown_key, "unknown field `region`"),
        (stranger, "mars"),
        (gone, "north.yaml can't be read"),
        (no_yaml, "values.yaml"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path: Path, spoil: Callable[[Path], None], told: str) -> None:
    """Before anything is created."""
    directory = shutil.copytree(CONFIGS, tmp_path / "configs")
    spoil(directory)
    with pytest.raises(ConfigError, match=told):
        load_topology(directory)


def test_a_directory_without_topology_is_told(tmp_path: Path) -> None:
    """As anywhere but in a checkout."""
    with pytest.raises(ConfigError, match=r"no topology\.yaml") as refused:
        load_topology(tmp_path)
    assert "--configs" in refused.value.hint
