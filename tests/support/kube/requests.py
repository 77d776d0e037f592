"""What a request asks for: its path, its verb, its parameters and its body, read once. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from support.kube.authorization import Attributes
from support.kube.kinds import Catalog, ResourceType
from support.kube.objects import Json
from support.kube.patches import APPLY_PATCH
from support.kube.refusals import Cause, bad_request, invalid, not_allowed, unsupported_media
from support.kube.registry import Write
from support.kube.selectors import Selector, parse_fields, parse_labels

_NAMESPACE_PARTS = {"finalize", "status"}
MANAGER_BYTES = 128
PROPAGATION = ("Foreground", "Background", "Orphan")
_JSON, _YAML = "application/json", "application/yaml"


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names: a kind, and of it all, those of a namespace, one, or a part of one."""

    kind: ResourceType
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def target_of(catalog: Catalog, path: str) -> Target | None:
    """The resource that a path names; None for a path of another sort, or of a resource that is not served."""
    parts = [part for part in path.split("/") if part]
    match parts:
        case ["api", version, *rest]:
            group = ""
        case ["apis", group, version, *rest]:
            pass
        case _:
            return None
    namespace = ""
    if len(rest) >= 3 and rest[0] == "namespaces" and not (len(rest) == 3 and rest[2] in _NAMESPACE_PARTS):
        namespace, rest = rest[1], rest[2:]
    if not 1 <= len(rest) <= 3:
        return None
    kind = catalog.find(group, version, rest[0])
    if kind is None or (namespace and not kind.namespaced):
        return None
    name, subresource = (*rest[1:], "", "")[:2]
    if subresource and subresource not in kind.subresources:
        return None
    return Target(kind, namespace, name, subresource)


def verb_of(method: str, target: Target, query: Mapping[str, str]) -> str:
    """The verb as RBAC knows it; raises a 405 where the resource has no such verb."""
    verbs = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get", "HEAD": "get"}
    verb = verbs.get(method)
    if verb is None:
        raise not_allowed()
    whole = not target.name
    if verb == "get" and (whole or is_true(query, "watch")):
        verb = "watch" if is_true(query, "watch") else "list"
    if verb == "delete" and whole:
        verb = "deletecollection"
    creates_part = verb == "create" and target.subresource == "token"
    fits = creates_part or (whole == (verb in {"create", "list", "deletecollection"})) or verb == "watch"
    if verb not in target.kind.verbs or not fits or (target.subresource == "token" and not creates_part):
        raise not_allowed()
    if target.kind.namespaced and not target.namespace and verb not in {"list", "watch"}:
        raise not_allowed()
    return verb


def attributes_of(verb: str, target: Target, query: Mapping[str, str]) -> Attributes:
    """What authorization is asked: the name that a field selector singles out counts as the name."""
    name = target.name
    selector = query.get("fieldSelector", "")
    if not name and selector.startswith("metadata.name=") and "," not in selector:
        name = selector.removeprefix("metadata.name=").lstrip("=")
    namespace = target.namespace
    if target.kind.plural == "namespaces" and target.kind.group == "":
        namespace = target.name
    return Attributes(verb, target.kind.group, target.kind.plural, target.subresource, namespace, name)


def selector_of(target: Target, query: Mapping[str, str]) -> Selector:
    labels = parse_labels(query.get("labelSelector", ""))
    fields = parse_fields(query.get("fieldSelector", ""), target.kind.selectable)
    if target.name:
        fields = (*fields, *parse_fields(f"metadata.name={target.name}"))
    return Selector(target.namespace, labels, fields)


def write_of(verb: str, target: Target, query: Mapping[str, str], headers: Mapping[str, str], media: str) -> Write:
    """How the request writes. Its manager is named by the user agent if by nothing else; apply must name one."""
    manager = query.get("fieldManager", "")
    if verb == "patch" and media == APPLY_PATCH:
        if not manager:
            cause = Cause("FieldValueRequired", "fieldManager", "Required value: is required for apply patch")
            raise invalid("meta.k8s.io", "PatchOptions", "", [cause])
    elif is_true(query, "force"):
        cause = Cause("FieldValueForbidden", "force", "Forbidden: may not be specified for non-apply patch")
        raise invalid("meta.k8s.io", "PatchOptions", "", [cause])
    causes = []
    if len(manager) > MANAGER_BYTES:
        message = f"Too long: may not be more than {MANAGER_BYTES} bytes"
        causes.append(Cause("FieldValueTooLong", "fieldManager", message))
    if query.get("fieldValidation", "") not in {"", "Ignore", "Strict", "Warn"}:
        told = json.dumps(query["fieldValidation"])
        message = f'Unsupported value: {told}: supported values: "", "Ignore", "Strict", "Warn"'
        causes.append(Cause("FieldValueNotSupported", "fieldValidation", message))
    if query.get("dryRun", "") not in {"", "All"}:
        message = f'Unsupported value: {json.dumps([query["dryRun"]])}: supported values: "All"'
        causes.append(Cause("FieldValueNotSupported", "dryRun", message))
    if causes:
        raise invalid("meta.k8s.io", f"{verb.capitalize()}Options", "", causes)
    manager = manager or headers.get("User-Agent", "unknown").partition("/")[0][:MANAGER_BYTES]
    validation = query.get("fieldValidation") or "Warn"
    dry_run = query.get("dryRun", "") == "All"
    return Write(manager, dry_run, validation, is_true(query, "force"), target.subresource)


def media_type(headers: Mapping[str, str]) -> str:
    return headers.get("Content-Type", _JSON).partition(";")[0].strip()


def body_of(verb: str, headers: Mapping[str, str], content: bytes) -> Any:
    """The body, parsed; raises a 415 for a type that is not spoken and a 400 for what is not of its type."""
    media = media_type(headers)
    known = verb == "patch" or media in {_JSON, _YAML, ""}
    if not content and verb in {"delete", "deletecollection"}:
        return {}
    if not known:
        raise unsupported_media([_JSON, _YAML])
    try:
        value = (
            yaml.safe_load(content) if media in {_YAML, APPLY_PATCH} and content[:1] != b"{" else json.loads(content)
        )
    except (ValueError, yaml.YAMLError) as error:
        raise bad_request(f"couldn't get version/kind; json parse error: {error}") from error
    if not isinstance(value, dict) and verb != "patch":
        raise bad_request("couldn't get version/kind; json parse error: the body is no object")
    return value


def is_true(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() in {"1", "true"}


def number(query: Mapping[str, str], name: str) -> int | None:
    """A parameter that is a number, None where it is not given; raises a 400 for one that is none."""
    text = query.get(name, "")
    if not text:
        return None
    if not text.isdigit():
        raise bad_request(f'Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax')
    return int(text)


def delete_options(query: Mapping[str, str], body: Json) -> Json:
    """The options of a deletion, from the body and from the parameters, which the body overrides."""
    named = {name: query[name] for name in ("propagationPolicy",) if query.get(name)}
    dry_run = {"dryRun": ["All"]} if query.get("dryRun") == "All" else {}
    policy = body.get("propagationPolicy", named.get("propagationPolicy", "Background"))
    if policy not in PROPAGATION:
        told = f"Unsupported value: {json.dumps(policy)}: supported values: {', '.join(map(json.dumps, PROPAGATION))}"
        cause = Cause("FieldValueNotSupported", "propagationPolicy", told)
        raise invalid("meta.k8s.io", "DeleteOptions", "", [cause])
    orphan = {"orphanDependents": True} if is_true(query, "orphanDependents") else {}
    return {**named, **dry_run, **orphan, **body}
