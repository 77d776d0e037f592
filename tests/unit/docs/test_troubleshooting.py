"""docs/troubleshooting.md has every line of `federation check`, in the order in which they are printed."""

from __future__ import annotations

import re
from pathlib import Path

from federation.app.exchange_checks import EXPIRY_NOTE, SKEW_NOTE, SLOW
from federation.app.preflight_lines import Line
from federation.membership.admission import MAX_SKEW

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
ROW = re.compile(r"^\| `(?P<name>[^`]+)` \| (?P<cause>[^|]+) \| (?P<fix>[^|]+) \|$", re.MULTILINE)
JUDGES = ("exchange_checks", "exchange_visit", "kube/kube_checks", "network_checks", "preflight", "site_checks")


def test_every_line_has_its_row_and_every_row_its_line() -> None:
    """With a cause and a fix."""
    assert [row["name"] for row in ROW.finditer(PAGE)] == [str(line) for line in Line]


def test_every_line_is_printed_by_some_judge() -> None:
    """No name is left over from a line that is gone."""
    code = "".join((ROOT / "federation" / "app" / f"{judge}.py").read_text() for judge in JUDGES)
    assert {line.name for line in Line} - set(re.findall(r"\bLine\.([A-Z_]+)", code)) == set()


def test_limits_are_those_of_the_code() -> None:
    """Days, seconds and milliseconds as they are judged."""
    told = (
        f"within {EXPIRY_NOTE.days} days",
        f"more than {MAX_SKEW.total_seconds():.0f} s",
        f"from {SKEW_NOTE.total_seconds():.0f} s on",
        f"longer than {SLOW.total_seconds() * 1000:.0f} ms",
    )
    assert [words for words in told if words not in PAGE] == []
