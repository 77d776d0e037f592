"""The verbs that change one object: create, update, patch, apply, delete. All end in the store, or in a Refusal.

Whether the caller may do it is decided before, in authorization; how it was said is read before, in requests.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

from support.kube import patches
from support.kube.admission import Admission, whole_schema
from support.kube.kinds import Catalog, ResourceType
from support.kube.objects import GroupResource, Json, Key, at, duplicate, finalizers, is_terminating, timestamp
from support.kube.ownership import Writer, applied, owned_after_update
from support.kube.refusals import (
    Cause,
    Refusal,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    invalid,
    modified,
    not_found,
    success,
    unsupported_media,
    untyped,
)
from support.kube.store import Store
from support.kube.typed import typed_faults

ADDRESS_FIELDS = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")
"""What a Service is given where it does not ask."""
FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
IMMORTAL = {"default", "kube-system", "kube-public"}


@dataclass(frozen=True, slots=True)
class Write:
    """How a request writes: in whose name, for real or not, and what happens to fields that nobody knows."""

    manager: str
    dry_run: bool = False
    validation: str = "Warn"
    force: bool = False
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """What a write answers."""

    body: Json
    created: bool = False
    warnings: tuple[str, ...] = ()


class Registry:
    """The objects of one server."""

    def __init__(self, store: Store, catalog: Catalog, admission: Admission, clock: Callable[[], datetime]) -> None:
        self.store = store
        self.catalog = catalog
        self._admission = admission
        self._clock = clock
        admission.addresses.stored = lambda: store.objects(("", "services")).values()

    def now(self) -> str:
        return timestamp(self._clock())

    def get(self, kind: ResourceType, key: Key) -> Json:
        """The object in the version of the kind; raises a 404."""
        return served(kind, self._live(kind, key))

    def create(self, kind: ResourceType, namespace: str, body: Json, write: Write) -> Written:
        """A new object; raises a 404 without its namespace, a 409 where there is one, a 422 for what is invalid."""
        self._check_address(kind, namespace, body)
        unknown: list[str] = []
        decoded = self._admission.decoded(kind, body, unknown)
        if decoded["metadata"].get("resourceVersion"):
            raise bad_request("resourceVersion should not be set on objects to be created")
        if kind.namespaced:
            decoded["metadata"]["namespace"] = namespace
        warnings = _warnings(unknown, write)
        return Written(self._inserted(kind, decoded, write), created=True, warnings=warnings)

    def create_system(self, resource: GroupResource, namespace: str, body: Json) -> Json:
        """An object that the server makes for itself; one that exists already stays as it is."""
        kind = self.catalog.stored(resource)
        assert kind is not None, f"{resource} is not served"
        live = self.store.get(resource, Key(namespace, body["metadata"]["name"]))
        whole = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
        return live or self.create(kind, namespace, whole, Write("kube-apiserver")).body

    def update(self, kind: ResourceType, key: Key, body: Json, write: Write) -> Written:
        """A whole object in place of the one there is; raises a 409 where that has changed meanwhile."""
        self._check_address(kind, key.namespace, body)
        metadata = body.get("metadata") or {}
        self._check_name(key, body)
        if self.store.get(kind.resource, key) is None and kind.create_on_update and not write.subresource:
            return self.create(kind, key.namespace, body, write)
        live = self._live(kind, key)
        if not metadata.get("resourceVersion") and not kind.unconditional_update:
            cause = Cause(
                "FieldValueInvalid", "metadata.resourceVersion", "Invalid value: 0: must be specified for an update"
            )
            raise invalid(kind.group, kind.kind, key.name, [cause])
        return self._changed(kind, key, live, body, write)

    def patch(self, kind: ResourceType, key: Key, media_type: str, patch: Any, write: Write) -> Written:
        """JSON, merge or strategic merge patch of an object that exists, or server-side apply of one that may not."""
        if media_type == patches.APPLY_PATCH:
            return self._apply(kind, key, patch, write)
        accepted = [patches.JSON_PATCH, patches.MERGE_PATCH, patches.APPLY_PATCH]
        accepted += [] if kind.custom else [patches.STRATEGIC_PATCH]
        if media_type not in accepted:
            raise unsupported_media(accepted)
        live = self._live(kind, key)
        shown = served(kind, live)
        if media_type == patches.JSON_PATCH:
            body = patches.json_patched(shown, patch)
        elif not isinstance(patch, dict):
            raise bad_request("error decoding patch: it is no object")
        elif media_type == patches.MERGE_PATCH:
            body = patches.merge_patched(shown, patch)
        else:
            body = patches.strategic_patched(shown, patch, whole_schema(kind))
        self._check_address(kind, key.namespace, body)
        self._check_name(key, body)
        _check_uid(kind, live, body)
        try:
            return self._changed(kind, key, live, body, write)
        except Refusal as refusal:
            if refusal.code != HTTPStatus.BAD_REQUEST:
                raise
            # What a patch makes of an object is invalid where it can't be read, not a bad request.
            raise invalid("", "", "", [Cause("FieldValueInvalid", "patch", f"Invalid value: {refusal}")]) from None

    def delete(self, kind: ResourceType, key: Key, options: Json) -> Json:
        """Remove the object, or mark it where finalizers hold it; returns what the request is answered with."""
        live = self._live(kind, key)
        wanted = options.get("preconditions") or {}
        for name, field in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
            if wanted.get(name) and wanted[name] != live["metadata"][name]:
                why = f"the {field} in the precondition ({wanted[name]}) does not match the {field} in record ("
                raise conflict(kind.group, kind.plural, key.name, f"{why}{live['metadata'][name]})")
        if kind.plural == "namespaces" and key.name in IMMORTAL:
            raise forbidden(kind.group, kind.plural, key.name, "this namespace may not be deleted")
        holding = finalizers(live) + _propagation(options)
        held = bool(holding) or bool(at(live, ("spec", "finalizers")) if kind.plural == "namespaces" else None)
        if options.get("dryRun"):
            return served(kind, live)
        if not held:
            gone = self.store.remove(kind.resource, key)
            if kind.returns_deleted:
                return served(kind, gone)
            return success(key.name, kind.group, kind.plural, gone["metadata"]["uid"])
        if is_terminating(live):
            return served(kind, live)
        marked = duplicate(live)
        marked["metadata"] |= {"deletionTimestamp": self.now(), "deletionGracePeriodSeconds": 0}
        if holding:
            marked["metadata"]["finalizers"] = list(dict.fromkeys(holding))
        if "generation" in marked["metadata"]:
            marked["metadata"]["generation"] += 1
        if kind.plural == "namespaces":
            marked["status"] = {**marked.get("status", {}), "phase": "Terminating"}
        return served(kind, self.store.put(kind.resource, key, marked))

    def finalize_namespace(self, kind: ResourceType, key: Key, body: Json) -> Written:
        """The finalize subresource of a namespace: its spec.finalizers as sent; without any it goes, once deleted."""
        live = duplicate(self._live(kind, key))
        live["spec"] = {"finalizers": at(body, ("spec", "finalizers")) or []}
        return Written(self._stored(kind, key, live))

    def _apply(self, kind: ResourceType, key: Key, config: Any, write: Write) -> Written:
        if not isinstance(config, dict):
            raise bad_request("error decoding YAML: it is no object")
        if at(config, ("metadata", "managedFields")):
            raise bad_request("metadata.managedFields must be nil")
        if not (config.get("apiVersion") and config.get("kind")):
            raise bad_request(f"invalid object type: {config.get('apiVersion', '/')}, Kind={config.get('kind', '')}")
        metadata = {"name": key.name, **(config.get("metadata") or {})}
        self._check_address(kind, key.namespace, config)
        self._check_name(key, {"metadata": metadata})
        if faults := [*typed_faults(config, whole_schema(kind))]:
            raise untyped(f"{kind.group}/{kind.version}, Kind={kind.kind}", f"{key.namespace}/{key.name}", faults)
        unknown: list[str] = []
        decoded = self._admission.decoded(kind, {**config, "metadata": metadata}, unknown)
        if kind.namespaced:
            decoded["metadata"]["namespace"] = key.namespace
        if write.subresource == "status":
            decoded = {name: decoded[name] for name in ("apiVersion", "kind", "metadata", "status") if name in decoded}
            decoded["metadata"] = {name: item for name, item in metadata.items() if name in {"name", "resourceVersion"}}
        elif kind.has_status:
            decoded.pop("status", None)
        warnings = _warnings(unknown, write)
        writer = Writer(write.manager, "Apply", kind.api_version, write.subresource)
        live = self.store.get(kind.resource, key)
        if live is None and write.subresource:
            raise not_found(kind.group, kind.plural, key.name)
        if live is None:
            if told := decoded["metadata"].get("uid"):
                why = f"uid mismatch: the provided object specified uid {told}, and no existing object was found"
                raise conflict(kind.group, kind.plural, key.name, why)
            decoded["metadata"].pop("resourceVersion", None)
            fresh = applied({"metadata": {}}, decoded, whole_schema(kind), writer, self.now(), force=True)
            return Written(self._inserted(kind, fresh, write, owned=True), created=True, warnings=warnings)
        _check_uid(kind, live, decoded)
        schema = whole_schema(kind)
        outcome = applied(served(kind, live), decoded, schema, writer, self.now(), force=write.force)
        return self._changed(kind, key, live, outcome, write, owned=True, warnings=warnings)

    def _inserted(self, kind: ResourceType, decoded: Json, write: Write, *, owned: bool = False) -> Json:
        self._check_namespace(kind, decoded)
        created = self._admission.for_create(kind, decoded, self.now())
        key = Key(created["metadata"].get("namespace", ""), created["metadata"]["name"])
        if self.store.get(kind.resource, key) is not None:
            raise already_exists(kind.group, kind.plural, key.name)
        if not owned:
            writer = Writer(write.manager, "Update", kind.api_version)
            told = _as_told(kind, created, decoded)
            told = owned_after_update(None, told, whole_schema(kind), writer, self.now())
            if managed := told["metadata"].get("managedFields"):
                created["metadata"]["managedFields"] = managed
        if write.dry_run:
            return created
        return served(kind, self.store.put(kind.resource, key, _as_stored(kind, created)))

    def _changed(
        self,
        kind: ResourceType,
        key: Key,
        live: Json,
        body: Json,
        write: Write,
        *,
        owned: bool = False,
        warnings: tuple[str, ...] = (),
    ) -> Written:
        """Store a body in place of the live object, if anything is different."""
        sent = body.get("metadata") or {}
        if sent.get("uid") not in {None, "", live["metadata"]["uid"]}:
            why = f"Precondition failed: UID in precondition: {sent['uid']}, UID in object meta: "
            raise conflict(kind.group, kind.plural, key.name, why + live["metadata"]["uid"])
        if sent.get("resourceVersion") not in {None, "", live["metadata"]["resourceVersion"]}:
            raise modified(kind.group, kind.plural, key.name)
        told = sent.get("deletionTimestamp")
        if told not in {None, live["metadata"].get("deletionTimestamp")}:
            why = f"Invalid value: {json.dumps(told)}: field is immutable"
            raise invalid(
                kind.group, kind.kind, key.name, [Cause("FieldValueInvalid", "metadata.deletionTimestamp", why)]
            )
        unknown: list[str] = []
        decoded = self._admission.decoded(kind, body, unknown)
        warnings = warnings or _warnings(unknown, write)
        shown = served(kind, live)
        changed = self._admission.for_update(kind, shown, decoded, write.subresource)
        if not owned:
            writer = Writer(write.manager, "Update", kind.api_version, write.subresource)
            changed = owned_after_update(shown, changed, whole_schema(kind), writer, self.now())
        changed["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"]
        if changed == shown or write.dry_run:
            return Written(shown if changed == shown else changed, warnings=warnings)
        return Written(self._stored(kind, key, changed), warnings=warnings)

    def _stored(self, kind: ResourceType, key: Key, changed: Json) -> Json:
        stored = self.store.put(kind.resource, key, _as_stored(kind, changed))
        held = finalizers(stored) or (kind.plural == "namespaces" and at(stored, ("spec", "finalizers")))
        if is_terminating(stored) and not held:
            stored = self.store.remove(kind.resource, key)
        return served(kind, stored)

    def _live(self, kind: ResourceType, key: Key) -> Json:
        live = self.store.get(kind.resource, key)
        if live is None:
            raise not_found(kind.group, kind.plural, key.name)
        return live

    def _check_address(self, kind: ResourceType, namespace: str, body: Json) -> None:
        told = at(body, ("metadata", "namespace"))
        if told and told != namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        version, name = body.get("apiVersion"), body.get("kind")
        if kind.custom and not (version and name):
            raise bad_request(f"the object provided is unrecognized (must be of type {kind.kind})")
        if version not in {None, kind.api_version} or (name not in {None, kind.kind} and not kind.custom):
            message = f"{name} in version {json.dumps(version)} cannot be handled as a {kind.kind}"
            raise bad_request(message)
        if name not in {None, kind.kind}:
            cause = Cause("FieldValueInvalid", "kind", f"Invalid value: {json.dumps(name)}: must be {kind.kind}")
            raise invalid(kind.group, str(name), at(body, ("metadata", "name")) or "", [cause])

    def _check_name(self, key: Key, body: Json) -> None:
        told = at(body, ("metadata", "name"))
        if told != key.name:
            raise bad_request(f"the name of the object ({told}) does not match the name on the URL ({key.name})")

    def _check_namespace(self, kind: ResourceType, body: Json) -> None:
        if not kind.namespaced:
            return
        name = body["metadata"]["namespace"]
        namespace = self.store.get(("", "namespaces"), Key("", name))
        if namespace is None:
            raise not_found("", "namespaces", name)
        if is_terminating(namespace):
            why = f"unable to create new content in namespace {name} because it is being terminated"
            cause = Cause("NamespaceTerminating", "metadata.namespace", f"namespace {name} is being terminated")
            raise forbidden(kind.group, kind.plural, body["metadata"].get("name", ""), why, [cause])


def served(kind: ResourceType, stored: Json) -> Json:
    """A stored object as the version of the kind shows it: conversion between versions changes nothing else."""
    return {**stored, "apiVersion": kind.api_version, "kind": kind.kind, "metadata": {**stored["metadata"]}}


def _as_told(kind: ResourceType, created: Json, decoded: Json) -> Json:
    """A new object without what the server gave it: that is nobody's until somebody states it."""
    given = {"namespaces": ("finalizers",), "services": ADDRESS_FIELDS}.get(kind.plural, ())
    spec = {
        name: item
        for name, item in (created.get("spec") or {}).items()
        if name not in given or name in (decoded.get("spec") or {})
    }
    rest = {name: item for name, item in created.items() if name not in {"spec", "status"} or not given}
    return {**rest, "spec": spec} if given and spec else rest


def _check_uid(kind: ResourceType, live: Json, body: Json) -> None:
    told = at(body, ("metadata", "uid"))
    if told not in {None, "", live["metadata"]["uid"]}:
        cause = Cause("FieldValueInvalid", "metadata.uid", f"Invalid value: {json.dumps(told)}: field is immutable")
        raise invalid(kind.group, kind.kind, live["metadata"]["name"], [cause])


def _as_stored(kind: ResourceType, body: Json) -> Json:
    return {**body, "apiVersion": kind.stored_api_version}


def _propagation(options: Json) -> list[str]:
    if options.get("orphanDependents"):
        return [ORPHAN]
    return {"Foreground": [FOREGROUND], "Orphan": [ORPHAN]}.get(options.get("propagationPolicy", ""), [])


def _warnings(unknown: list[str], write: Write) -> tuple[str, ...]:
    """Fields that nobody knows: refused if the request is strict, else told."""
    told = [f"unknown field {json.dumps(path)}" for path in unknown]
    if told and write.validation == "Strict":
        raise bad_request(f"strict decoding error: {', '.join(told)}")
    return tuple(told) if write.validation == "Warn" else ()
