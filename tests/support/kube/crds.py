"""CustomResourceDefinitions: what is wrong with one, the resources it serves, and its status. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from support.kube.kinds import ResourceType
from support.kube.objects import GroupResource, Json
from support.kube.refusals import Cause

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""The finalizer that keeps a definition until its objects are gone."""

PROTECTED = (".k8s.io", ".kubernetes.io")
APPROVED = "api-approved.kubernetes.io"
"""The annotation that definitions of protected groups must have."""


def definition_faults(crd: Json) -> Iterator[Cause]:
    """The rules of a definition that this project's could break: its name, one storage version, structural schemas."""
    spec = crd.get("spec") or {}
    names, versions = spec.get("names") or {}, spec.get("versions") or []
    expected = f"{names.get('plural')}.{spec.get('group')}"
    if crd["metadata"].get("name") != expected:
        message = f'Invalid value: "{crd["metadata"].get("name")}": must be spec.names.plural+"."+spec.group'
        yield Cause("FieldValueInvalid", "metadata.name", message)
    if spec.get("group", "").endswith(PROTECTED) and not (crd["metadata"].get("annotations") or {}).get(APPROVED):
        message = f'Required value: protected groups must have approval annotation "{APPROVED}"'
        yield Cause("FieldValueRequired", f"metadata.annotations[{APPROVED}]", message)
    if sum(bool(version.get("storage")) for version in versions) != 1:
        message = "Invalid value: must have exactly one version marked as storage version"
        yield Cause("FieldValueInvalid", "spec.versions", message)
    for at, version in enumerate(versions):
        where = f"spec.versions[{at}].schema.openAPIV3Schema"
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is None:
            yield Cause("FieldValueRequired", where, "Required value: schemas are required")
        else:
            yield from _structural_faults(schema, where)


def _structural_faults(schema: Any, where: str) -> Iterator[Cause]:
    if not isinstance(schema, dict):
        return
    if (
        "type" not in schema
        and not schema.get("x-kubernetes-int-or-string")
        and not schema.get("x-kubernetes-preserve-unknown-fields")
    ):
        yield Cause(
            "FieldValueRequired", f"{where}.type", "Required value: must not be empty for specified object fields"
        )
    for name, inner in (schema.get("properties") or {}).items():
        yield from _structural_faults(inner, f"{where}.properties[{name}]")
    yield from _structural_faults(schema.get("items"), f"{where}.items")
    yield from _structural_faults(schema.get("additionalProperties"), f"{where}.additionalProperties")


def resource_of(crd: Json) -> GroupResource:
    return crd["spec"]["group"], crd["spec"]["names"]["plural"]


def served_types(crd: Json) -> tuple[ResourceType, ...]:
    """The resources that the definition serves, one for each served version."""
    spec = crd["spec"]
    stored = next(version["name"] for version in spec["versions"] if version.get("storage"))
    return tuple(_served(spec, version, stored) for version in spec["versions"] if version.get("served"))


def _served(spec: Json, version: Json, stored: str) -> ResourceType:
    names = spec["names"]
    return ResourceType(
        group=spec["group"],
        version=version["name"],
        plural=names["plural"],
        kind=names["kind"],
        namespaced=spec["scope"] == "Namespaced",
        schema=version["schema"]["openAPIV3Schema"],
        stored_version=stored,
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        columns=tuple(version.get("additionalPrinterColumns") or ()),
        subresources=tuple(sorted(version.get("subresources") or ())),
        counts_generations=True,
        unconditional_update=False,
        custom=True,
        list_kind=names.get("listKind", ""),
    )


def with_status(crd: Json, now: str) -> Json:
    """The definition as it is once it is served."""
    names = crd["spec"]["names"]
    accepted = {"singular": names["kind"].lower(), "listKind": f"{names['kind']}List", **names}
    stored = [version["name"] for version in crd["spec"]["versions"] if version.get("storage")]
    before = (crd.get("status") or {}).get("conditions")
    conditions = before or [
        _condition("NamesAccepted", "NoConflicts", "no conflicts found", now),
        _condition("Established", "InitialNamesAccepted", "the initial names have been accepted", now),
    ]
    metadata = {**crd["metadata"]}
    if "deletionTimestamp" not in metadata:
        metadata["finalizers"] = sorted({*(metadata.get("finalizers") or ()), CLEANUP})
    status = {"conditions": conditions, "acceptedNames": accepted, "storedVersions": stored}
    return {**crd, "metadata": metadata, "status": status}


def _condition(kind: str, reason: str, message: str, now: str) -> Json:
    return {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now}
