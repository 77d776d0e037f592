"""Reports on drains, with what a test does not mind filled in."""

from __future__ import annotations

from typing import Any

from controllers.drain_report import DrainReport, GatewayStatus, TargetStatus

WHOLE = TargetStatus(100, 100)


def drain_report(**changes: Any) -> DrainReport:
    """Of us-west, with one gateway and nothing drained, where everybody has acknowledged."""
    told: dict[str, Any] = {
        "cluster": "us-west",
        "drain": WHOLE,
        "gateways": (GatewayStatus("192.0.2.1:15443", WHOLE),),
        "revision": 1,
        "published": True,
        "acknowledged": ("eu-west", "us-east"),
        "waiting_for": (),
        "silent": (),
        "dead": (),
        "settled": True,
    }
    return DrainReport(**{**told, **changes})
