"""Patches by RFC 6902: applied they give what was wanted, whatever the two documents are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.injection.json_patch import diff
from support.kube.patches import json_patched

SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "a/b", "~", "~1"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "a/b", "~", "m~n", "0"]), inner),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(st.sampled_from(["spec", "metadata", "x/y"]), VALUES)


@given(DOCUMENTS, DOCUMENTS)
def test_applied_it_gives_what_was_wanted(before: dict[str, Any], after: dict[str, Any]) -> None:
    """With every kind of value, and names that need escapes; 1 is not true."""
    operations = json.loads(json.dumps([*diff(before, after)]))
    assert json.dumps(json_patched(before, operations), sort_keys=True) == json.dumps(after, sort_keys=True)


@pytest.mark.parametrize(("before", "after"), [(1, True), (False, 0), (1, 1.0), ("", None), ({}, []), ([], {})])
def test_what_python_takes_for_equal_may_differ(before: object, after: object) -> None:
    """And one kind of value is put in the place of another."""
    assert [*diff({"a": before}, {"a": after})] == [{"op": "replace", "path": "/a", "value": after}]


@given(DOCUMENTS)
def test_nothing_is_patched_where_nothing_differs(document: dict[str, Any]) -> None:
    """Equal documents have no difference."""
    assert [*diff(document, json.loads(json.dumps(document)))] == []


@pytest.mark.parametrize(
    ("before", "after", "paths"),
    [
        ([1, 2], [0, 1, 2], ["add /l/0"]),
        ([1, 2], [1, 2, 3], ["add /l/2"]),
        ([1, 2, 3], [1, 3], ["remove /l/1"]),
        ([1, 2, 3], [3], ["remove /l/0", "remove /l/0"]),
        ([{"a": 1}, 2], [{"a": 2}, 2], ["replace /l/0/a"]),
        ([1, 1], [1], ["remove /l/1"]),
    ],
)
def test_lists_keep_what_they_have_in_common(before: list[Any], after: list[Any], paths: list[str]) -> None:
    """What is put at an end is added there; the rest is not named."""
    found = [f"{one['op']} {one['path']}" for one in diff({"l": before}, {"l": after})]
    assert found == paths
