"""docs/metrics.md is what the proxies count: names, types, labels and meanings."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.telemetry import FAMILIES, MOST_COUNTERS, MOST_HISTOGRAMS

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"

ROW = re.compile(
    r"^\| `federation_(?P<name>\w+)` \| (?P<kind>\w+) \| (?P<labels>[^|]*) \| (?P<text>[^|]*) \|$",
    re.MULTILINE,
)


def test_the_page_has_the_table() -> None:
    """Every metric has its row, and every row its metric, in the same words and order."""
    documented = [
        (row["name"], row["kind"], tuple(re.findall(r"`(\w+)`", row["labels"])), row["text"])
        for row in ROW.finditer(PAGE.read_text())
    ]
    assert documented == [(family.name, family.kind, family.labels, family.text) for family in FAMILIES]


def test_the_limits_are_told() -> None:
    """What one listener counts at most."""
    assert f"{MOST_COUNTERS:,} counters and {MOST_HISTOGRAMS:,} histograms" in PAGE.read_text()
