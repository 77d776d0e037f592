"""Label and field selectors, as list and watch take them. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from support.kube.names import LABEL_VALUE, is_qualified
from support.kube.objects import Json, at
from support.kube.refusals import bad_request

Requirement = Callable[[Mapping[str, str]], bool]

_SET = re.compile(r"(?P<key>\S+)\s+(?P<operator>in|notin)\s*\((?P<values>[^)]*)\)")
_EQUALITY = re.compile(r"(?P<key>[^\s!=]+)\s*(?P<operator>==|=|!=)\s*(?P<value>[^\s,]*)")
_EXISTS = re.compile(r"(?P<absent>!)?\s*(?P<key>[\w./-]+)")
_COMMA = re.compile(r",(?![^(]*\))")

FIELDS = ("metadata.name", "metadata.namespace")


@dataclass(frozen=True, slots=True)
class Selector:
    """What a list or a watch is narrowed to."""

    namespace: str = ""
    labels: tuple[Requirement, ...] = ()
    fields: tuple[Callable[[Json], bool], ...] = field(default=())

    @property
    def narrows(self) -> bool:
        """Whether labels or fields are asked for, the namespace aside."""
        return bool(self.labels or self.fields)

    def matches(self, body: Json) -> bool:
        metadata = body["metadata"]
        if self.namespace and metadata.get("namespace") != self.namespace:
            return False
        labels = metadata.get("labels") or {}
        return all(test(labels) for test in self.labels) and all(test(body) for test in self.fields)


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """The requirements of a label selector; raises a 400 for what is none."""
    return tuple(_requirement(part.strip(), text) for part in _COMMA.split(text) if part.strip())


def _requirement(part: str, whole: str) -> Requirement:
    if found := _SET.fullmatch(part):
        key, values = found["key"], {value.strip() for value in found["values"].split(",")}
        if found["operator"] == "in":
            return lambda labels: key in labels and labels[key] in values
        return lambda labels: key not in labels or labels[key] not in values
    if found := _EQUALITY.fullmatch(part):
        key, value = found["key"], found["value"]
        if not is_qualified(key) or not LABEL_VALUE.fullmatch(value):
            raise bad_request(f"unable to parse requirement: {whole}")
        if found["operator"] == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if found := _EXISTS.fullmatch(part):
        key, wanted = found["key"], found["absent"] is None
        return lambda labels: (key in labels) == wanted
    raise bad_request(f"unable to parse requirement: {whole}")


def parse_fields(text: str, extra: tuple[str, ...] = ()) -> tuple[Callable[[Json], bool], ...]:
    """The requirements of a field selector: name and namespace, and the fields that the resource adds."""
    return tuple(_field(part.strip(), extra) for part in text.split(",") if part.strip())


def _field(part: str, extra: tuple[str, ...]) -> Callable[[Json], bool]:
    found = _EQUALITY.fullmatch(part)
    if found is None:
        raise bad_request(f"invalid field selector: {part}")
    name, value, wanted = found["key"], found["value"], found["operator"] != "!="
    if name not in (*FIELDS, *extra):
        raise bad_request(f"field label not supported: {name}")
    path = tuple(name.split("."))
    return lambda body: (str(at(body, path) or "") == value) == wanted
