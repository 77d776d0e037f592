"""docs/reference/metrics.md is what the controller serves: names, types, labels and meanings."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from controllers.dns.server import DnsCounters
from controllers.http.metrics import ControllerCollector, Numbers

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"

ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<kind>\w+) \| (?P<labels>[^|]*) \| (?P<text>[^|]*) \|$", re.MULTILINE)

# One of everything, so that each metric has a sample with its labels.
NUMBERS = Numbers(
    ready=True,
    exchange_connected=True,
    roster_serial=7,
    roster_rejected={"BadSignature": 2},
    members=3,
    exported=1,
    imported=1,
    passes=1,
    failed_passes=1,
    publications=1,
    peers_fresh={"west": True},
    peers_up={"west": True},
    peers_answer_seconds={"west": 0.025},
    peers_failed_probes={"west": 3},
    peers_state={"west": "Live"},
    peers_trusted={"west": True},
    rejected={("west", "BadSignature"): 1},
    xds_streams=1,
    xds_responses={"a.Cluster": 1},
    xds_resources={"a.Cluster": 1},
    xds_nacks={"a.Cluster": 1},
    xds_refused=1,
    xds_denied_secrets=1,
    bundle_sequence=1,
    ca_seconds_left={"signing": 1.0},
    peers_bundle_seconds_left={"west": 1.0},
    peers_acknowledged={"west": 1},
    svid_seconds_left=1.0,
    dns=DnsCounters(Counter({("A", "NOERROR"): 1}), Counter(flood=1)),
)


def served() -> list[tuple[str, str, tuple[str, ...], str]]:
    """Name, type, labels and meaning of each metric, in the order in which they are served."""
    return [
        (family.samples[0].name, family.type, tuple(family.samples[0].labels), family.documentation)
        for family in ControllerCollector(lambda: NUMBERS).collect()
    ]


def documented() -> list[tuple[str, str, tuple[str, ...], str]]:
    """The same of each row of the page."""
    return [
        (row["name"], row["kind"], tuple(re.findall(r"`(\w+)`", row["labels"])), row["text"])
        for row in ROW.finditer(PAGE.read_text())
    ]


def test_the_page_is_what_is_served() -> None:
    """Every metric has its row, and every row its metric, in the same words and order."""
    assert documented() == served()
