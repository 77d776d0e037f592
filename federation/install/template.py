"""Manifests with holes: the one source of what is installed. Pure.

A template is plain data (mappings, lists, scalars) in which ``Value``, ``Text``, ``When`` and ``Either`` stand for what
the values of an installation decide. ``evaluate`` fills them in; ``helm`` prints the same tree in the language of Helm,
so that the two can't drift apart. What Helm can't say in a line has no node here.

A path such as ``gateway.service.type`` leads through the values; ``release.*`` is about the installation itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

NAMESPACE: Final = "release.namespace"
"""Where the installation is."""
MANAGER: Final = "release.service"
"""Who installs: the value of the label ``app.kubernetes.io/managed-by``."""


@dataclass(frozen=True, slots=True)
class Value:
    """Whatever stands in the values at a path."""

    path: str


@dataclass(frozen=True, slots=True)
class Text:
    """A string in which each ``{}`` is the value at the next path."""

    form: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Json:
    """The mapping at a path as JSON in a string, with these entries over it: of strings, numbers and Values alone."""

    path: str
    over: Entries


@dataclass(frozen=True, slots=True)
class Digest:
    """SHA-256 of such a string, in lower-case hex: another one when anything in it is."""

    of: Json


@dataclass(frozen=True, slots=True)
class Given:
    """Whether there is something at a path: neither false, zero nor empty."""

    path: str


@dataclass(frozen=True, slots=True)
class Is:
    """Whether the value at a path is this one."""

    path: str
    value: str


@dataclass(frozen=True, slots=True)
class Not:
    condition: Condition


@dataclass(frozen=True, slots=True)
class Every:
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class When:
    """An entry of a mapping, an item of a list, or a whole document, which is only there under a condition."""

    condition: Condition
    then: Node


@dataclass(frozen=True, slots=True)
class Either:
    """One of two, in the place of an entry's value or an item."""

    condition: Condition
    then: Node
    otherwise: Node


Scalar = str | int | bool
Condition = Given | Is | Not | Every
Node = Scalar | Value | Text | Json | Digest | When | Either | Mapping[str, "Node"] | tuple["Node", ...]
Entries = Mapping[str, "str | int | Value | Entries"]


def text(form: str, *paths: str) -> Text:
    """A Text; raises ValueError where holes and paths differ in number."""
    if form.count("{}") != len(paths):
        raise ValueError(f"{form!r} has {form.count('{}')} holes for {len(paths)} paths")
    return Text(form, paths)


def if_given(path: str) -> When:
    """The value at a path, where there is one."""
    return When(Given(path), Value(path))


def evaluate(node: Node, values: Mapping[str, object]) -> object:
    """The document that a template is with these values: mappings, lists and scalars. None for an absent document.

    Raises KeyError for a path that the values lack.
    """
    match node:
        case Value(path):
            return look_up(values, path)
        case Text(form, paths):
            return form.format(*(look_up(values, path) for path in paths))
        case Json(path, over):
            return _json(_laid_over(look_up(values, path), over, values))
        case Digest(of):
            return hashlib.sha256(str(evaluate(of, values)).encode()).hexdigest()
        case When(condition, then):
            return evaluate(then, values) if holds(condition, values) else None
        case Either(condition, then, otherwise):
            return evaluate(then if holds(condition, values) else otherwise, values)
        case Mapping():
            return {key: evaluate(inner, values) for key, inner in node.items() if not _is_left_out(inner, values)}
        case tuple():
            return [evaluate(item, values) for item in node if not _is_left_out(item, values)]
        case _:
            return node


def holds(condition: Condition, values: Mapping[str, object]) -> bool:
    """Whether a condition is true of the values; raises KeyError for a path that they lack."""
    match condition:
        case Given(path):
            return bool(look_up(values, path))
        case Is(path, value):
            return look_up(values, path) == value
        case Not(inner):
            return not holds(inner, values)
        case Every(conditions):
            return all(holds(one, values) for one in conditions)


def look_up(values: Mapping[str, object], path: str) -> object:
    """What stands at a path; raises KeyError where nothing does."""
    found: object = values
    for key in path.split("."):
        if not isinstance(found, Mapping) or key not in found:
            raise KeyError(path)
        found = found[key]
    return found


def paths_of(node: Node | Condition) -> Iterator[str]:
    """Every path that a template or a condition asks for."""
    match node:
        case Value(path) | Given(path) | Is(path, _):
            yield path
        case Text(_, paths):
            yield from paths
        case Json(path, over):
            yield path
            yield from _paths_in(over)
        case Digest(of):
            yield from paths_of(of)
        case Not(condition):
            yield from paths_of(condition)
        case Every(conditions):
            for one in conditions:
                yield from paths_of(one)
        case When(condition, then):
            yield from paths_of(condition)
            yield from paths_of(then)
        case Either(condition, then, otherwise):
            for inner in (condition, then, otherwise):
                yield from paths_of(inner)
        case Mapping():
            for value in node.values():
                yield from paths_of(value)
        case tuple():
            for item in node:
                yield from paths_of(item)
        case _:
            pass


def _paths_in(over: Entries) -> Iterator[str]:
    for entry in over.values():
        if isinstance(entry, Value):
            yield entry.path
        elif isinstance(entry, Mapping):
            yield from _paths_in(entry)


def _laid_over(below: object, over: Entries, values: Mapping[str, object]) -> dict[str, object]:
    merged = dict(below) if isinstance(below, Mapping) else {}
    for key, entry in over.items():
        match entry:
            case Value(path):
                merged[key] = look_up(values, path)
            case Mapping():
                merged[key] = _laid_over(merged.get(key), entry, values)
            case _:
                merged[key] = entry
    return merged


def _json(value: object) -> str:
    """As Go's encoding/json prints it, which Helm uses: sorted, without blanks, whole numbers whole, HTML escaped."""
    text = json.dumps(_whole(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _whole(value: object) -> object:
    match value:
        case float() if value.is_integer():
            return int(value)
        case Mapping():
            return {key: _whole(inner) for key, inner in value.items()}
        case list():
            return [_whole(inner) for inner in value]
        case _:
            return value


def _is_left_out(node: Node, values: Mapping[str, object]) -> bool:
    return isinstance(node, When) and not holds(node.condition, values)
