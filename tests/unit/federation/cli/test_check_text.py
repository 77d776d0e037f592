"""What a check says to a person."""

from __future__ import annotations

import re

from controllers.checks import Check, Level
from federation.cli.check_text import check_line, check_lines


def plain(line: str) -> str:
    return re.sub("\x1b\\[[0-9;]*m", "", line)


def test_a_check_is_a_line_with_its_fix() -> None:
    """Level, name, finding, and behind an arrow the next step, if there is one."""
    checks = [Check("own CA", Level.OK, "it lasts"), Check("peer eu-west", Level.FAILED, "not trusted", "start it")]
    assert [plain(line) for line in check_lines(checks)] == [
        "ok      own CA        it lasts",
        "failed  peer eu-west  not trusted -> start it",
    ]


def test_text_of_others_steers_no_terminal() -> None:
    """What could is spelt out; a long name moves its own line only."""
    assert (
        plain(check_line(Check("peer", Level.NOTE, "bad \x1b", "see \x07"), 2)) == r"note    peer  bad \x1b -> see \x07"
    )
