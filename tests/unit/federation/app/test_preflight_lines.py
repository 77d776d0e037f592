"""The lines of `federation check`."""

from __future__ import annotations

from controllers.checks import Check, Level
from federation.app.preflight_lines import WIDTH, Line, failed, note, ok, trouble
from federation.model.errors import ConfigError


def test_findings_are_checks_by_level() -> None:
    """The name is the line's; only what is well needs no fix."""
    assert [ok(Line.CLOCK, "a"), note(Line.CLOCK, "b", "c"), failed(Line.CLOCK, "d", "e")] == [
        Check("clock", Level.OK, "a"),
        Check("clock", Level.NOTE, "b", "c"),
        Check("clock", Level.FAILED, "d", "e"),
    ]


def test_an_error_is_a_failure_with_its_own_next_step() -> None:
    """Or else with the one that is given."""
    errors = ConfigError("is wrong", hint="set it"), ConfigError("is wrong")
    assert [trouble(Line.SETTINGS, error, "look").fix for error in errors] == ["set it", "look"]


def test_every_name_fits_its_column() -> None:
    """Lines that are printed one by one stand below each other."""
    assert max(len(line) for line in Line) == WIDTH
