"""The difference of two JSON values as a JSON Patch (RFC 6902). Pure.

Not the shortest: objects by their members; lists by what they have in common at either end, since a sidecar is put
there. Applied to the first value it always gives the second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

Operation = Mapping[str, object]


def diff(before: object, after: object, path: str = "") -> Iterator[Operation]:
    """The operations, in the order in which they are to be applied."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        yield from _members(before, after, path)
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple):
        yield from _items(before, after, path)
    # In JSON 1 and true differ, and in Python they don't; 1 and 1.0 don't in JSON, but a type may.
    elif type(before) is not type(after) or before != after:
        yield {"op": "replace", "path": path, "value": after}


def _members(before: Mapping[str, object], after: Mapping[str, object], path: str) -> Iterator[Operation]:
    for key in sorted(before.keys() - after.keys()):
        yield {"op": "remove", "path": f"{path}/{_escaped(key)}"}
    for key, value in after.items():
        at = f"{path}/{_escaped(key)}"
        if key in before:
            yield from diff(before[key], value, at)
        else:
            yield {"op": "add", "path": at, "value": value}


def _items(before: Sequence[object], after: Sequence[object], path: str) -> Iterator[Operation]:
    shorter = min(len(before), len(after))
    head = next((index for index in range(shorter) if not _equal(before[index], after[index])), shorter)
    most = shorter - head
    tail = next((index for index in range(most) if not _equal(before[-1 - index], after[-1 - index])), most)
    old, new = before[head : len(before) - tail], after[head : len(after) - tail]
    both = min(len(old), len(new))
    for index in range(both):
        yield from diff(old[index], new[index], f"{path}/{head + index}")
    for _ in range(both, len(old)):
        yield {"op": "remove", "path": f"{path}/{head + both}"}
    for index in range(both, len(new)):
        yield {"op": "add", "path": f"{path}/{head + index}", "value": new[index]}


def _equal(one: object, other: object) -> bool:
    return next(diff(one, other), None) is None


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
