"""A StatusReport of a cluster where nothing is wrong, to be changed by each test."""

from __future__ import annotations

import msgspec

from controllers.status import StatusReport

_QUIET = StatusReport(
    clusterset="acme",
    cluster="us-east",
    region="us",
    version="0.1.0",
    ready=True,
    source_synced=True,
    exchange_connected=True,
    exchange_synced=True,
    exported=0,
    imported=0,
    authority=None,
    peers=(),
    nodes=(),
    problems=(),
)


def status_report(**changes: object) -> StatusReport:
    """The report with these fields changed."""
    return msgspec.structs.replace(_QUIET, **changes)
