"""What a check says to a person: one line, the fix behind an arrow. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import typer

from controllers.checks import Check, Level
from federation.cli.output import printable

_COLOURS = {Level.OK: "green", Level.NOTE: "yellow", Level.FAILED: "red"}


def check_lines(checks: Sequence[Check]) -> Iterator[str]:
    """One line for each finding, with its fix."""
    width = max(len(check.name) for check in checks)
    for check in checks:
        yield check_line(check, width)


def check_line(check: Check, width: int) -> str:
    """The line of one finding; a name that is longer than ``width`` moves its own line only."""
    word = typer.style(check.level.ljust(6), fg=_COLOURS[check.level])
    fix = f" -> {printable(check.fix)}" if check.fix else ""
    return f"{word}  {check.name.ljust(width)}  {printable(check.message)}{fix}"
