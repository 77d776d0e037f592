"""Vocabulary of the objects that the controller keeps in a Kubernetes cluster: names, labels, and reading them back.

Pure. Documents are plain mappings as the API has them. What comes back from an API server is untrusted: anybody may
have edited it, so every reader here takes whatever it finds.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from controllers.sources.manifests import ObjectId
from federation.model.names import ServiceKey

Document = Mapping[str, object]
"""One object, or a part of one, as JSON has it."""
Observed = Mapping[ObjectId, Document]
"""Objects as the API server last told them, ours and others'."""

FIELD_MANAGER: Final = "federation-gateway"
MANAGER: Final = "controller.federation-gateway.dev"
"""Value of the labels that mark an object as ours."""

# Not app.kubernetes.io/managed-by: users export that label (Helm writes it), and an import would carry theirs.
_OWN_LABEL: Final = "federation-gateway.dev/managed-by"
MANAGED_BY: Final[Mapping[str, str]] = {
    "AuthorizationPolicy": _OWN_LABEL,
    "ClusterProperty": _OWN_LABEL,
    "DestinationRule": _OWN_LABEL,
    "EndpointSlice": "endpointslice.kubernetes.io/managed-by",
    "MeshTLSAuthentication": _OWN_LABEL,
    "Service": _OWN_LABEL,
    "ServiceEntry": _OWN_LABEL,
    "ServiceImport": _OWN_LABEL,
}
"""The kinds of which we make objects, and the label that tells ours."""

SERVICE_NAME_LABEL: Final = "multicluster.kubernetes.io/service-name"
SOURCE_CLUSTER_LABEL: Final = "multicluster.kubernetes.io/source-cluster"

MCS_GROUP: Final = "multicluster.x-k8s.io"


@dataclass(frozen=True, slots=True, order=True)
class Apply:
    """State these fields of an object as ours (server-side apply, forced); what is left out is given up."""

    id: ObjectId
    subresource: str
    """Empty, or ``status``."""
    document: Document


@dataclass(frozen=True, slots=True, order=True)
class Delete:
    """Delete exactly the object that was observed: uid and resourceVersion are preconditions."""

    id: ObjectId
    uid: str
    resource_version: str


def export_id(key: ServiceKey) -> ObjectId:
    return ObjectId("ServiceExport", key.namespace, key.name)


def import_id(key: ServiceKey) -> ObjectId:
    return ObjectId("ServiceImport", key.namespace, key.name)


def derived_id(key: ServiceKey) -> ObjectId:
    """The Service that holds the clusterset IP; its name is that of the reference implementation (mcs-api)."""
    return ObjectId("Service", key.namespace, f"derived-{digest(str(key))}")


def digest(text: str) -> str:
    """Ten characters that are good in every name and tell texts apart."""
    return base64.b32hexencode(hashlib.sha256(text.encode()).digest()).decode().lower()[:10]


def rfc3339(time: datetime) -> str:
    """A time as ``metav1.Time`` spells it: UTC, whole seconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def mapping(value: object) -> Document:
    """A mapping as it is; empty for anything else."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: object) -> tuple[object, ...]:
    """The items of a list; none for anything else."""
    return tuple(value) if isinstance(value, list | tuple) else ()


def text(value: object) -> str:
    """A string as it is; empty for anything else."""
    return value if isinstance(value, str) else ""


def texts(value: object) -> tuple[str, ...]:
    """The strings of a list."""
    return tuple(item for item in sequence(value) if isinstance(item, str))


def section(document: Document | None, *path: str) -> Document:
    """The mapping at a path inside; empty where there is none."""
    found: Document = document or {}
    for key in path:
        found = mapping(found.get(key))
    return found


def uid_of(document: Document | None) -> str:
    return text(section(document, "metadata").get("uid"))


def version_number(version: object) -> int:
    """Of a resourceVersion: newer ones of an object are larger (KEP-5504); 0 for one that is no number."""
    return int(version) if isinstance(version, str) and version.isdecimal() else 0


def version_of(document: Document) -> int:
    """The number of an object's resourceVersion."""
    return version_number(section(document, "metadata").get("resourceVersion"))


def id_of(document: Document, kind: str = "") -> ObjectId:
    """Which object it is; ``kind`` where a list's items don't say it."""
    metadata = section(document, "metadata")
    return ObjectId(kind or text(document.get("kind")), text(metadata.get("namespace")), text(metadata.get("name")))


def is_ours(kind: str, document: Document) -> bool:
    """Whether an object carries our managed-by."""
    label = MANAGED_BY.get(kind)
    return label is not None and section(document, "metadata", "labels").get(label) == MANAGER


def is_terminating(document: Document) -> bool:
    """Whether an object was deleted and only waits for its finalizers."""
    return section(document, "metadata").get("deletionTimestamp") is not None
