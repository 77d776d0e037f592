"""Reading the files of a site: cluster.yaml and sidecar.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, TypeVar

from federation.app.kube.base_settings import BASE_FILE, parse_base_settings
from federation.model.configuration import ClusterSettings, SidecarSettings
from federation.model.errors import ConfigError
from federation.model.settings import parse_cluster_settings, parse_sidecar_settings

CLUSTER_FILE = "cluster.yaml"

S_co = TypeVar("S_co", covariant=True)


class _Parse(Protocol[S_co]):
    def __call__(self, text: str, *, directory: Path) -> S_co: ...


def load_cluster(directory: Path) -> ClusterSettings:
    """The settings in a cluster's directory; raises ConfigError with every violation."""
    if not (directory / CLUSTER_FILE).exists() and (outside := from_outside(directory)):
        raise ConfigError("this cluster is no member of a clusterset yet", hint=waits_hint(outside))
    return _load(
        directory.absolute() / CLUSTER_FILE,
        parse_cluster_settings,
        hint="name the cluster's directory with --dir; docs/reference/cluster.yaml shows every setting",
    )


def from_outside(directory: Path) -> str:
    """The options that name a cluster in Kubernetes, in whose controller's pod this runs; empty elsewhere. An operator
    knows the context, and nothing of the pod's directories."""
    try:
        base = (directory / BASE_FILE).read_text(encoding="utf-8")
        kubernetes = parse_base_settings(base, directory=directory.absolute()).kubernetes
    except (OSError, UnicodeDecodeError, ConfigError):
        return ""
    return f"--context CONTEXT -n {kubernetes.namespace}" if kubernetes is not None else ""


def waits_hint(outside: str) -> str:
    """What the controller in a pod needs that is at work with no membership; ``outside`` is of ``from_outside``."""
    return f"it waits for a membership: `federation init` or `federation join`, with {outside}"


def read_installation(base: Path) -> str:
    """The text of the installation's settings, as they are mounted into a pod; raises ConfigError."""
    try:
        return base.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the installation's settings {base} can't be read: {getattr(error, 'strerror', None) or error}",
            hint="they are the ConfigMap federation-settings, mounted into the pod",
        ) from error


def load_sidecar(path: Path) -> SidecarSettings:
    """The settings of one sidecar, paths in them relative to the file; raises ConfigError with every violation."""
    return _load(
        path.absolute(),
        parse_sidecar_settings,
        hint="name the workload's sidecar.yaml; docs/reference/sidecar.yaml shows every setting",
    )


def _load(path: Path, parse: _Parse[S_co], *, hint: str) -> S_co:
    try:
        return parse(path.read_text(encoding="utf-8"), directory=path.parent)
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}", hint=hint) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text", hint=hint) from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}", violations=error.violations, hint=error.hint) from error
