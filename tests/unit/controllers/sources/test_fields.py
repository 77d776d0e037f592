"""Typed access: right values pass, wrong ones are noted under their path and replaced by something harmless."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from controllers.sources.fields import Fields
from federation.model.problems import Problem


def fields(raw: dict[str, Any]) -> Fields:
    return Fields(raw, "spec", [])


@pytest.mark.parametrize(
    ("value", "read", "expected"),
    [
        ("x", lambda f: f.text("k"), "x"),
        (None, lambda f: f.text("k", "default"), "default"),
        (None, lambda f: f.optional_text("k"), None),
        ("", lambda f: f.optional_text("k"), ""),
        (False, lambda f: f.boolean("k", default=True), False),
        (None, lambda f: f.boolean("k", default=True), True),
        ("x", lambda f: f.word("k"), "x"),
        (None, lambda f: f.word("k"), ""),
        ("b", lambda f: f.choice("k", {"a", "b"}, "a"), "b"),
        (None, lambda f: f.choice("k", {"a", "b"}, "a"), "a"),
        (5, lambda f: f.integer("k", 5, 5), 5),
        (None, lambda f: f.integer("k", 1, 5), None),
        (5, lambda f: f.required_integer("k", 1, 5), 5),
        (["a", "b"], lambda f: f.texts("k"), ("a", "b")),
        ({"a": "b"}, lambda f: f.text_map("k"), {"a": "b"}),
        ({"a": "b"}, lambda f: f.section("k").text("a"), "b"),
        (None, lambda f: f.section("k").text("a"), ""),
        ([{"a": "b"}], lambda f: [item.text("a") for item in f.sections("k")], ["b"]),
    ],
)
def test_right_values_pass(value: object, read: Callable[[Fields], object], expected: object) -> None:
    """A value of the right type is given back; null is as good as absent."""
    inside = fields({"k": value})

    assert read(inside) == expected
    assert inside.problems == ()


@pytest.mark.parametrize(
    ("value", "read", "placeholder", "message"),
    [
        (1, lambda f: f.text("k"), "", "must be a string, is a number"),
        (None, lambda f: f.required_text("k"), "", "is required"),
        ("true", lambda f: f.boolean("k", default=True), True, "must be a boolean, is a string"),
        ("c", lambda f: f.choice("k", {"b", "a"}, "a"), "a", "'c' is none of a, b"),
        (True, lambda f: f.integer("k", 0, 9), None, "must be an integer, is a boolean"),
        (1.0, lambda f: f.integer("k", 0, 9), None, "must be an integer, is a number"),
        (10, lambda f: f.integer("k", 0, 9), None, "10 is not from 0 to 9"),
        (None, lambda f: f.required_integer("k", 1, 9), 1, "is required"),
        ({}, lambda f: f.texts("k"), (), "must be a list, is a mapping"),
        ([], lambda f: f.section("k").has("x"), False, "must be a mapping, is a list"),
        (None, lambda f: f.require_items("k"), None, "is required"),
        ([], lambda f: f.require_items("k"), None, "must not be empty"),
    ],
)
def test_wrong_values_are_noted(
    value: object, read: Callable[[Fields], object], placeholder: object, message: str
) -> None:
    """What is wrong is noted under its path, and a placeholder is given back."""
    inside = fields({"k": value})

    assert read(inside) == placeholder
    assert [(problem.path, problem.message) for problem in inside.problems] == [("spec.k", message)]


def test_items_are_noted_one_by_one() -> None:
    """The wrong item of a list or map is left out, under a path of its own; the parts share one list of problems."""
    inside = fields({"list": ["a", None, 1], "map": {"x": "y", "a.b/c": 1}, "deep": [{"k": []}, "x"]})

    assert inside.texts("list") == ("a",)
    assert inside.text_map("map") == {"x": "y"}
    assert [item.text("k") for item in inside.sections("deep")] == [""]
    assert inside.problems == (
        Problem("", "WrongType", "must be a string, is null", "spec.list[1]"),
        Problem("", "WrongType", "must be a string, is a number", "spec.list[2]"),
        Problem("", "WrongType", "must be a string, is a number", "spec.map[a.b/c]"),
        Problem("", "WrongType", "must be a string, is a list", "spec.deep[0].k"),
        Problem("", "WrongType", "must be a mapping, is a string", "spec.deep[1]"),
    )
