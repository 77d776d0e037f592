"""Who owns which field: managedFields after an update, and server-side apply with its conflicts. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from support.kube.field_sets import (
    Path,
    from_fields_v1,
    leaves,
    merged,
    removed,
    spelt,
    to_fields_v1,
    without_system_fields,
)
from support.kube.objects import Json, at
from support.kube.refusals import Cause, apply_conflict


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes, and how: what an entry of managedFields is known by."""

    manager: str
    operation: str
    api_version: str
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """The fields of one writer, and when they last changed."""

    writer: Writer
    fields: frozenset[Path]
    time: str


def entries_of(body: Json | None) -> list[Entry]:
    """The entries of an object's managedFields."""
    return [_parsed(one) for one in at(body, ("metadata", "managedFields")) or ()]


def _parsed(one: Json) -> Entry:
    writer = Writer(one["manager"], one["operation"], one["apiVersion"], one.get("subresource", ""))
    return Entry(writer, from_fields_v1(one.get("fieldsV1") or {}), one["time"])


def with_entries(body: Json, entries: Sequence[Entry]) -> Json:
    """The body with these managedFields, those without fields left out."""
    listed = [_as_json(entry) for entry in entries if entry.fields]
    metadata = {name: item for name, item in body["metadata"].items() if name != "managedFields"}
    return {**body, "metadata": {**metadata, **({"managedFields": listed} if listed else {})}}


def _as_json(entry: Entry) -> Json:
    writer = entry.writer
    return {
        "manager": writer.manager,
        "operation": writer.operation,
        "apiVersion": writer.api_version,
        "time": entry.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": to_fields_v1(entry.fields),
        **({"subresource": writer.subresource} if writer.subresource else {}),
    }


def _is_of(entry: Entry, writer: Writer) -> bool:
    """Whether the entry is that writer's; the API version of an apply may move on without a second entry."""
    one, other = entry.writer, writer
    same = (one.manager, one.operation, one.subresource) == (other.manager, other.operation, other.subresource)
    return same and (one.operation == "Apply" or one.api_version == other.api_version)


def owned_after_update(live: Json | None, new: Json, schema: Json | None, writer: Writer, now: str) -> Json:
    """The new object with its managedFields: what an update changed is the writer's alone."""
    before = leaves(without_system_fields(live), schema) if live else {}
    after = leaves(without_system_fields(new), schema)
    changed = frozenset(path for path, value in after.items() if path not in before or before[path] != value)
    gone = frozenset(before.keys() - after.keys())
    kept: list[Entry] = []
    own = Entry(writer, frozenset(), now)
    for entry in entries_of(live):
        if _is_of(entry, writer):
            own = entry
        else:
            kept.append(replace(entry, fields=entry.fields - changed - gone))
    fields = (own.fields | changed) - gone
    return with_entries(new, [*kept, own if fields == own.fields else replace(own, fields=fields, time=now)])


def applied(live: Json, config: Json, schema: Json | None, writer: Writer, now: str, *, force: bool) -> Json:
    """The live object after server-side apply of the config; raises a 409 that names the managers in the way."""
    wanted = leaves(without_system_fields(config), schema)
    current = leaves(without_system_fields(live), schema)
    entries = entries_of(live)
    previous = next((entry for entry in entries if _is_of(entry, writer)), None)
    others = [entry for entry in entries if entry is not previous]

    def contested(entry: Entry) -> frozenset[Path]:
        return frozenset(path for path in entry.fields & wanted.keys() if current.get(path) != wanted[path])

    causes = [
        Cause("FieldManagerConflict", spelt(path), _told(entry.writer))
        for entry in others
        for path in sorted(contested(entry))
    ]
    if causes and not force:
        raise apply_conflict(causes)
    others = [replace(entry, fields=entry.fields - contested(entry)) for entry in others]

    outcome: Json = merged(live, config, schema)
    if previous is not None:
        elsewhere = frozenset(path for entry in others for path in entry.fields)
        dropped = previous.fields - wanted.keys()
        outcome = removed(outcome, schema, (path for path in dropped if not _is_held(path, elsewhere)))
        # A map goes with its last field, unless it is stated itself.
        outcome = merged(outcome, config, schema)
    fields = frozenset(wanted)
    unchanged = previous is not None and previous.fields == fields and previous.writer == writer
    own = previous if previous is not None and unchanged else Entry(writer, fields, now)
    return with_entries(outcome, [*others, own])


def _is_held(path: Path, elsewhere: frozenset[Path]) -> bool:
    """Whether others own the field or, where it makes an item of a list what it is, anything inside that item."""
    is_key = len(path) > 1 and path[-2].startswith("k:") and path[-1][2:] in json.loads(path[-2][2:])
    prefix = path[:-1] if path[-1] == "." or is_key else path
    return any(other[: len(prefix)] == prefix for other in elsewhere)


def _told(writer: Writer) -> str:
    subresource = f' with subresource "{writer.subresource}"' if writer.subresource else ""
    return f'conflict with "{writer.manager}"{subresource} using {writer.api_version}'
