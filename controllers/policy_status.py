"""What becomes of each TrafficPolicy, for the status report. Values only; nothing here flows back into a build."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from federation.model.conditions import ConditionStatus
from federation.model.names import ServiceKey
from federation.model.traffic_resolution import Policies, policy_statuses


class PolicyTargetStatus(msgspec.Struct, frozen=True, rename="camel"):
    """One target of a policy: an ancestor, in the words of GEP-713."""

    kind: str
    """``Service`` or ``ServiceImport``; ``Namespace`` for a policy of all its services."""
    name: str
    accepted: bool
    reason: str
    """``Accepted``, ``Conflicted`` or ``TargetNotFound``."""
    message: str


class PolicyReport(msgspec.Struct, frozen=True, rename="camel"):
    """One policy that could be read; what is wrong with others is among the problems."""

    namespace: str
    name: str
    targets: tuple[PolicyTargetStatus, ...]


def policy_reports(policies: Policies, imported: Collection[ServiceKey]) -> tuple[PolicyReport, ...]:
    """All policies by name; ``imported`` are the services that there are to call."""
    return tuple(
        PolicyReport(
            status.policy.namespace,
            status.policy.name,
            tuple(
                PolicyTargetStatus(
                    kind=each.target.kind if each.target else "Namespace",
                    name=each.target.name if each.target else status.policy.namespace,
                    accepted=each.condition.status is ConditionStatus.TRUE,
                    reason=each.condition.reason,
                    message=each.condition.message,
                )
                for each in status.targets
            ),
        )
        for status in policy_statuses(policies, imported)
    )
