"""What happens to an object between the request and the store: pruning, defaults, system fields, validation.

It decides what is written, and writes nothing itself.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from support.kube.builtin_schemas import METADATA
from support.kube.crds import definition_faults
from support.kube.field_sets import SYSTEM_METADATA
from support.kube.kinds import ResourceType
from support.kube.names import metadata_faults
from support.kube.objects import Json, at, is_terminating
from support.kube.refusals import Cause, bad_request, invalid
from support.kube.schema import defaulted, pruned, violations
from support.kube.services import ServiceAddresses, service_faults
from support.kube.slices import slice_completed, slice_faults

CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
SETTLED = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")
"""What only the server sets: the live object's values stand, whatever is sent."""


def whole_schema(kind: ResourceType) -> Json | None:
    """The schema of the kind with that of metadata in it, which a CRD leaves out."""
    if kind.schema is None:
        return None
    properties = kind.schema.get("properties") or {}
    text: Json = {"type": "string"}
    return {**kind.schema, "properties": {**properties, "apiVersion": text, "kind": text, "metadata": METADATA}}


@dataclass(slots=True)
class Admission:
    """The rules of one server, and what they need to remember: addresses that are taken."""

    addresses: ServiceAddresses = field(default_factory=ServiceAddresses)

    def decoded(self, kind: ResourceType, body: Json, unknown: list[str]) -> Json:
        """What the server understands of a body: fields it does not know are dropped and named."""
        _check_form(body)
        kept: Json = pruned(body, whole_schema(kind), unknown)
        _check_types(kind, kept)
        kept["apiVersion"], kept["kind"] = kind.api_version, kind.kind
        if kind.plural == "secrets" and "stringData" in kept:
            plain = {name: base64.b64encode(text.encode()).decode() for name, text in kept.pop("stringData").items()}
            kept["data"] = {**(kept.get("data") or {}), **plain}
        if kind.plural == "secrets":
            _check_base64(kept)
        return kept

    def for_create(self, kind: ResourceType, body: Json, now: str) -> Json:
        """A new object as it is to be stored, with what the server gives it."""
        metadata = {name: item for name, item in body["metadata"].items() if name not in {*SETTLED, "resourceVersion"}}
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"][:58] + uuid.uuid4().hex[:5]
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": now}
        if kind.counts_generations:
            metadata["generation"] = 1
        created = {**body, "metadata": metadata}
        if kind.has_status and kind.plural not in {"namespaces"}:
            created.pop("status", None)
        created = self._completed(kind, defaulted(created, whole_schema(kind)), None)
        self._check(kind, created, None)
        return created

    def for_update(self, kind: ResourceType, live: Json, body: Json, subresource: str) -> Json:
        """A changed object as it is to be stored: only the part that the request may write, generation counted."""
        if subresource == "status":
            status = {"status": body["status"]} if "status" in body else {}
            rest = {name: item for name, item in live.items() if name != "status"}
            managed = {name: body["metadata"][name] for name in ("managedFields",) if name in body["metadata"]}
            changed = {**rest, "metadata": {**live["metadata"], **managed}, **status}
        else:
            own = {name: item for name, item in body["metadata"].items() if name not in SETTLED}
            settled = {name: live["metadata"][name] for name in SETTLED if name in live["metadata"]}
            metadata = {**own, **settled, "name": live["metadata"]["name"]}
            if "namespace" in live["metadata"]:
                metadata["namespace"] = live["metadata"]["namespace"]
            changed = {**body, "metadata": metadata}
            if kind.has_status:
                changed.pop("status", None)
                changed |= {"status": live["status"]} if "status" in live else {}
        changed = defaulted(changed, whole_schema(kind))
        if subresource != "status":
            changed = self._completed(kind, changed, live)
        if kind.counts_generations and _desired(kind, changed) != _desired(kind, live):
            changed["metadata"]["generation"] = live["metadata"].get("generation", 0) + 1
        self._check(kind, changed, live)
        return changed

    def _completed(self, kind: ResourceType, body: Json, live: Json | None) -> Json:
        if kind.plural == "services":
            body = self.addresses.completed(body, live)
            return body if live else {**body, "status": {"loadBalancer": {}}}
        if kind.plural == "endpointslices":
            return slice_completed(body)
        if kind.plural == "namespaces":
            labels = {**(body["metadata"].get("labels") or {}), "kubernetes.io/metadata.name": body["metadata"]["name"]}
            body = {**body, "metadata": {**body["metadata"], "labels": labels}}
            if live is None:
                return {**body, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
            return {**body, "spec": live["spec"]}
        if kind.plural == "secrets":
            return {"type": "Opaque", **body}
        return body

    def _check(self, kind: ResourceType, body: Json, live: Json | None) -> None:
        causes = [*metadata_faults(kind, body["metadata"]), *violations(body, whole_schema(kind))]
        if kind.plural == "services" and not causes:
            causes = [*service_faults(body)]
        if kind.plural == "endpointslices" and not causes:
            causes = [*slice_faults(body)]
        if kind.plural == "configmaps":
            causes += [_bad_key(name) for name in body.get("data") or {} if not CONFIG_KEY.fullmatch(name)]
        if kind.plural == "events" and at(body, ("involvedObject", "namespace")) != body["metadata"]["namespace"]:
            message = "Invalid value: does not match event.namespace"
            causes.append(Cause("FieldValueInvalid", "involvedObject.namespace", message))
        if kind.plural == "customresourcedefinitions":
            causes += definition_faults(body)
        if live is not None:
            causes += _changes_refused(kind, live, body)
        if causes:
            raise invalid(kind.group, kind.kind, body["metadata"].get("name", ""), causes)


def _bad_key(name: str) -> Cause:
    message = f"Invalid value: {json.dumps(name)}: must consist of alphanumeric characters, '-', '_' or '.'"
    return Cause("FieldValueInvalid", f"data[{name}]", message)


def _changes_refused(kind: ResourceType, live: Json, body: Json) -> Iterator[Cause]:
    fixed = {"endpointslices": ("addressType",), "rolebindings": ("roleRef",), "clusterrolebindings": ("roleRef",)}
    for name in fixed.get(kind.plural, ()):
        if live.get(name) != body.get(name):
            told = json.dumps(body.get(name))
            yield Cause("FieldValueInvalid", name, f"Invalid value: {told}: field is immutable")
    added = set(body["metadata"].get("finalizers") or ()) - set(live["metadata"].get("finalizers") or ())
    if is_terminating(live) and added:
        message = (
            f"Forbidden: no new finalizers can be added if the object is being deleted, found new: {sorted(added)}"
        )
        yield Cause("FieldValueForbidden", "metadata.finalizers", message)


def _desired(kind: ResourceType, body: Json) -> Json:
    """The part whose changes count as a new generation."""
    left_out = {"metadata", "apiVersion"} | ({"status"} if kind.has_status else set())
    return {name: item for name, item in body.items() if name not in left_out}


def _check_types(kind: ResourceType, body: Json) -> None:
    """Raises a 400 where Go could not decode: of a custom resource that is its metadata, the rest is for its schema."""
    found = violations(body["metadata"], METADATA, "metadata") if kind.custom else violations(body, whole_schema(kind))
    for cause in found:
        if cause.reason == "FieldValueTypeInvalid" and not cause.message.endswith('"null"'):
            raise bad_request(f"{kind.kind} in version {kind.version} cannot be handled: {cause.message}")


def _check_base64(secret: Json) -> None:
    for name, text in (secret.get("data") or {}).items():
        try:
            base64.b64decode(text, validate=True)
        except (ValueError, TypeError) as error:
            raise bad_request(f"Secret in version v1 cannot be handled: data {name}: illegal base64 data") from error


def _check_form(body: Json) -> None:
    metadata = body.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise bad_request("metadata is no object")
    metadata.pop("selfLink", None)
    for name in ("labels", "annotations"):
        texts = metadata.get(name)
        if texts is None:
            metadata.pop(name, None)
        elif not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
            raise bad_request(f"json: cannot unmarshal into Go struct field ObjectMeta.metadata.{name} of type string")
    for name in [name for name in metadata if name in SYSTEM_METADATA and metadata[name] is None]:
        del metadata[name]
