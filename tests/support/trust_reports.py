"""A TrustReport of a cluster where nothing is wrong, to be changed by each test: us-east, which trusts eu-west."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from controllers.trust_report import AuthorityReport, DomainReport, RotationReport, TrustReport
from support.clock import START

DAY = timedelta(days=1)
SIGNING = AuthorityReport("aaaaaaaaaaaa", "signing", START - DAY, START + 29 * DAY)
THEIRS = AuthorityReport("eeeeeeeeeeee", "accepted", START - DAY, START + 20 * DAY)
OWN = DomainReport(
    "us-east.acme", "us-east", own=True, source="built-in CA", trusted=True, sequence=7, authorities=(SIGNING,)
)
PEER = DomainReport(
    "eu-west.acme",
    "eu-west",
    own=False,
    source="exchange",
    trusted=True,
    sequence=3,
    authorities=(THEIRS,),
    state="Live",
    acknowledged=7,
    services=("demo/echo",),
)
_QUIET = TrustReport(
    cluster="us-east",
    now=START,
    published=7,
    published_at=START - DAY,
    rotation=RotationReport("none"),
    soonest_leaf=START + timedelta(minutes=40),
    domains=(OWN, PEER),
)


def trust_report(**changes: object) -> TrustReport:
    """The report with these fields changed."""
    return msgspec.structs.replace(_QUIET, **changes)


def own(**changes: object) -> DomainReport:
    """The own trust domain with these fields changed."""
    return msgspec.structs.replace(OWN, **changes)


def peer(**changes: object) -> DomainReport:
    """The trust domain of eu-west with these fields changed."""
    return msgspec.structs.replace(PEER, **changes)
