"""One loaded document to the objects that it states: Services, slices, exports, policies and Namespaces.

Pure. The rules are those by which a Kubernetes API server would have refused the object, as far as this program looks
at it; unknown fields are ignored, since real objects carry many that concern others. Trouble is a value: an object with
a problem keeps its identity (so that its last good version can stand in) and has no value.

The envelope is here; the bodies are in ``service_bodies``, ``slice_bodies`` and ``policy_bodies``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from sys import intern
from typing import Final

from controllers.sources.fields import Fields
from controllers.sources.policy_bodies import read_traffic_policy
from controllers.sources.service_bodies import read_service, read_service_export
from controllers.sources.slice_bodies import read_endpoint_slice
from federation.model.names import is_dns_label
from federation.model.problems import Problem
from federation.model.state import EndpointSlice, Service, ServiceExport
from federation.model.traffic_policy import API_VERSION, TrafficPolicy
from federation.model.traffic_policy import KIND as TRAFFIC_POLICY


@dataclass(frozen=True, slots=True)
class Namespace:
    name: str
    terminating: bool = False
    """Whether it was deleted, and only what is in it has to go yet; never said by manifests."""


ManifestObject = Namespace | Service | EndpointSlice | ServiceExport | TrafficPolicy


@dataclass(frozen=True, slots=True, order=True)
class ObjectId:
    """What tells two objects apart; versions of one kind are the same object."""

    kind: str
    """One of ``KINDS``, or a kind that isn't read: with its group, as in kubectl (``Service.example.com``)."""
    namespace: str
    """Empty for a Namespace."""
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object as a document states it."""

    id: ObjectId | None
    """None where the document doesn't say which object it means."""
    value: ManifestObject | None
    """None exactly where there are problems."""
    problems: tuple[Problem, ...] = ()


_Reader = Callable[[str, str, Fields], ManifestObject]


def _read_namespace(_namespace: str, name: str, _root: Fields) -> Namespace:
    return Namespace(name)


_MCS_GROUP: Final = "multicluster.x-k8s.io"
# MCS API v0.5: v1alpha1 and v1beta1 have one schema and no conversion.
_READERS: Final[dict[tuple[str, str], _Reader]] = {
    ("v1", "Namespace"): _read_namespace,
    ("v1", "Service"): read_service,
    ("discovery.k8s.io/v1", "EndpointSlice"): read_endpoint_slice,
    (f"{_MCS_GROUP}/v1beta1", "ServiceExport"): read_service_export,
    (f"{_MCS_GROUP}/v1alpha1", "ServiceExport"): read_service_export,
    (API_VERSION, TRAFFIC_POLICY): read_traffic_policy,
}
KINDS: Final = frozenset(kind for _, kind in _READERS)
_GROUPS: Final = {(api_version.rpartition("/")[0], kind) for api_version, kind in _READERS}

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def parse_manifests(document: object) -> tuple[Manifest, ...]:
    """Read one loaded document, untrusted; a ``v1`` List gives its items, any other document one manifest."""
    if isinstance(document, dict) and document.get("kind") == "List" and document.get("apiVersion") == "v1":
        items = document.get("items")
        if not isinstance(items, list):
            return (unreadable("WrongType", "must be a list", "items"),)
        return tuple(_parse_object(item, f"items[{index}]") for index, item in enumerate(items))
    return (_parse_object(document, ""),)


def unreadable(reason: str, message: str, path: str = "") -> Manifest:
    """What a document gives that nothing can be learnt from."""
    return Manifest(None, None, (Problem("", reason, message, path),))


def _parse_object(raw: object, path: str) -> Manifest:
    if not isinstance(raw, dict):
        return unreadable("WrongType", "must be a mapping with apiVersion, kind and metadata", path)
    problems: list[Problem] = []
    root = Fields(raw, path, problems)
    api_version, kind = root.required_text("apiVersion"), root.required_text("kind")
    group = api_version.rpartition("/")[0]
    if api_version and kind and (group, kind) not in _GROUPS:
        return _foreign(root, f"{kind}.{group}" if group else kind)
    namespace, name = _read_names(root, kind)
    found = ObjectId(kind, namespace, name) if kind and name and (namespace or kind == "Namespace") else None
    value: ManifestObject | None = None
    if reader := _READERS.get((api_version, kind)):
        value = reader(namespace, name, root)
    elif api_version and kind:
        root.note("apiVersion", "UnknownKind", f"{api_version!r} is no version of {kind} that is read here")
    return Manifest(found, None if problems else value, _about(found, problems))


def _foreign(root: Fields, kind: str) -> Manifest:
    """An object of a kind that isn't read, a Deployment for one; how it is written is not judged."""
    metadata = root.section("metadata")
    name = metadata.required_text("name")
    found = ObjectId(kind, metadata.text("namespace"), name) if name else None
    root.note("kind", "UnknownKind", f"{kind!r} is no kind that is read here")
    return Manifest(found, None, _about(found, root.problems))


def _about(found: ObjectId | None, problems: Iterable[Problem]) -> tuple[Problem, ...]:
    subject = str(found) if found else ""
    # A section that two readers looked into has its fault noted twice.
    return tuple(dict.fromkeys(replace(problem, subject=subject) for problem in problems))


def _read_names(root: Fields, kind: str) -> tuple[str, str]:
    """Namespace (empty for a Namespace) and name."""
    metadata = root.section("metadata")
    # One string each: a service, its export and its slices say the same names, and thousands the same namespace.
    name = intern(metadata.required_text("name"))
    namespace = "" if kind == "Namespace" else metadata.word("namespace")
    if kind != "Namespace" and not namespace:
        # kubectl would take its current namespace; a file has none, and a guess would export the wrong service.
        metadata.note("namespace", "Required", "is required: a file has no current namespace")
    if namespace and not is_dns_label(namespace):
        metadata.note("namespace", "InvalidName", f"{namespace!r} is not a DNS label")
    if kind in {"EndpointSlice", TRAFFIC_POLICY}:
        if name and (len(name) > 253 or _SUBDOMAIN.fullmatch(name) is None):
            metadata.note("name", "InvalidName", f"{name!r} is not a DNS subdomain name")
    elif name and not is_dns_label(name):
        metadata.note("name", "InvalidName", f"{name!r} is not a DNS label")
    return namespace, name
