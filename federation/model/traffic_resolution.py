"""Which TrafficPolicies count for a service, and what each policy is told. Pure.

The Gateway API's rules of policy attachment (GEP-713): a policy of a service is more specific than one of its
namespace, and takes its place section by section; of two that are equally specific the older one counts, then the one
whose namespace and name come first, and the other has no effect there: it is ``Conflicted``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from federation.model.conditions import Condition, ConditionStatus
from federation.model.names import ServiceKey
from federation.model.traffic_policy import DEFAULTS, PolicySpec, Target, TrafficPolicy, TrafficSettings

Policies = Mapping[str, tuple[TrafficPolicy, ...]]
"""By namespace; the policies of one in no order that counts."""

ACCEPTED: Final = "Accepted"

_NEVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """What a policy is told of one of its targets (GEP-713: an ancestor)."""

    target: Target | None
    """None: the namespace."""
    condition: Condition


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    policy: TrafficPolicy
    targets: tuple[TargetStatus, ...]


def resolve(policies: Policies, key: ServiceKey) -> TrafficSettings:
    """What counts for the service ``key``."""
    there = policies.get(key.namespace)
    if not there:
        return DEFAULTS
    wide, own = _first(there, None), _first(there, key)
    if wide is None and own is None:
        return DEFAULTS
    general = wide.spec if wide is not None else PolicySpec()
    special = own.spec if own is not None else PolicySpec()
    return TrafficSettings(
        failover=special.failover or general.failover or DEFAULTS.failover,
        load_balancing=special.load_balancing or general.load_balancing or DEFAULTS.load_balancing,
        limits=special.limits or general.limits or DEFAULTS.limits,
        retries=special.retries or general.retries or DEFAULTS.retries,
        timeouts=special.timeouts or general.timeouts or DEFAULTS.timeouts,
        outlier_detection=special.outlier_detection or general.outlier_detection or DEFAULTS.outlier_detection,
        capacity=special.capacity or general.capacity,
    )


def counting(policies: Policies, key: ServiceKey) -> tuple[TrafficPolicy, ...]:
    """The policies that count for the service ``key``, the most specific first."""
    there = policies.get(key.namespace, ())
    return tuple(policy for policy in (_first(there, key), _first(there, None)) if policy is not None)


def concerned(before: Policies, after: Policies, known: Iterable[ServiceKey]) -> set[ServiceKey]:
    """The services of which policies that changed may say another thing: of all that are ``known``, and may be."""
    moved = {space for space in {*before, *after} if before.get(space) != after.get(space)}
    if not moved:
        return set()
    named = {
        service
        for policies in (before, after)
        for space in moved
        for policy in policies.get(space, ())
        for service in policy.services
    }
    return named | {key for key in known if key.namespace in moved}


def policy_statuses(policies: Policies, known: Collection[ServiceKey]) -> tuple[PolicyStatus, ...]:
    """What every policy is told, in order of their names; ``known`` are the services that there are to call."""
    return tuple(
        _status(policy, there, known)
        for _, there in sorted(policies.items())
        for policy in sorted(there, key=lambda one: one.name)
    )


def _status(policy: TrafficPolicy, there: Sequence[TrafficPolicy], known: Collection[ServiceKey]) -> PolicyStatus:
    targets: tuple[Target | None, ...] = policy.targets or (None,)
    return PolicyStatus(policy, tuple(TargetStatus(each, _condition(policy, each, there, known)) for each in targets))


def _condition(
    policy: TrafficPolicy, target: Target | None, there: Sequence[TrafficPolicy], known: Collection[ServiceKey]
) -> Condition:
    key = None if target is None else ServiceKey(policy.namespace, target.name)
    winner = _first(there, key)
    if winner is not None and winner != policy:
        message = f"{winner} says what counts for {_place(policy, key)}, because it is {_why(winner, policy)}"
        return Condition(ACCEPTED, ConditionStatus.FALSE, "Conflicted", message)
    if key is not None and key not in known:
        message = f"no cluster of the clusterset exports {key}; the policy counts as soon as one does"
        return Condition(ACCEPTED, ConditionStatus.FALSE, "TargetNotFound", message)
    return Condition(ACCEPTED, ConditionStatus.TRUE, ACCEPTED, f"counts for {_place(policy, key)}")


def _first(there: Iterable[TrafficPolicy], key: ServiceKey | None) -> TrafficPolicy | None:
    """The one that counts of those with this target; no key: of those of the namespace."""
    matching = (policy for policy in there if (key in policy.services if key is not None else not policy.targets))
    return min(matching, key=_age, default=None)


def _age(policy: TrafficPolicy) -> tuple[datetime, str, str]:
    return policy.created or _NEVER, policy.namespace, policy.name


def _place(policy: TrafficPolicy, key: ServiceKey | None) -> str:
    return f"every service of namespace {policy.namespace}" if key is None else f"service {key}"


def _why(winner: TrafficPolicy, loser: TrafficPolicy) -> str:
    return "older" if _age(winner)[0] < _age(loser)[0] else "first by name"
