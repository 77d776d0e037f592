"""Manifests are read as kubectl reads them, and written so that nothing changes its meaning."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.app.manifest_text import read_stream, stream_text
from federation.model.errors import ConfigError

TEXTS = st.text(max_size=12) | st.sampled_from(
    ["yes", "no", "on", "null", "~", "1e3", "08", "0o17", "0x1F", "1_000", ".5", "+1", "22:30", "2001-01-01", "=", "<<"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=15,
)
DOCUMENTS = st.lists(VALUES.map(lambda value: {"kind": "Pod", "spec": value}), max_size=3)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0644", 0o644),
        ("yes", True),
        ("22:30", "22:30"),
        ("2001-01-01", "2001-01-01"),
        ("=", "="),
        ("1_000", 1000),
        ("0x1F", 31),
        ("-5", -5),
        ("1.5", 1.5),
        (".5", 0.5),
        ("'1e3'", "1e3"),
        ("~", None),
        ("{<<: {a: 1}, b: 2}", {"a": 1, "b": 2}),
    ],
)
def test_scalars_are_what_kubernetes_takes_them_for(text: str, value: object) -> None:
    """YAML 1.1, without time stamps and numbers to the base of 60."""
    assert read_stream(f"kind: Pod\nspec: {text}", "x") == [{"kind": "Pod", "spec": value}]


@given(DOCUMENTS)
def test_what_is_written_is_read_as_the_same(documents: list[dict[str, Any]]) -> None:
    """Whatever strings it holds."""
    assert read_stream(stream_text(documents, as_json=False), "x") == documents


@pytest.mark.parametrize("value", ["08", "1e3", "0o17", "12:30", "+1", ".5", "1_000", "-"])
def test_what_looks_like_a_number_is_quoted(value: str) -> None:
    """For parsers of other versions of YAML."""
    assert f"'{value}'" in stream_text([{"kind": value}], as_json=False)


def test_scripts_stay_readable() -> None:
    """In a block of their own."""
    assert stream_text([{"kind": "a\nb\n"}], as_json=False) == "kind: |\n  a\n  b\n"


def test_json_is_one_document() -> None:
    """A List, if there are several."""
    one, two = {"kind": "Pod"}, {"kind": "Service"}
    assert json.loads(stream_text([one], as_json=True)) == one
    assert json.loads(stream_text([one, two], as_json=True)) == {
        "apiVersion": "v1",
        "kind": "List",
        "items": [one, two],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "app.yaml is no YAML: "),
        ("a: !!python/object:os.system x", "app.yaml is no YAML: "),
        ("a: " + "[" * 5000, "app.yaml is no YAML: "),
        ("---\n- 1", "document 1 of app.yaml is no Kubernetes object"),
        ("kind: Pod\n---\nspec: {}", "document 2 of app.yaml is no Kubernetes object"),
    ],
)
def test_what_is_none_is_told(text: str, message: str) -> None:
    """With the file, and which of its documents."""
    with pytest.raises(ConfigError) as caught:
        read_stream(text, "app.yaml")
    assert str(caught.value).startswith(message)


def test_blank_documents_are_left_out() -> None:
    """As those that hold only comments."""
    assert read_stream("---\n# none\n---\nkind: Pod\n---\n", "x") == [{"kind": "Pod"}]
