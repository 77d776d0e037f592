"""Values of checks."""

from __future__ import annotations

import msgspec

from controllers.checks import Check, Level


def test_a_check_is_data_for_programs() -> None:
    """Every field is there under a stable name, the level as its word."""
    assert msgspec.to_builtins(Check("clock", Level.NOTE, "is late", "set it")) == {
        "name": "clock",
        "level": "note",
        "message": "is late",
        "fix": "set it",
    }
