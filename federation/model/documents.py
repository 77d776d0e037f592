"""YAML and JSON text to plain values (dict, list, str, int, float, bool, None), strictly and within bounds.

The bottom reader of settings and manifests, both written by hand and so untrusted. It is narrower than YAML:

- scalars follow the YAML 1.2 core schema, so ``region: no`` is a string, and so is a time stamp;
- anchors, aliases and tags are refused: nobody needs them in a manifest, and aliases can grow a kilobyte to gigabytes;
- a repeated key is refused, where PyYAML would let the last one win without a word;
- nesting is bounded while the parser's events are read: libyaml's own composer recurses in C and overflows the stack.

It knows no field of any document; that is for its callers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NoReturn

import yaml

MAX_DEPTH = 64

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# A separator ends even a block scalar (YAML 1.2, section 9.1.2), so lines are all that needs looking at.
_SEPARATOR = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)
_ONLY_DIRECTIVES = re.compile(r"(?:[ \t]*(?:[%#][^\n]*)?(?:\n|\Z))*")

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
# At most 18 digits, what 64 bits hold: more is no number that any field here takes.
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,3})?")


def split_documents(text: str) -> tuple[str, ...]:
    """Cut a YAML stream at its separators; blank documents stay, so that positions count as a reader counts them.

    What precedes the first separator is no document where it holds only comments and directives.
    """
    first, *rest = _SEPARATOR.split(text.removeprefix("\ufeff"))
    if rest and _ONLY_DIRECTIVES.fullmatch(first):
        return tuple(rest)
    return (first, *rest)


def read_yaml(text: str) -> object:
    """Read one YAML document; None where it is blank. Raises ValueError, which names line and cause."""
    _refuse_foreign_bytes(text)
    try:
        events = yaml.parse(text, Loader=_LOADER)
        next(events)  # StreamStart
        if isinstance(next(events), yaml.StreamEndEvent):
            return None
        value = _read_node(events, next(events), 0)
        next(events)  # DocumentEnd
        if not isinstance(event := next(events), yaml.StreamEndEvent):
            _refuse(event, "more than one document without a separator between them")
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"line {line}: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    return value


def read_json(text: str) -> object:
    """Read one JSON document. Raises ValueError, which names line and cause."""
    _refuse_foreign_bytes(text)
    try:
        return json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_read_object, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: {error.msg.lower()}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse_foreign_bytes(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("not UTF-8") from None


def _read_node(events: Iterator[yaml.Event], event: yaml.Event, depth: int) -> object:
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
        _refuse(event, "anchors and aliases are not supported")
    if getattr(event, "tag", None) is not None:
        _refuse(event, "tags are not supported")
    if depth > MAX_DEPTH:
        _refuse(event, f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(event, yaml.ScalarEvent):
        return _read_scalar(event)
    if isinstance(event, yaml.SequenceStartEvent):
        items: list[object] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(_read_node(events, event, depth + 1))
        return items
    fields: dict[str, object] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        key = _read_node(events, event, depth + 1)
        if not isinstance(key, str):
            _refuse(event, "the key is not a string")
        if key in fields:
            _refuse(event, f"key {key!r} is repeated")
        fields[key] = _read_node(events, next(events), depth + 1)
    return fields


def _read_scalar(event: yaml.ScalarEvent) -> object:
    text: str = event.value
    if not event.implicit[0]:  # quoted, or a block
        return text
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return int(text)
    # A float of digits only is an integer too long, or one with leading zeros: octal to some readers.
    if _FLOAT.fullmatch(text) and not text.lstrip("-+").isdigit():
        return float(text)
    return text


def _refuse(event: yaml.Event, cause: str) -> NoReturn:
    line = event.start_mark.line + 1 if event.start_mark else 1
    raise ValueError(f"line {line}: {cause}")


def _read_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields: dict[str, object] = {}
    for name, value in pairs:
        if name in fields:
            raise ValueError(f"key {name!r} is repeated")
        fields[name] = value
    return fields


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
