"""Imports beyond the cases of tests/golden/mcs: what of the exported labels and annotations an API server takes."""

from __future__ import annotations

import pytest

from controllers.mcs.derived_service import Allocation
from controllers.mcs.service_import import build_import
from support.builders import merged_service

NO_ADDRESS = Allocation((), ())


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("team", "a", True),
        ("example.com/team", "", True),
        ("A_b.c", "A_b.c", True),
        ("a" * 63, "a" * 63, True),
        ("a" * 64, "a", False),
        ("team", "a" * 64, False),
        ("", "a", False),
        ("/team", "a", False),
        ("Example.com/team", "a", False),
        ("a/b/c", "a", False),
        (f"{'a' * 254}/team", "a", False),
        ("team", "two words", False),
        ("team", "a\n", False),
    ],
)
def test_labels_are_those_that_kubernetes_takes(name: str, value: str, *, accepted: bool) -> None:
    """A qualified name and a label value; anything else is left out, and told."""
    built, problems = build_import(merged_service(labels={name: value}), NO_ADDRESS)

    assert built.labels == (((name, value),) if accepted else ())
    assert [(one.subject, one.path) for one in problems] == (
        [] if accepted else [("ServiceImport demo/echo", "exportedLabels")]
    )


def test_annotations_take_any_text_and_upper_case_names() -> None:
    """Kubernetes looks at an annotation's name in lower case, and not at its value."""
    pairs = {"Example.com/Note": "two words\nand a line"}
    built, problems = build_import(merged_service(annotations=pairs), NO_ADDRESS)

    assert (dict(built.annotations), problems) == (pairs, ())


def test_annotations_that_are_too_large_together_are_left_out() -> None:
    """All of them, since nobody could say which; 256 KiB is still taken."""
    half = 128 * 1024 - 1
    fitting, none = build_import(merged_service(annotations={"a": "x" * half, "b": "x" * half}), NO_ADDRESS)
    without, problems = build_import(merged_service(annotations={"a": "x" * half, "b": "x" * (half + 1)}), NO_ADDRESS)

    assert (len(fitting.annotations), none) == (2, ())
    assert (without.annotations, [one.path for one in problems]) == ((), ["exportedAnnotations"])
