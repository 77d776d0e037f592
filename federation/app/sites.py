"""Reading the files of a site: cluster.yaml and sidecar.yaml."""

from __future__ import annotations

from pathlib import Path

from federation.model.configuration import ClusterSettings, SidecarSettings
from federation.model.errors import ConfigError
from federation.model.settings import parse_cluster_settings, parse_sidecar_settings

CLUSTER_FILE = "cluster.yaml"


def load_cluster(directory: Path) -> ClusterSettings:
    """The settings in a cluster's directory; raises ConfigError with every violation."""
    directory = directory.absolute()
    return parse_cluster_settings(_read(directory / CLUSTER_FILE), directory=directory)


def load_sidecar(path: Path) -> SidecarSettings:
    """The settings of one sidecar, paths in them relative to the file; raises ConfigError with every violation."""
    path = path.absolute()
    return parse_sidecar_settings(_read(path), directory=path.parent)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise ConfigError(
            f"{path} can't be read: {error.strerror}",
            hint="name the cluster's directory with --dir; docs/reference/cluster.yaml shows every setting",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text") from error
