"""Table output, as kubectl asks for it: the columns of a CRD, name and age for all else. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from support.kube.kinds import ResourceType
from support.kube.objects import Json

_STEP = re.compile(
    r"""\.(?P<name>[\w-]+)|\['(?P<quoted>[^']+)'\]|\[(?P<at>\d+|\*)\]|\[\?\(@\.(?P<key>\w+)\s*==\s*["'](?P<value>[^"']*)["']\)\]"""
)
_AGE: Json = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def wants_table(accept: str) -> bool:
    """Whether a table is what the client would rather have."""
    return "as=Table" in accept.partition(",")[0] or ("as=Table" in accept and "g=meta.k8s.io" in accept)


def table(kind: ResourceType, bodies: Sequence[Json], metadata: Json, now: datetime, *, headers: bool = True) -> Json:
    """A meta.k8s.io/v1 Table of these objects, each row with the object's metadata."""
    columns = [*kind.columns, *([] if kind.columns else [_AGE])]
    shown: list[Json] = [{"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}]
    shown += [
        {
            "name": column["name"],
            "type": "string" if column["type"] == "date" else column["type"],
            "format": column.get("format", ""),
            "description": column.get("description", ""),
            "priority": column.get("priority", 0),
        }
        for column in columns
    ]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": shown if headers else None,
        "rows": [_row(columns, body, now) for body in bodies],
    }


def _row(columns: Sequence[Json], body: Json, now: datetime) -> Json:
    partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": body["metadata"]}
    return {"cells": [body["metadata"]["name"], *(_cell(column, body, now) for column in columns)], "object": partial}


def _cell(column: Json, body: Json, now: datetime) -> Any:
    found = select(body, column["jsonPath"])
    if not found:
        return None
    value = found[0]
    if column["type"] == "date":
        return _age(now - datetime.fromisoformat(value)) if isinstance(value, str) else "<unknown>"
    if isinstance(value, (dict, list)):
        return json.dumps(value, separators=(",", ":"))
    if column["type"] == "string":
        return str(value).lower() if isinstance(value, bool) else str(value)
    return value


def select(body: Any, path: str) -> list[Any]:
    """What a JSONPath finds: fields, quoted fields, indexes, ``[*]`` and ``[?(@.name=="value")]``, no more."""
    found = [body]
    for step in _STEP.finditer(path):
        name, index = step["name"] or step["quoted"], step["at"]
        if name is not None:
            found = [one[name] for one in found if isinstance(one, dict) and name in one]
        elif index is not None:
            lists = [one for one in found if isinstance(one, list)]
            found = [item for one in lists for item in (one if index == "*" else one[int(index) : int(index) + 1])]
        else:
            items = [item for one in found if isinstance(one, list) for item in one if isinstance(item, dict)]
            found = [item for item in items if item.get(step["key"]) == step["value"]]
    return found


def _age(span: timedelta) -> str:
    seconds = max(int(span.total_seconds()), 0)
    for unit, size, limit in (("s", 1, 120), ("m", 60, 120 * 60), ("h", 3600, 48 * 3600)):
        if seconds < limit:
            return f"{seconds // size}{unit}"
    return f"{seconds // 86400}d"
