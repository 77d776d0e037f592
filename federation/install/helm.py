"""Templates in the language of Helm (Go templates over YAML). Pure.

Every value goes through ``toJson``, which is YAML in one line, so that none can end its line or change what is around
it. What would come out otherwise than ``template.evaluate`` says is refused here, when the chart is made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final

from federation.install.template import (
    MANAGER,
    NAMESPACE,
    Condition,
    Digest,
    Either,
    Entries,
    Every,
    Given,
    Is,
    Json,
    Node,
    Not,
    Scalar,
    Text,
    Value,
    When,
)

_RELEASE: Final[Mapping[str, str]] = {NAMESPACE: ".Release.Namespace", MANAGER: ".Release.Service"}
_PLAIN: Final = re.compile(r"[A-Za-z/][-A-Za-z0-9_./]*")
"""Strings that YAML reads as they stand, unless they are one of its words."""
_WORDS: Final = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


def print_template(node: Node) -> str:
    """One document, with the line that parts it from the one before. Raises ValueError for what Helm would render
    otherwise than ``evaluate`` does."""
    if isinstance(node, When):
        inner = print_template(node.then)
        return f"{{{{- if {_condition(node.condition)} }}}}\n{inner}{{{{- end }}}}\n"
    if not isinstance(node, Mapping):
        raise ValueError("a document is a mapping")
    return "\n".join(("---", *_entries(node, ""))) + "\n"


def _entries(node: Mapping[str, Node], indent: str) -> Iterator[str]:
    if all(isinstance(value, When) for value in node.values()):
        raise ValueError(f"every entry of {sorted(node)} may be left out, which leaves null in Helm: guard the whole")
    for key, value in node.items():
        if isinstance(value, When):
            yield f"{indent}{{{{- if {_condition(value.condition)} }}}}"
            yield from _entry(key, value.then, indent)
            yield f"{indent}{{{{- end }}}}"
        else:
            yield from _entry(key, value, indent)


def _entry(key: str, value: Node, indent: str) -> Iterator[str]:
    head = f"{indent}{_scalar(key)}:"
    match value:
        case Either(condition, then, otherwise):
            yield f"{indent}{{{{- if {_condition(condition)} }}}}"
            yield from _entry(key, then, indent)
            yield f"{indent}{{{{- else }}}}"
            yield from _entry(key, otherwise, indent)
            yield f"{indent}{{{{- end }}}}"
        case Mapping() if value:
            yield head
            yield from _entries(value, f"{indent}  ")
        case tuple() if value:
            yield head
            yield from _items(value, indent)
        case _:
            yield f"{head} {_inline(value)}"


def _items(items: tuple[Node, ...], indent: str) -> Iterator[str]:
    if all(isinstance(item, When) for item in items):
        raise ValueError("every item of a list may be left out, which leaves null in Helm: guard the whole")
    for item in items:
        match item:
            case When(condition, then):
                yield f"{indent}{{{{- if {_condition(condition)} }}}}"
                yield from _item(then, indent)
                yield f"{indent}{{{{- end }}}}"
            case Either(condition, then, otherwise):
                yield f"{indent}{{{{- if {_condition(condition)} }}}}"
                yield from _item(then, indent)
                yield f"{indent}{{{{- else }}}}"
                yield from _item(otherwise, indent)
                yield f"{indent}{{{{- end }}}}"
            case _:
                yield from _item(item, indent)


def _item(item: Node, indent: str) -> Iterator[str]:
    if isinstance(item, Mapping) and item:
        lines = list(_entries(item, f"{indent}  "))
        if isinstance(next(iter(item.values())), When | Either):
            raise ValueError(f"the first entry of an item must always be there: {sorted(item)}")
        yield f"{indent}- {lines[0].lstrip()}"
        yield from lines[1:]
    elif isinstance(item, tuple) and item:
        raise ValueError("a list in a list has no form here")
    else:
        yield f"{indent}- {_inline(item)}"


def _inline(node: Node) -> str:
    match node:
        case Value(path):
            return f"{{{{ {_reference(path)} | toJson }}}}"
        case Text(form, paths):
            if "%" in form or '"' in form or "\\" in form:
                raise ValueError(f"{form!r} can't stand in a printf")
            words = " ".join(_reference(path) for path in paths)
            return f'{{{{ printf "{form.replace("{}", "%v")}" {words} | toJson }}}}'
        case Json():
            return f"{{{{ {_json(node)} | toJson }}}}"
        case Digest(of):
            return f"{{{{ {_json(of)} | sha256sum | toJson }}}}"
        case bool() | int() | str():
            return _scalar(node)
        case Mapping():
            return "{}"
        case tuple():
            return "[]"
        case _:
            raise ValueError(f"{type(node).__name__} can't stand here")


def _json(node: Json) -> str:
    # Of merge the first one wins, deeply.
    return f"merge {_entries_over(node.over)} {_reference(node.path)} | toJson"


def _entries_over(over: Entries) -> str:
    words = []
    for key, entry in over.items():
        match entry:
            case Value(path):
                inner = _reference(path)
            case Mapping():
                inner = _entries_over(entry)
            case _:
                inner = json.dumps(entry)
        words.append(f"{json.dumps(key)} {inner}")
    return f"(dict {' '.join(words)})"


def _scalar(value: Scalar) -> str:
    if isinstance(value, str):
        if "{{" in value or "}}" in value:
            raise ValueError(f"{value!r} would be taken for a template")
        if "\n" not in value and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
            return value
    return json.dumps(value)


def _condition(condition: Condition) -> str:
    match condition:
        case Given(path):
            return _reference(path)
        case Is(path, value):
            return f"eq {_reference(path)} {json.dumps(value)}"
        case Not(inner):
            return f"not ({_condition(inner)})"
        case Every(conditions):
            return f"and {' '.join(f'({_condition(one)})' for one in conditions)}"


def _reference(path: str) -> str:
    return _RELEASE.get(path) or f".Values.{path}"
