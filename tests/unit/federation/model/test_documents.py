"""The strict reader: what it takes, what it refuses, and that nothing makes it crash."""

from __future__ import annotations

import pytest

from federation.model.documents import MAX_DEPTH, read_json, read_yaml, split_documents


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1", {"a": 1}),
        ("a: '1'", {"a": "1"}),
        ("[1, -2, 0, 1.5, 1e3]", [1, -2, 0, 1.5, 1000.0]),
        ("[true, False, null, ~, ]", [True, False, None, None]),
        ("a:", {"a": None}),
        ("[no, on, 010, 0x1f, 12:30]", ["no", "on", "010", "0x1f", "12:30"]),
        ("[2026-01-02T03:04:05Z, 1.2.3.4, .nan, .inf]", ["2026-01-02T03:04:05Z", "1.2.3.4", ".nan", ".inf"]),
        ("[1234567890123456789, 00000000000000000001]", ["1234567890123456789", "00000000000000000001"]),
        ("<<: {a: 1}", {"<<": {"a": 1}}),
        ("a: |\n  x\n  y\n", {"a": "x\ny\n"}),
        ("", None),
        ("# only a comment\n", None),
        ('{"a": [1, {"b": null}]}', {"a": [1, {"b": None}]}),
    ],
)
def test_yaml_scalars_follow_the_core_schema(text: str, expected: object) -> None:
    """Only what YAML 1.2 calls a number, a boolean or null is one; all else is text."""
    assert expected == read_yaml(text)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("a: 1\nb: [", "line 3: did not find expected node content"),
        ("a: &x 1", "line 1: anchors and aliases are not supported"),
        ("a: *x", "line 1: anchors and aliases are not supported"),
        ("a: !!str 1", "line 1: tags are not supported"),
        ("a: !x {}", "line 1: tags are not supported"),
        ("a: 1\na: 2", "line 2: key 'a' is repeated"),
        ("1: 2", "line 1: the key is not a string"),
        ("? [a]\n: b", "line 1: the key is not a string"),
        ("a: 1\n--- \nb: 2", "line 2: more than one document without a separator between them"),
        ("[" * 100_000, f"line 1: nested deeper than {MAX_DEPTH} levels"),
        ("- " * 100_000, f"line 1: nested deeper than {MAX_DEPTH} levels"),
        ("a: \udc80", "not UTF-8"),
        ("a: \x01", "unacceptable character #x0001"),
    ],
)
def test_yaml_refuses_with_line_and_cause(text: str, cause: str) -> None:
    """Broken, ambiguous and dangerous text is refused with a message that leads to it."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the message is compared below
        read_yaml(text)

    assert str(caught.value).startswith(cause)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ('{"a": 1', "line 1: expecting ',' delimiter"),
        ("", "line 1: expecting value"),
        ('{"a": 1, "a": 2}', "key 'a' is repeated"),
        ("[NaN]", "NaN is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('"\udc80"', "not UTF-8"),
    ],
)
def test_json_refuses_with_cause(text: str, cause: str) -> None:
    """JSON is held to the same strictness as YAML."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the message is compared below
        read_json(text)

    assert str(caught.value).startswith(cause)


def test_json_is_read_as_json() -> None:
    """Escapes that YAML reads differently, a byte order mark and tabs are fine."""
    assert read_json('\ufeff{\t"a": "\\ud83d\\ude00", "b": [1.5, true, null]}') == {"a": "😀", "b": [1.5, True, None]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("",)),
        ("a: 1\n", ("a: 1\n",)),
        ("a: 1\n---\nb: 2\n", ("a: 1\n", "\nb: 2\n")),
        ("---\na: 1\n---\n", ("\na: 1\n", "\n")),
        ("# comment\n---\na: 1", ("\na: 1",)),
        ("\ufeff%YAML 1.2\n---\na: 1", ("\na: 1",)),
        ("a: 1\r\n---\r\nb: 2", ("a: 1\r\n", "\r\nb: 2")),
        ("a: x---\n ---\n---y\n", ("a: x---\n ---\n---y\n",)),
        ("--- {a: 1}\n--- # x", (" {a: 1}\n", " # x")),
        ("---", ("",)),
    ],
)
def test_a_stream_is_cut_at_its_separators(text: str, expected: tuple[str, ...]) -> None:
    """A separator is three dashes at the start of a line with a blank or the line's end behind."""
    assert expected == split_documents(text)
