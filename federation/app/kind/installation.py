"""The values with which the federation is installed in a cluster of kind. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

import yaml

from federation.app.kind.commands import EXCHANGE_NODE_PORT
from federation.app.kind.topology import KindCluster, Topology
from federation.install.template import look_up
from federation.install.values import default_values

EXCHANGE_KEYS: Final = ("ca.pem", "admin.credentials")
"""Of the exchange's Secret: by what members know the exchange, and who may make users in it."""


def values_text(topology: Topology, cluster: KindCluster, image: str) -> str:
    """YAML for `federation install --values`: those of kind-configs/values.yaml, and what differs between clusters."""
    repository, tag = split_image(image)
    values = dict(topology.values)
    values["clusterset"] = topology.clusterset
    values["settings"] = {"region": cluster.region, **_section(values, "settings")}
    values["image"] = {**_section(values, "image"), "repository": repository, "tag": tag, "pullPolicy": "IfNotPresent"}
    if cluster == topology.seat:
        values["exchange"] = {
            **_section(values, "exchange"),
            "inCluster": True,
            "image": exchange_image(topology),
            # By this name it is reached from every cluster; a node's address may be another after docker was restarted.
            "names": [cluster.control_plane],
            "service": {"type": "NodePort", "nodePort": EXCHANGE_NODE_PORT},
        }
    text: str = yaml.safe_dump(values, sort_keys=True)
    return text


def exchange_image(topology: Topology) -> str:
    """The image of the exchange, which is loaded beforehand, so that no node has to download it."""
    named = _section(topology.values, "exchange").get("image")
    return named if isinstance(named, str) else str(look_up(default_values(), "exchange.image"))


def digest(values: str) -> str:
    """Tells values apart, image among them: what was installed with others is installed again."""
    return hashlib.sha256(values.encode()).hexdigest()[:16]


def split_image(image: str) -> tuple[str, str]:
    """Repository and tag; without one it is ``latest``. A port of a registry is no tag."""
    repository, colon, tag = image.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (image, "latest")


def _section(values: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = values.get(name)
    return found if isinstance(found, Mapping) else {}
