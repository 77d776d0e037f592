"""Structural schemas: what they prune, what they default, and what they refuse. Pure.

Of a CRD's validation all is here but CEL (x-kubernetes-validations), which is not evaluated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any

from support.kube.objects import Json, duplicate
from support.kube.refusals import Cause

PRESERVE = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING = "x-kubernetes-int-or-string"
LIST_TYPE = "x-kubernetes-list-type"
LIST_KEYS = "x-kubernetes-list-map-keys"
MICROSECONDS = "micro-time"
"""The format of metav1.MicroTime: a time with exactly six digits of a second."""
MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}
_BOUNDS = {"int32": 2**31, "int64": 2**63}


def child(schema: Json | None, name: str) -> Json | None:
    """The schema of a field, None where any value is kept as it is."""
    if schema is None:
        return None
    properties = schema.get("properties") or {}
    if name in properties:
        found: Json = properties[name]
        return found
    extra = schema.get("additionalProperties")
    return extra if isinstance(extra, dict) else None


def _is_known(schema: Json, name: str) -> bool:
    extra = schema.get("additionalProperties")
    return name in (schema.get("properties") or {}) or isinstance(extra, dict) or extra is True


def pruned(value: Any, schema: Json | None, unknown: list[str], path: str = "") -> Any:
    """The value without the fields that the schema does not know; their paths are added to ``unknown``."""
    if schema is None:
        return value
    if isinstance(value, list):
        return [pruned(item, schema.get("items"), unknown, f"{path}[{at}]") for at, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    kept: Json = {}
    for name, item in value.items():
        where = f"{path}.{name}" if path else name
        if _is_known(schema, name):
            kept[name] = pruned(item, child(schema, name), unknown, where)
        elif schema.get(PRESERVE):
            kept[name] = item
        else:
            unknown.append(where)
    return kept


def defaulted(value: Any, schema: Json | None) -> Any:
    """The value with the schema's defaults in it; a null where none may be counts as absent."""
    if schema is None:
        return value
    if isinstance(value, list):
        return [defaulted(item, schema.get("items")) for item in value]
    if not isinstance(value, dict):
        return value
    filled: Json = {}
    for name, item in value.items():
        inner = child(schema, name)
        if item is None and inner is not None and not inner.get("nullable"):
            continue
        filled[name] = defaulted(item, inner)
    for name, inner in (schema.get("properties") or {}).items():
        if name not in filled and "default" in inner:
            filled[name] = defaulted(duplicate({"": inner["default"]})[""], inner)
    return filled


def violations(value: Any, schema: Json | None, path: str = "") -> Iterator[Cause]:
    """What the schema refuses in the value, in the API server's words."""
    if schema is None:
        return
    if value is None and schema.get("nullable"):
        return
    if not _has_type(value, schema):
        yield _wrong_type(value, schema, path)
        return
    yield from _scalar_violations(value, schema, path)
    if isinstance(value, dict):
        yield from _object_violations(value, schema, path)
    if isinstance(value, list):
        yield from _list_violations(value, schema, path)


def _has_type(value: Any, schema: Json) -> bool:
    if schema.get(INT_OR_STRING):
        return isinstance(value, (int, str)) and not isinstance(value, bool)
    wanted = schema.get("type")
    if wanted is None:
        return True
    if isinstance(value, bool) and wanted != "boolean":
        return False
    return isinstance(value, _TYPES[wanted])


def _wrong_type(value: Any, schema: Json, path: str) -> Cause:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
    got = "null" if value is None else names.get(type(value), "unknown")
    wanted = schema.get("type", "integer,string")
    message = f'Invalid value: "{got}": {path} in body must be of type {wanted}: "{got}"'
    return Cause("FieldValueTypeInvalid", path, message)


