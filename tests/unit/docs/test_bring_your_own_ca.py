"""docs/bring-your-own-ca.md holds what it promises: its settings are accepted, its reasons are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from federation.model.settings import parse_cluster_settings

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "bring-your-own-ca.md").read_text()
CODE = (
    "trustbundle/external.py",
    "trustbundle/external_authority.py",
    "trustbundle/bundle_file.py",
    "trustbundle/bundle_endpoint.py",
)
"""What gives the own bundle a reason of its own; each is in the page."""
JUDGES = (
    "trustbundle/x509.py",
    "trustbundle/anchors.py",
    "trustbundle/verification.py",
    "trustbundle/bundle.py",
    "trustbundle/bundle_store.py",
)
NOT_HERE = {"ExternalCa", "NoBundle"}
"""Reasons of the same modules that are no trouble of the source, told of in the page's text or by the hint."""

CLUSTER = {
    "clusterset": "example",
    "cluster": "us-east",
    "region": "us",
    "trustDomain": "us-east.example",
    "memberKeyFile": "member.key",
    "exchange": {"url": "redis://127.0.0.1:6379"},
}


def reasons(*files: str) -> set[str]:
    text = "".join((ROOT / file).read_text() for file in files)
    return set(re.findall(r'(?:reason ?= ?|fail\(|BundleRejected\(\s*|subject, |else )"([A-Z][A-Za-z0-9]+)"', text))


def test_every_setting_of_the_page_is_accepted() -> None:
    """Each block is one cluster's; all but the last bring a CA."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    settings = [
        parse_cluster_settings(yaml.safe_dump(CLUSTER | yaml.safe_load(block)), directory=Path("/etc"))
        for block in blocks
    ]

    assert [one.ca.external for one in settings] == [True, True, True, False]
    assert settings[-1].bundle_endpoint is not None


def test_every_reason_is_in_the_page_and_in_the_code() -> None:
    """Who looks one up finds it; none is told of that nobody gives."""
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    told = {reason for row in rows for reason in re.findall(r"`(\w+)`", row)}

    assert reasons(*CODE) - NOT_HERE - told == set()
    assert told - reasons(*CODE, *JUDGES) == set()
