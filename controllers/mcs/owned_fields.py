"""Which fields of an object are ours, and whether the object is as we state it (server-side apply). Pure.

An object needs a write where a field that we state is another, or where we own a field that we state no more: that one
goes only if we apply again without it. Fields of others are none of our business. Owners stand in
``metadata.managedFields``, so whoever reads objects for us must keep our entry there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from controllers.mcs.objects import FIELD_MANAGER, MANAGED_BY, Document, is_ours, mapping, section, sequence, text
from controllers.sources.manifests import ObjectId

# Lists whose items have owners of their own, by what tells two items apart; every other list is one value.
_KEYED: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("spec", "ports"): ("port", "protocol"),
    ("metadata", "ownerReferences"): ("uid",),
    ("status", "conditions"): ("type",),
    ("status", "clusters"): ("cluster",),
    ("webhooks", "webhooks"): ("name",),
}
_ATOMIC_PORTS: Final = "ServiceImport"
"""The kind whose ``spec.ports`` is one value; a Service's has keys."""
_NAMED_PORTS: Final = "ServiceEntry"
"""The kind whose ``spec.ports`` are told apart by their names."""


def needs_write(existing: Document | None, document: Document, subresource: str) -> bool:
    """Whether ``document`` must be applied for ``existing`` to be as it says."""
    if existing is None:
        return True
    owned = owned_fields(existing, subresource)
    if not owned:
        return True
    return not _holds(existing, document, (), text(document.get("kind"))) or not states(document, owned)


def owns(existing: Document | None, *path: str) -> bool:
    """Whether we own a field of the object itself."""
    found = owned_fields(existing or {}, "")
    for key in path:
        if f"f:{key}" not in found:
            return False
        found = mapping(found[f"f:{key}"])
    return True


def is_ours_to_write(id_: ObjectId, existing: Document) -> bool:
    """Whether an object may be written: of the kinds that we make, one that has our label, or, where somebody took the
    label away, fields of ours; of another kind any."""
    return id_.kind not in MANAGED_BY or is_ours(id_.kind, existing) or bool(owned_fields(existing, ""))


def owned_fields(existing: Document, subresource: str = "", manager: str = FIELD_MANAGER) -> Document:
    """A manager's entry of the managed fields, in the form of fieldsV1; empty where it never applied this."""
    for item in sequence(section(existing, "metadata").get("managedFields")):
        entry = mapping(item)
        if (
            entry.get("manager") == manager
            and entry.get("operation") == "Apply"
            and text(entry.get("subresource")) == subresource
        ):
            return mapping(entry.get("fieldsV1"))
    return {}


def _holds(actual: object, stated: object, path: tuple[str, ...], kind: str) -> bool:
    """Whether the object has every field as stated; it may have more."""
    if isinstance(stated, Mapping):
        found = mapping(actual)
        return all(_holds(found.get(key), value, (*path, key), kind) for key, value in stated.items())
    if isinstance(stated, list):
        keys = _keys(kind, path)
        if not keys:
            # An empty list is left out by one API server and null to another.
            return list(sequence(actual)) == stated
        return all(_holds(_item(actual, {key: item[key] for key in keys}), item, path, kind) for item in stated)
    return actual == stated


def _keys(kind: str, path: tuple[str, ...]) -> tuple[str, ...]:
    if path == ("spec", "ports") and kind in {_ATOMIC_PORTS, _NAMED_PORTS}:
        return ("name",) if kind == _NAMED_PORTS else ()
    return _KEYED.get((path[0], path[-1]), ())


def _item(items: object, selector: Mapping[str, object]) -> Document:
    for item in sequence(items):
        found = mapping(item)
        if all(found.get(key) == value for key, value in selector.items()):
            return found
    return {}


def states(stated: object, owned: Document) -> bool:
    """Whether all fields that are owned are stated still."""
    return all(_states_one(key, mapping(inner), stated) for key, inner in owned.items())


def _states_one(key: str, inner: Document, stated: object) -> bool:
    kind, _, rest = key.partition(":")
    match kind:
        case "f":
            return isinstance(stated, Mapping) and rest in stated and states(stated[rest], inner)
        case "k":
            item = _item(stated, mapping(_decoded(rest)))
            return bool(item) and states(item, inner)
        case _:
            # "." is the item itself; values ("v") and positions ("i") are never ours, since we state no such list.
            return True


def _decoded(json: str) -> object:
    try:
        return msgspec.json.decode(json)
    except msgspec.DecodeError:
        return None
