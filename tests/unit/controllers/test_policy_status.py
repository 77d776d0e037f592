"""What the status report says of policies."""

from __future__ import annotations

from controllers.policy_status import PolicyReport, PolicyTargetStatus, policy_reports
from federation.model.traffic_policy import Limits, PolicySpec, Target, TargetKind, TrafficPolicy
from support.builders import ECHO

SPEC = PolicySpec(limits=Limits(requests=1))


def test_every_target_of_a_policy_is_reported() -> None:
    """A policy of a namespace has that for its target."""
    own = TrafficPolicy("demo", "own", SPEC, (Target("echo", TargetKind.SERVICE_IMPORT), Target("gone")))
    wide = TrafficPolicy("demo", "wide", SPEC)

    first, second = policy_reports({"demo": (wide, own)}, {ECHO})

    assert (first.namespace, first.name) == ("demo", "own")
    assert [(each.kind, each.name, each.accepted, each.reason) for each in first.targets] == [
        ("ServiceImport", "echo", True, "Accepted"),
        ("Service", "gone", False, "TargetNotFound"),
    ]
    everything = "counts for every service of namespace demo"
    assert second == PolicyReport(
        "demo", "wide", (PolicyTargetStatus("Namespace", "demo", True, "Accepted", everything),)
    )
