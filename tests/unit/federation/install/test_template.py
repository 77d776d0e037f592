"""Templates filled in with values."""

from __future__ import annotations

import pytest

from federation.install.template import (
    Digest,
    Either,
    Every,
    Given,
    Is,
    Json,
    Node,
    Not,
    Value,
    When,
    evaluate,
    if_given,
    paths_of,
    text,
)

VALUES = {"name": "east", "count": 3, "on": True, "off": False, "none": "", "deep": {"er": [1, 2]}}


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (Value("deep.er"), [1, 2]),
        (text("{}-{}", "name", "count"), "east-3"),
        ({"a": if_given("name"), "b": if_given("none")}, {"a": "east"}),
        (("x", When(Given("off"), "y"), When(Given("on"), "z")), ["x", "z"]),
        (Either(Is("name", "east"), 1, 2), 1),
        (Either(Is("name", "west"), 1, 2), 2),
        (When(Every((Given("on"), Not(Given("off")))), {"kind": "A"}), {"kind": "A"}),
        (When(Every((Given("on"), Given("off"))), {"kind": "A"}), None),
        ({"list": ({"n": 1}, True)}, {"list": [{"n": 1}, True]}),
    ],
)
def test_what_values_decide_is_filled_in(node: Node, expected: object) -> None:
    """Entries, items and documents are there under their condition, and values stand as they are."""
    assert evaluate(node, VALUES) == expected


def test_json_is_that_of_helm() -> None:
    """Sorted, without blanks, whole numbers whole, HTML escaped; what is laid over it wins, deeply."""
    values = {"own": {"z": 3.0, "b": {"x": "<&>", "y": [1.5, 2.0]}, "none": {}}, "name": "east"}
    node = Json("own", {"b": {"x2": Value("name")}, "none": {"deep": "er"}})
    assert evaluate(node, values) == (
        r'{"b":{"x":"\u003c\u0026\u003e","x2":"east","y":[1.5,2]},"none":{"deep":"er"},"z":3}'
    )
    assert len(str(evaluate(Digest(node), values))) == 64
    assert sorted(paths_of(Digest(node))) == ["name", "own"]


def test_a_path_that_leads_nowhere_is_an_error() -> None:
    """A misspelt path never means nothing."""
    with pytest.raises(KeyError, match="deep\\.est"):
        evaluate({"a": if_given("deep.est")}, VALUES)


def test_holes_and_paths_are_as_many() -> None:
    """A form with another number of holes is refused where it is written."""
    with pytest.raises(ValueError, match="1 holes for 2 paths"):
        text("{}", "name", "count")


def test_all_paths_are_found() -> None:
    """Every path that a template or its conditions ask for is told."""
    node: Node = (
        When(Every((Given("a"), Not(Is("b", "x")))), {"k": Value("c")}),
        Either(Given("d"), text("{}", "e"), ("f", Value("g"))),
    )
    assert sorted(paths_of(node)) == ["a", "b", "c", "d", "e", "g"]