def _scalar_violations(value: Any, schema: Json, path: str) -> Iterator[Cause]:
    told = json.dumps(value)
    if "enum" in schema and value not in schema["enum"]:
        supported = ", ".join(json.dumps(one) for one in schema["enum"])
        yield Cause("FieldValueNotSupported", path, f"Unsupported value: {told}: supported values: {supported}")
    if isinstance(value, str):
        yield from _text_violations(value, schema, path)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        low, high = schema.get("minimum"), schema.get("maximum")
        if low is not None and (value < low or (schema.get("exclusiveMinimum") and value == low)):
            yield _invalid(path, told, f"should be greater than or equal to {low}")
        if high is not None and (value > high or (schema.get("exclusiveMaximum") and value == high)):
            yield _invalid(path, told, f"should be less than or equal to {high}")
        bound = _BOUNDS.get(schema.get("format", ""))
        if bound is not None and not -bound <= value < bound:
            yield _invalid(path, told, f"must be of type {schema['format']}")


def _text_violations(value: str, schema: Json, path: str) -> Iterator[Cause]:
    told = json.dumps(value)
    if "pattern" in schema and not _pattern(schema["pattern"]).search(value):
        yield _invalid(path, told, f"should match '{schema['pattern']}'")
    if len(value) < schema.get("minLength", 0):
        yield _invalid(path, told, f"should be at least {schema['minLength']} chars long")
    if "maxLength" in schema and len(value) > schema["maxLength"]:
        yield Cause("FieldValueTooLong", path, f"Too long: may not be more than {schema['maxLength']} bytes")
    if schema.get("format") == MICROSECONDS and not _is_micro_time(value):
        # Go can't decode it, as if it were of another type.
        yield Cause("FieldValueTypeInvalid", path, f"Invalid value: {told}: cannot parse {path} as a time")
    if schema.get("format") == "date-time" and not _is_date_time(value):
        yield _invalid(path, told, "must be of type date-time")


def _object_violations(value: Json, schema: Json, path: str) -> Iterator[Cause]:
    for name in schema.get("required") or ():
        if name not in value:
            yield Cause("FieldValueRequired", _joined(path, name), "Required value")
    if "maxProperties" in schema and len(value) > schema["maxProperties"]:
        limit = schema["maxProperties"]
        yield Cause("FieldValueTooMany", path, f"Too many: {len(value)}: must have at most {limit} items")
    for name, item in value.items():
        yield from violations(item, child(schema, name), _joined(path, name))


def _list_violations(value: list[Any], schema: Json, path: str) -> Iterator[Cause]:
    if "maxItems" in schema and len(value) > schema["maxItems"]:
        limit = schema["maxItems"]
        yield Cause("FieldValueTooMany", path, f"Too many: {len(value)}: must have at most {limit} items")
    if len(value) < schema.get("minItems", 0):
        yield _invalid(path, str(len(value)), f"should have at least {schema['minItems']} items")
    seen: set[str] = set()
    for at, item in enumerate(value):
        where = f"{path}[{at}]"
        yield from violations(item, schema.get("items"), where)
        identity = item_identity(item, schema)
        if identity is not None and identity in seen:
            yield Cause("FieldValueDuplicate", where, f"Duplicate value: {identity}")
        seen.add(identity or "")


def item_identity(item: Any, schema: Json | None) -> str | None:
    """What makes an item of a set or of a keyed list one of its kind, as JSON; None in an atomic list."""
    kind = (schema or {}).get(LIST_TYPE)
    if kind == "set":
        return json.dumps(item, separators=(",", ":"), sort_keys=True)
    if kind != "map" or schema is None or not isinstance(item, dict):
        return None
    inner = (schema.get("items") or {}).get("properties") or {}
    keys = {name: item.get(name, inner.get(name, {}).get("default")) for name in schema[LIST_KEYS]}
    present = {name: value for name, value in keys.items() if value is not None}
    return json.dumps(present, separators=(",", ":"), sort_keys=True)


def _invalid(path: str, told: str, rule: str) -> Cause:
    return Cause("FieldValueInvalid", path, f"Invalid value: {told}: {path} in body {rule}")


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


@lru_cache(maxsize=256)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


def _is_micro_time(text: str) -> bool:
    return MICRO_TIME.fullmatch(text) is not None and _is_date_time(text)


def _is_date_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
