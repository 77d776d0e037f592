"""What a cluster of kind looks like, out of what kubectl prints. Pure."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from controllers.dns.corefile import CorefileError
from controllers.dns.corefile_edit import installed
from controllers.mcs.objects import Document, mapping, section, sequence, text, texts
from federation.app.kind.topology import MARK

DIGEST: Final = "federation-gateway.dev/kind-values"
"""Annotation of our namespace: what was installed with which values."""
_ROSTER: Final = "state__roster"
"""Key of the Secret: the roster, which a cluster has that is a member."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """The nodes of a cluster."""

    names: tuple[str, ...]
    ready: int
    ours: bool
    """Whether they carry our mark: a cluster of this name may be somebody else's."""


@dataclass(frozen=True, slots=True)
class Share:
    """Pods that are ready, of those that there should be."""

    ready: int = 0
    wanted: int = 0

    @property
    def whole(self) -> bool:
        return 0 < self.wanted <= self.ready

    def __str__(self) -> str:
        return f"{self.ready}/{self.wanted}" if self.wanted else "-"


@dataclass(frozen=True, slots=True)
class ClusterSight:
    """One cluster, as `federation kind status` shows it."""

    cluster: str
    exists: bool
    nodes: Share = Share()
    controllers: Share = Share()
    gateways: Share = Share()
    member: bool = False
    dns: bool = False
    sample: Share = Share()
    trouble: str = ""
    """Why it can't be told."""

    @property
    def whole(self) -> bool:
        """Whether all is as `federation kind up` leaves it."""
        shares = (self.nodes, self.controllers, self.gateways, self.sample)
        return self.exists and self.member and self.dns and all(share.whole for share in shares)


def read_nodes(printed: str) -> Nodes:
    """Of `kubectl get nodes --output json`."""
    nodes = [mapping(item) for item in sequence(_json(printed).get("items"))]
    ready = sum(1 for node in nodes if _is_ready(node))
    labels = [section(node, "metadata", "labels").get(MARK) for node in nodes]
    return Nodes(tuple(text(section(node, "metadata").get("name")) for node in nodes), ready, "clusterset" in labels)


def read_deployments(printed: str) -> Mapping[str, Share]:
    """Of `kubectl get deployments --output json`, by name; pods of an older version are not ready."""
    return {name: share for item in sequence(_json(printed).get("items")) for name, share in _share(mapping(item))}


def read_digest(printed: str) -> str:
    """Of the namespace as JSON: with which values the federation was installed last."""
    return text(section(_json(printed), "metadata", "annotations").get(DIGEST))


def is_member(printed: str) -> bool:
    """Whether the Secret federation-state, as JSON, has a roster."""
    return any(key.startswith(_ROSTER) for key in section(_json(printed), "data"))


def read_secret(printed: str, *keys: str) -> tuple[bytes, ...] | None:
    """The values of a Secret, as JSON; None where one is missing."""
    data = section(_json(printed), "data")
    try:
        values = tuple(base64.b64decode(text(data.get(key)), validate=True) for key in keys)
    except binascii.Error:
        return None
    return values if all(values) else None


def forwards(corefile: str, service: str) -> bool:
    """Whether CoreDNS's ConfigMap, as JSON, forwards the zone to where the Service, as JSON, is."""
    try:
        ours = installed(text(section(_json(corefile), "data").get("Corefile")))
    except CorefileError:
        return False
    address = text(section(_json(service), "spec").get("clusterIP"))
    return ours is not None and bool(address) and ours.server.rpartition(":")[0].strip("[]") == address


def has_image(printed: str, image_id: str, lasting_name: str = "") -> bool:
    """Whether a node has the image, of `crictl images --output json`.

    By its id; never true for an empty one. Where docker keeps images in containerd, its ids are others than the node's:
    then by the name, if that is one whose content never changes.
    """
    images = [mapping(item) for item in sequence(_json(printed).get("images"))]
    tags = [tag for image in images for tag in texts(image.get("repoTags"))]
    return any(image.get("id") == image_id for image in images if image_id) or any(
        tag == lasting_name or tag.endswith(f"/{lasting_name}") for tag in tags if lasting_name
    )


def _share(deployment: Document) -> Iterator[tuple[str, Share]]:
    metadata, spec, status = (section(deployment, name) for name in ("metadata", "spec", "status"))
    seen = status.get("observedGeneration") == metadata.get("generation")
    counts = [_number(status.get(name)) for name in ("updatedReplicas", "readyReplicas", "availableReplicas")]
    yield text(metadata.get("name")), Share(min(counts) if seen else 0, _number(spec.get("replicas")))


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _is_ready(node: Document) -> bool:
    conditions = [mapping(item) for item in sequence(section(node, "status").get("conditions"))]
    return any((one.get("type"), one.get("status")) == ("Ready", "True") for one in conditions)


def _json(printed: str) -> Document:
    try:
        found: Any = json.loads(printed)
    except ValueError:
        return {}
    return mapping(found)
