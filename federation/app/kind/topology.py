"""The clusters of kind that make a clusterset, as the files of ``kind-configs/`` describe them.

``topology.yaml`` says which, and what each is for; kind's own configuration of a cluster has its nodes, and their
labels its region.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import yaml

from federation.model.errors import ConfigError
from federation.model.names import is_dns_label

MARK: Final = "federation-gateway.dev/kind"
"""Label of a control-plane node, with the value ``clusterset``: the cluster is one of ours."""
REGION: Final = "topology.kubernetes.io/region"

_Shape = TypeVar("_Shape")


@dataclass(frozen=True, slots=True)
class KindCluster:
    """One cluster."""

    name: str
    """Of kind, and its cluster id."""
    region: str
    config: Path
    """kind's configuration."""
    nodes: int

    @property
    def context(self) -> str:
        """As kind names it in a kubeconfig."""
        return f"kind-{self.name}"

    @property
    def control_plane(self) -> str:
        """The container of its first node, whose name is known on docker's network."""
        return f"{self.name}-control-plane"


@dataclass(frozen=True, slots=True)
class Topology:
    """The clusterset. Its first cluster has the exchange and the authority."""

    clusterset: str
    clusters: tuple[KindCluster, ...]
    callers: tuple[str, ...]
    servers: tuple[str, ...]
    values: Mapping[str, object]
    """Of every installation."""

    @property
    def seat(self) -> KindCluster:
        return self.clusters[0]

    def only(self, names: Sequence[str]) -> Topology:
        """Of these clusters; raises ConfigError where one is unknown, or the first is not among them."""
        known = [cluster.name for cluster in self.clusters]
        if unknown := [name for name in names if name not in known]:
            raise ConfigError(f"there is no cluster {unknown[0]}", hint=f"known are {', '.join(known)}")
        if self.seat.name not in names:
            raise ConfigError(
                f"without {self.seat.name} there is no clusterset: it has the exchange and the authority",
                hint=f"--clusters {','.join([self.seat.name, *names])}",
            )
        return replace(
            self,
            clusters=tuple(cluster for cluster in self.clusters if cluster.name in names),
            callers=tuple(name for name in self.callers if name in names),
            servers=tuple(name for name in self.servers if name in names),
        )


class _Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    callers: tuple[str, ...]
    servers: tuple[str, ...]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    clusterset: str
    clusters: tuple[str, ...]
    sample: _Sample


class _Node(msgspec.Struct, frozen=True):
    role: str
    labels: dict[str, str] = {}


class _Config(msgspec.Struct, frozen=True):
    """What we read of kind's configuration; the rest is kind's matter."""

    name: str
    nodes: tuple[_Node, ...]


def load_topology(directory: Path) -> Topology:
    """Raises ConfigError with what is wrong in which file."""
    if not (directory / "topology.yaml").is_file():
        raise ConfigError(
            f"{directory} has no topology.yaml", hint="run it in the checkout, or name kind-configs with --configs"
        )
    described = _read(directory / "topology.yaml", _File)
    values = _read(directory / "values.yaml", dict[str, object])
    clusters = tuple(_cluster(directory / f"{name}.yaml", name) for name in described.clusters)
    if not is_dns_label(described.clusterset) or not clusters:
        raise ConfigError(f"{directory / 'topology.yaml'} names no clusterset, or no cluster")
    roles = (*described.sample.callers, *described.sample.servers)
    if strangers := [name for name in roles if name not in described.clusters]:
        raise ConfigError(f"{directory / 'topology.yaml'}: the sample is to run in {strangers[0]}, which is no cluster")
    return Topology(described.clusterset, clusters, described.sample.callers, described.sample.servers, values)


def _cluster(path: Path, name: str) -> KindCluster:
    config = _read(path, _Config)
    first, regions = config.nodes[:1], {node.labels.get(REGION, "") for node in config.nodes}
    if config.name != name or not first or first[0].role != "control-plane":
        raise ConfigError(f"{path} must have the name {name}, and a control-plane as its first node")
    if len(regions) != 1 or "" in regions:
        raise ConfigError(f"{path}: every node needs the same label {REGION}")
    if first[0].labels.get(MARK) != "clusterset":
        raise ConfigError(f"{path}: the control-plane needs the label {MARK}: clusterset")
    return KindCluster(name, regions.pop(), path.absolute(), len(config.nodes))


def _read(path: Path, shape: type[_Shape]) -> _Shape:
    try:
        return msgspec.convert(yaml.safe_load(path.read_text()), shape)
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from error
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path}: {error}") from error
