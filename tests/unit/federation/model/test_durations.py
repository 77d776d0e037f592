"""Durations: the grammar of GEP-2257."""

from __future__ import annotations

from datetime import timedelta

import pytest

from federation.model.durations import parse_duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("90s", timedelta(seconds=90)),
        ("5m", timedelta(minutes=5)),
        ("24h", timedelta(hours=24)),
        ("1h30m10s5ms", timedelta(hours=1, minutes=30, seconds=10, milliseconds=5)),
        ("0s", timedelta()),
    ],
)
def test_reads_every_unit_alone_and_together(text: str, expected: timedelta) -> None:
    """A duration is the sum of its parts."""
    assert expected == parse_duration(text)


@pytest.mark.parametrize("text", ["", "5", "-5s", "1.5h", "5 s", "5d", "100000s", "1h1h1h1h1h", "s", "5sec", "٥s"])
def test_refuses_anything_else(text: str) -> None:
    """Bare numbers, signs, fractions, blanks and unknown units are no durations."""
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)
