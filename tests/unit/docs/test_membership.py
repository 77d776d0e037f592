"""docs/membership.md speaks of reasons, bounds, files and metrics as they are."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

from federation.app.admissions import EXCHANGE_ADMIN
from federation.app.member_files import EXCHANGE_CA, EXCHANGE_CREDENTIALS, LEAVING
from federation.membership.admission import KEEP_TOKENS, MAX_SKEW, MAX_TTL, RETIRING, Reason
from federation.membership.roster import MAX_HANDOVERS
from federation.membership.roster_file import RosterFile

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "membership.md").read_text()


def first_cells(header: str) -> list[str]:
    """What stands between backquotes in the first column of the table with this header."""
    _, _, table = PAGE.partition(f"| {header} |")
    rows = [line for line in table.partition("\n\n")[0].splitlines() if line.startswith("| `")]
    return [word for row in rows for word in re.findall(r"`([^`]+)`", row.split("|")[1])]


def test_every_reason_is_told() -> None:
    """Each that the authority or a token may give, and no other."""
    assert sorted(first_cells("reason")) == sorted([*Reason, "TokenAltered"])


def test_every_file_is_told() -> None:
    """By the name that the program gives it."""
    roster = RosterFile(Path("state")).path
    named = {"member.key", EXCHANGE_CREDENTIALS, EXCHANGE_CA, str(roster), f"state/{LEAVING}"}
    named |= {f"authority/{EXCHANGE_ADMIN}", "authority/ledger.json", "authority/*.key", "cluster.yaml"}
    assert set(first_cells("file")) == named


def test_the_bounds_are_those_of_the_program() -> None:
    """Times and numbers that the page promises."""
    assert [timedelta(minutes=5), timedelta(seconds=60), timedelta(hours=24), timedelta(days=7), 32] == [
        RETIRING,
        MAX_SKEW,
        MAX_TTL,
        KEEP_TOKENS,
        MAX_HANDOVERS,
    ]
    for words in (
        "for 5 minutes more",
        "more than 60 s from",
        "at most 24 h",
        "more than 7 days ago",
        "up to 32 of them",
    ):
        assert words in PAGE


def test_every_metric_exists() -> None:
    """The page names none that the reference does not."""
    named = set(re.findall(r"`(federation_\w+)`", PAGE))
    assert named - set(re.findall(r"`(federation_\w+)`", (DOCS / "reference" / "metrics.md").read_text())) == set()
    assert len(named) == 1
