"""Fields that are ours alone: unknown ones are refused, and values have units and bounds."""

from __future__ import annotations

import pytest

from controllers.sources.fields import Fields
from controllers.sources.policy_fields import note_unknown, read_integer, read_milliseconds
from federation.model.problems import Problem


def fields(**raw: object) -> Fields:
    return Fields(raw, "spec", [])


def test_an_unknown_field_is_named_with_the_one_that_was_meant() -> None:
    """Or with all that there are."""
    section = fields(treshold=1, zone=None, order=1)

    note_unknown(section, ("order", "threshold"))

    assert section.problems == (
        Problem("", "UnknownField", "is no field, did you mean threshold?", "spec.treshold"),
        Problem("", "UnknownField", "is no field; there are order, threshold", "spec.zone"),
    )


@pytest.mark.parametrize(("text", "expected"), [("1h30m", 5_400_000), ("250ms", 250), ("0s", 0), (None, 7)])
def test_durations_are_read_in_milliseconds(text: str | None, expected: int) -> None:
    """The default where there is none."""
    section = fields(request=text)

    assert read_milliseconds(section, "request", 7) == expected
    assert section.problems == ()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("soon", "'soon' is not a duration such as 500ms, 90s or 1h30m"),
        ("25h", "'25h' is not from 0s to 24h"),
        (5, "must be a string, is a number"),
    ],
)
def test_what_is_no_duration_in_bounds_is_refused(value: object, message: str) -> None:
    """With the path, the value and the bounds; the default stands in."""
    section = fields(request=value)

    assert read_milliseconds(section, "request", 7) == 7
    assert [(one.path, one.message) for one in section.problems] == [("spec.request", message)]


def test_integers_have_bounds_and_a_default() -> None:
    """The default stands in for what is wrong, too."""
    section = fields(percent=101)

    assert read_integer(section, "percent", 20, 0, 100) == 20
    assert read_integer(section, "absent", 20, 0, 100) == 20
    assert [one.path for one in section.problems] == ["spec.percent"]
