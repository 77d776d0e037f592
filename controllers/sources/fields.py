"""Typed access to an untrusted object: every wrong type or value is noted with its field path, and reading goes on.

Pure. Readers get a harmless placeholder for what is wrong, so that one reading finds all that is wrong with an object;
an object with a problem is not used, and the placeholders never get further. Null means absent, as in Kubernetes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from sys import intern
from typing import TypeVar

from federation.model.problems import Problem

T = TypeVar("T")


class Fields:
    """A mapping inside an object, and the list of problems that all parts of the object share."""

    __slots__ = ("_path", "_problems", "_raw")

    def __init__(self, raw: Mapping[str, object], path: str, problems: list[Problem]) -> None:
        self._raw = raw
        self._path = path
        self._problems = problems

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All that was noted so far, in any part of the object; their subjects are empty."""
        return tuple(self._problems)

    def path(self, key: str) -> str:
        """The path of a field inside; a key that has dots of its own is put in brackets."""
        if "." in key:
            return f"{self._path}[{key}]"
        return f"{self._path}.{key}" if self._path else key

    @property
    def names(self) -> tuple[str, ...]:
        """The fields that are there, those without a value among them."""
        return tuple(self._raw)

    def has(self, key: str) -> bool:
        return self._raw.get(key) is not None

    def blank(self, key: str) -> bool:
        return self._raw.get(key) in (None, "")

    def note(self, key: str, reason: str, message: str) -> None:
        """Record what is wrong with a field; an empty ``key`` means the mapping itself."""
        self._problems.append(Problem("", reason, message, self.path(key) if key else self._path))

    def text(self, key: str, default: str = "") -> str:
        value = self._typed(key, str, "a string")
        return default if value is None else value

    def word(self, key: str) -> str:
        """A string that many objects have, such as a namespace or a zone: kept once, however many they are."""
        return intern(self.text(key))

    def required_text(self, key: str) -> str:
        if not self.has(key):
            self.note(key, "Required", "is required")
        return self.text(key)

    def optional_text(self, key: str) -> str | None:
        return self._typed(key, str, "a string")

    def boolean(self, key: str, *, default: bool) -> bool:
        value = self._typed(key, bool, "a boolean")
        return default if value is None else value

    def choice(self, key: str, allowed: Collection[str], default: str) -> str:
        """One of a fixed set of words, the default where the field is absent."""
        value = self.text(key, default)
        if self.has(key) and isinstance(self._raw[key], str) and value not in allowed:
            self.note(key, "InvalidValue", f"{value!r} is none of {', '.join(sorted(allowed))}")
            return default
        return value if value is default else intern(value)

    def integer(self, key: str, low: int, high: int) -> int | None:
        """An integer in a range, bounds included; None where it is absent or wrong."""
        value = self._typed(key, int, "an integer")
        if value is not None and not low <= value <= high:
            self.note(key, "InvalidValue", f"{value} is not from {low} to {high}")
            return None
        return value

    def required_integer(self, key: str, low: int, high: int) -> int:
        if not self.has(key):
            self.note(key, "Required", "is required")
        value = self.integer(key, low, high)
        return low if value is None else value

    def section(self, key: str) -> Fields:
        """A mapping inside; an empty one where it is absent or wrong."""
        value = self._typed(key, dict, "a mapping")
        return Fields({} if value is None else value, self.path(key), self._problems)

    def sections(self, key: str) -> Iterator[Fields]:
        """The items of a list of mappings; those of another type are noted and left out."""
        for index, item in enumerate(self._items(key)):
            path = f"{self.path(key)}[{index}]"
            if isinstance(item, dict):
                yield Fields(item, path, self._problems)
            else:
                self._problems.append(Problem("", "WrongType", f"must be a mapping, is {_kind(item)}", path))

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings; items of another type are noted and left out."""
        found: list[str] = []
        for index, item in enumerate(self._items(key)):
            if isinstance(item, str):
                found.append(item)
            else:
                path = f"{self.path(key)}[{index}]"
                self._problems.append(Problem("", "WrongType", f"must be a string, is {_kind(item)}", path))
        return tuple(found)

    def text_map(self, key: str) -> dict[str, str]:
        """A mapping of strings to strings, such as labels; values of another type are noted and left out."""
        found: dict[str, str] = {}
        for name, value in (self._typed(key, dict, "a mapping") or {}).items():
            if isinstance(value, str):
                found[name] = value
            else:
                path = f"{self.path(key)}[{name}]"
                self._problems.append(Problem("", "WrongType", f"must be a string, is {_kind(value)}", path))
        return found

    def require_items(self, key: str) -> None:
        """Note a list that is absent or empty."""
        if not self.has(key):
            self.note(key, "Required", "is required")
        elif self._raw[key] == []:
            self.note(key, "Required", "must not be empty")

    def _items(self, key: str) -> list[object]:
        return self._typed(key, list, "a list") or []

    def _typed(self, key: str, wanted: type[T], name: str) -> T | None:
        value = self._raw.get(key)
        if value is None:
            return None
        # A boolean is an int to Python, not to Kubernetes.
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            self.note(key, "WrongType", f"must be {name}, is {_kind(value)}")
            return None
        return value


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "a mapping"
