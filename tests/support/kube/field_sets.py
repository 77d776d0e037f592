"""Sets of fields, as managedFields writes them: what is in an object, and adding and removing by path. Pure.

A path is a tuple of the elements of FieldsV1: ``f:name`` of a map, ``k:{...}`` of a keyed list, ``v:...`` of a set, and
``.`` at its end for the item of a keyed list itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from support.kube.objects import Json
from support.kube.schema import LIST_TYPE, child, item_identity

Path = tuple[str, ...]

SYSTEM_METADATA = frozenset(
    {
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "generateName",
        "generation",
        "managedFields",
        "name",
        "namespace",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)


def without_system_fields(body: Json) -> Json:
    """The part of an object that managers own."""
    metadata = {name: item for name, item in body.get("metadata", {}).items() if name not in SYSTEM_METADATA}
    rest = {name: item for name, item in body.items() if name not in {"apiVersion", "kind", "metadata"}}
    return {**rest, "metadata": metadata} if metadata else rest


def leaves(value: Any, schema: Json | None, path: Path = ()) -> dict[Path, Any]:
    """Every field of the value that can be owned, with what it holds; containers only where they are whole or empty."""
    if isinstance(value, dict) and (schema or {}).get("x-kubernetes-map-type") != "atomic" and (value or not path):
        found: dict[Path, Any] = {}
        for name, item in value.items():
            found |= leaves(item, child(schema, name), (*path, f"f:{name}"))
        return found
    if isinstance(value, list) and schema is not None and value:
        if schema.get(LIST_TYPE) == "set":
            return {(*path, f"v:{item_identity(item, schema)}"): item for item in value}
        if schema.get(LIST_TYPE) == "map":
            found = {}
            for item in value:
                inner = (*path, f"k:{item_identity(item, schema)}")
                found |= {(*inner, "."): None, **leaves(item, schema.get("items"), inner)}
            return found
    return {path: value}


def merged(live: Any, applied: Any, schema: Json | None) -> Any:
    """The live value with all of the applied one in it: maps and keyed lists joined, sets united, the rest replaced."""
    if isinstance(live, dict) and isinstance(applied, dict):
        if (schema or {}).get("x-kubernetes-map-type") == "atomic":
            return applied
        joined = dict(live)
        for name, item in applied.items():
            joined[name] = merged(live.get(name), item, child(schema, name))
        return joined
    kind = (schema or {}).get(LIST_TYPE)
    if isinstance(live, list) and isinstance(applied, list) and kind in {"map", "set"} and schema is not None:
        items = {item_identity(item, schema): item for item in live}
        for item in applied:
            identity = item_identity(item, schema)
            items[identity] = merged(items.get(identity), item, schema.get("items"))
        return list(items.values())
    return applied


def removed(body: Json, schema: Json | None, paths: Iterable[Path]) -> Json:
    """The body without those fields; a container that loses its last field goes too."""
    for path in sorted(paths, key=lambda path: (path[-1] != ".", path)):
        body = _without(body, schema, path[:-1] if path[-1] == "." else path)
    return body


def _without(value: Any, schema: Json | None, path: Path) -> Any:
    element, rest = path[0], path[1:]
    if element.startswith("f:"):
        name = element[2:]
        if not isinstance(value, dict) or name not in value:
            return value
        kept = {key: item for key, item in value.items() if key != name}
        if not rest:
            return kept
        inner = _without(value[name], child(schema, name), rest)
        return kept if inner in ({}, []) else {**value, name: inner}
    if not isinstance(value, list) or schema is None:
        return value
    identity = element[2:]
    if not rest:
        return [item for item in value if item_identity(item, schema) != identity]
    return [
        _without(item, schema.get("items"), rest) if item_identity(item, schema) == identity else item for item in value
    ]


def to_fields_v1(paths: Iterable[Path]) -> Json:
    """The set as managedFields[].fieldsV1 shows it."""
    tree: Json = {}
    for path in sorted(paths):
        node = tree
        for element in path:
            node = node.setdefault(element, {})
    return tree


def from_fields_v1(tree: Json, path: Path = ()) -> frozenset[Path]:
    found: set[Path] = set()
    for element, inner in tree.items():
        here = (*path, element)
        found |= from_fields_v1(inner, here) if inner else {here}
    return frozenset(found)


def spelt(path: Path) -> str:
    """A path as conflicts name it: ``.spec.ports[port=80,protocol="TCP"].name``."""
    text = ""
    for element in path:
        if element.startswith("f:"):
            text += f".{element[2:]}"
        elif element.startswith("k:"):
            keys = json.loads(element[2:])
            text += "[" + ",".join(f"{name}={json.dumps(value)}" for name, value in keys.items()) + "]"
        elif element.startswith("v:"):
            text += f"[={element[2:]}]"
    return text
