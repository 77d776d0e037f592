"""JSON patch, merge patch and strategic merge patch. Pure; server-side apply is in ownership."""

from __future__ import annotations

from typing import Any

from support.kube.builtin_schemas import MERGE_KEY
from support.kube.objects import Json, duplicate
from support.kube.refusals import Refusal, bad_request
from support.kube.schema import LIST_TYPE, child

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


def json_patched(body: Json, operations: Any) -> Json:
    """RFC 6902; raises a 422 for an operation that does not fit the object, as for a test that fails."""
    if not isinstance(operations, list):
        raise bad_request("error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    holder: Json = {"": duplicate(body)}
    for operation in operations:
        try:
            _operate(holder, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            message = f"the server rejected our request due to an error in our request: {operation.get('op')} {error}"
            raise Refusal(422, "Invalid", message, details={}) from error
    patched = holder[""]
    if not isinstance(patched, dict):
        raise bad_request("patch leaves no object")
    return patched


def _operate(holder: Json, operation: Json) -> None:
    name, path = operation["op"], _pointer(operation["path"])
    match name:
        case "add":
            _add(holder, path, operation["value"])
        case "remove":
            _take(holder, path)
        case "replace":
            _take(holder, path)
            _add(holder, path, operation["value"])
        case "move":
            _add(holder, path, _take(holder, _pointer(operation["from"])))
        case "copy":
            _add(holder, path, duplicate({"": _look(holder, _pointer(operation["from"]))})[""])
        case "test":
            if _look(holder, path) != operation["value"]:
                raise ValueError(f"testing value {operation['path']} failed")
        case _:
            raise ValueError(f"unexpected kind: {name}")


def _pointer(text: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")]


def _look(holder: Any, path: list[str]) -> Any:
    for part in path:
        holder = holder[int(part)] if isinstance(holder, list) else holder[part]
    return holder


def _add(holder: Json, path: list[str], value: Any) -> None:
    parent, last = _look(holder, path[:-1]), path[-1]
    if isinstance(parent, list):
        position = len(parent) if last == "-" else int(last)
        if position > len(parent):
            raise IndexError(last)
        parent.insert(position, value)
    else:
        parent[last] = value


def _take(holder: Json, path: list[str]) -> Any:
    parent, last = _look(holder, path[:-1]), path[-1]
    return parent.pop(int(last)) if isinstance(parent, list) else parent.pop(last)


def merge_patched(value: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    joined = dict(value) if isinstance(value, dict) else {}
    for name, item in patch.items():
        if item is None:
            joined.pop(name, None)
        else:
            joined[name] = merge_patched(joined.get(name), item)
    return joined


def strategic_patched(value: Any, patch: Any, schema: Json | None) -> Any:
    """Strategic merge: keyed lists are joined by their merge key, sets are united, ``$patch`` deletes or replaces."""
    if not isinstance(patch, dict):
        return patch
    if patch.get("$patch") == "replace":
        return {name: item for name, item in patch.items() if name != "$patch"}
    joined = dict(value) if isinstance(value, dict) else {}
    for name, item in patch.items():
        if name.startswith("$deleteFromPrimitiveList/"):
            field = name.partition("/")[2]
            joined[field] = [one for one in joined.get(field) or () if one not in item]
        elif name.startswith("$"):
            continue  # the order of items and retained keys change nothing that the tests look at
        elif item is None:
            joined.pop(name, None)
        elif isinstance(item, list):
            joined[name] = _joined_list(joined.get(name) or [], item, child(schema, name))
        else:
            joined[name] = strategic_patched(joined.get(name), item, child(schema, name))
    return joined


def _joined_list(live: list[Any], patch: list[Any], schema: Json | None) -> list[Any]:
    if schema is not None and schema.get(LIST_TYPE) == "set":
        return [*live, *(item for item in patch if item not in live)]
    key = (schema or {}).get(MERGE_KEY)
    if key is None or schema is None:
        return [item for item in patch if not _is_directive(item)]
    if any(_is_directive(item) and item["$patch"] == "replace" for item in patch):
        return [item for item in patch if not _is_directive(item)]
    items = {item[key]: item for item in live}
    for item in patch:
        if key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        if _is_directive(item):
            items.pop(item[key], None)
        else:
            items[item[key]] = strategic_patched(items.get(item[key]), item, schema.get("items"))
    return list(items.values())


def _is_directive(item: Any) -> bool:
    return isinstance(item, dict) and "$patch" in item
