"""What names, labels and annotations may look like. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from support.kube.kinds import ResourceType
from support.kube.objects import Json
from support.kube.refusals import Cause

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
ANNOTATION_BYTES = 256 * 1024


def metadata_faults(kind: ResourceType, metadata: Json) -> Iterator[Cause]:
    """What is wrong with the name, the labels, the annotations and the owners of an object."""
    name = metadata.get("name", "")
    if not name:
        yield Cause("FieldValueRequired", "metadata.name", "Required value: name or generateName is required")
    elif not is_name(kind, name):
        yield Cause("FieldValueInvalid", "metadata.name", f"Invalid value: {json.dumps(name)}: {_rule(kind)}")
    for key, value in (metadata.get("labels") or {}).items():
        if not is_qualified(key):
            yield Cause(
                "FieldValueInvalid", "metadata.labels", f"Invalid value: {json.dumps(key)}: name part must match"
            )
        if len(value) > 63 or not LABEL_VALUE.fullmatch(value):
            message = f"Invalid value: {json.dumps(value)}: must be no more than 63 characters of a label's value"
            yield Cause("FieldValueInvalid", "metadata.labels", message)
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        if not is_qualified(key.lower()):
            message = f"Invalid value: {json.dumps(key)}: name part must match"
            yield Cause("FieldValueInvalid", "metadata.annotations", message)
    if sum(len(key) + len(value.encode()) for key, value in annotations.items()) > ANNOTATION_BYTES:
        message = f"Too long: may not be more than {ANNOTATION_BYTES} bytes"
        yield Cause("FieldValueTooLong", "metadata.annotations", message)
    for at, owner in enumerate(metadata.get("ownerReferences") or ()):
        if not owner.get("uid"):
            yield Cause("FieldValueRequired", f"metadata.ownerReferences[{at}].uid", "Required value")
    if sum(bool(owner.get("controller")) for owner in metadata.get("ownerReferences") or ()) > 1:
        message = "Invalid value: only one reference can have Controller set to true"
        yield Cause("FieldValueInvalid", "metadata.ownerReferences", message)


def is_label(text: str) -> bool:
    """Whether it is a DNS label (RFC 1123)."""
    return len(text) <= 63 and LABEL.fullmatch(text) is not None


def is_name(kind: ResourceType, name: str) -> bool:
    """Whether an object of that kind may have the name; RBAC's may have any that fits a path."""
    if kind.group == "rbac.authorization.k8s.io":
        return "/" not in name and "%" not in name and name not in {".", ".."}
    if kind.plural in {"services", "namespaces"}:
        return is_label(name)
    return len(name) <= 253 and SUBDOMAIN.fullmatch(name) is not None


def is_qualified(key: str) -> bool:
    """Whether the key of a label or annotation is one: a name, after a domain and a slash or not."""
    prefix, slash, name = key.rpartition("/")
    if slash and not (len(prefix) <= 253 and SUBDOMAIN.fullmatch(prefix)):
        return False
    return len(name) <= 63 and QUALIFIED.fullmatch(name) is not None


def _rule(kind: ResourceType) -> str:
    if kind.plural in {"services", "namespaces"}:
        return "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-'"
    return "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'"
