"""Which keys of cluster.yaml the ``settings`` of an installation can't have, and why. Pure.

They would be overruled without a word, or make pods that never get ready; so they are refused where they are given, by
the command as by the schema of the chart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_LISTENS: Final = "is the installation's: pods listen where its Services and network policies expect it"
_MEMBERSHIP: Final = "is the membership's: give it to federation init or join"
_BUNDLE_FILE: Final = "is where the installation mounts it: name what holds it in ca.configMap or ca.secret, and ca.key"
_BUNDLE_ENDPOINT: Final = (
    "can't be had in an installation: have a ConfigMap or Secret hold the bundle, and name it in ca.configMap or "
    "ca.secret; docs/bring-your-own-ca.md"
)
_ISTIO_PORT: Final = "is 0 with mesh istio, which tells ports apart by the workload's own: leave it out"

REFUSED: Final[Mapping[str, str]] = {
    "clusterset": _MEMBERSHIP,
    "cluster": _MEMBERSHIP,
    "trustDomain": _MEMBERSHIP,
    "kubernetes.namespace": "is where the installation is: give it by -n",
    "kubernetes.webhookListen": _LISTENS,
    "xds.listen": _LISTENS,
    "http.listen": _LISTENS,
    "dns.listen": _LISTENS,
    "gateway.listen": _LISTENS,
    "gateway.metrics": _LISTENS,
    "ca.bundleFile": _BUNDLE_FILE,
    "ca.bundleEndpoint": _BUNDLE_ENDPOINT,
}
"""Each path with what is wrong with it."""


def refused_settings(settings: object, mesh: object) -> list[str]:
    """Every violation of ``settings`` in a cluster with that mesh, as ``settings.path: what is wrong``."""
    told = [f"settings.{path}: {why}" for path, why in REFUSED.items() if _at(settings, path) is not None]
    if mesh == "istio" and _at(settings, "mesh.sidecarPort") not in (None, 0):
        told.append(f"settings.mesh.sidecarPort: {_ISTIO_PORT}")
    return told


def settings_schema() -> dict[str, Any]:
    """The first of these rules as JSON Schema (draft 7) of ``settings``."""
    return {"type": "object", "not": {"anyOf": [_having(path) for path in REFUSED]}}


def values_rule() -> dict[str, Any]:
    """The second one, as a rule for the values as a whole."""
    other = _having("settings.mesh.sidecarPort", {"not": {"const": 0}})
    return {"not": {"allOf": [_having("mesh", {"const": "istio"}), other]}}


def _at(tree: object, path: str) -> object:
    """What stands at a path; None where nothing does, which layers of values can't hold."""
    for key in path.split("."):
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def _having(path: str, value: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Whatever has something at a path, or something that is so."""
    key, _, rest = path.partition(".")
    inner = _having(rest, value) if rest else value
    return {"type": "object", "required": [key], **({} if inner is None else {"properties": {key: inner}})}
