"""What server-side apply refuses before anything else: a configuration that does not fit the resource's type. Pure.

An API server answers it with 500 and this text, whatever the field validation: fields that the schema lacks, values of
another type, and items of a set or of a keyed list that are there twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from support.kube.objects import Json
from support.kube.schema import INT_OR_STRING, LIST_KEYS, LIST_TYPE, PRESERVE, child, item_identity

_EXPECTED = {
    "object": ("map", (dict,)),
    "array": ("list", (list,)),
    "string": ("string", (str,)),
    "integer": ("numeric (int or float)", (int, float)),
    "number": ("numeric (int or float)", (int, float)),
    "boolean": ("boolean", (bool,)),
}


def typed_faults(value: Any, schema: Json | None, path: str = "") -> Iterator[str]:
    """Each fault with its path."""
    if schema is None or value is None or schema.get(INT_OR_STRING):
        return
    expected, types = _EXPECTED.get(schema.get("type", ""), ("", (object,)))
    if not isinstance(value, types) or (isinstance(value, bool) and expected.startswith("numeric")):
        yield f"{path}: expected {expected}, got {_shown(value)}"
    elif isinstance(value, dict):
        yield from _map_faults(value, schema, path)
    elif isinstance(value, list):
        yield from _list_faults(value, schema, path)


def _map_faults(value: Json, schema: Json, path: str) -> Iterator[str]:
    for name, item in value.items():
        inner = child(schema, name)
        if inner is not None:
            yield from typed_faults(item, inner, f"{path}.{name}")
        elif not schema.get(PRESERVE) and schema.get("additionalProperties") is not True:
            yield f"{path}.{name}: field not declared in schema"


def _list_faults(value: list[Any], schema: Json, path: str) -> Iterator[str]:
    seen: set[str] = set()
    for at, item in enumerate(value):
        identity = item_identity(item, schema)
        if identity is not None and identity in seen:
            yield f"{path}: duplicate entries for key [{_key(identity)}]"
        seen.add(identity or "")
        if schema.get(LIST_TYPE) == "map" and isinstance(item, dict):
            defaults = (schema.get("items") or {}).get("properties") or {}
            missing = [
                name for name in schema[LIST_KEYS] if name not in item and "default" not in defaults.get(name, {})
            ]
            for name in missing:
                yield (
                    f"{path}: element {at}: associative list with keys has an element that omits key field {name!r}"
                    " (and doesn't have default value)"
                )
        yield from typed_faults(item, schema.get("items"), f"{path}[{at}]")


def _key(identity: str) -> str:
    found = json.loads(identity)
    if not isinstance(found, dict):
        return f"={identity}"
    return ",".join(f"{name}={json.dumps(value)}" for name, value in sorted(found.items()))


def _shown(value: Any) -> str:
    return f"&value.valueUnstructured{{Value:{json.dumps(value)}}}"
