"""Which policies count, by the Gateway API's rules, and what each is told."""

from __future__ import annotations

from federation.model.conditions import ConditionStatus
from federation.model.traffic_policy import (
    DEFAULTS,
    Capacity,
    Limits,
    PolicySpec,
    Retries,
    Target,
    Timeouts,
    TrafficPolicy,
)
from federation.model.traffic_resolution import Policies, concerned, counting, policy_statuses, resolve
from support.builders import ECHO, after, key

WEB = key("demo/web")


def policy(name: str, spec: PolicySpec, *targets: str, age: float | None = 0) -> TrafficPolicy:
    created = None if age is None else after(-age)
    return TrafficPolicy("demo", name, spec, tuple(Target(one) for one in targets), created)


def of(*policies: TrafficPolicy) -> Policies:
    return {"demo": policies}


def requests(limit: int) -> PolicySpec:
    return PolicySpec(limits=Limits(requests=limit))


def told(policies: Policies) -> list[tuple[str, str, str]]:
    """Policy, target and reason."""
    return [
        (status.policy.name, each.target.name if each.target else "", each.condition.reason)
        for status in policy_statuses(policies, {ECHO})
        for each in status.targets
    ]


def test_without_a_policy_nothing_changes() -> None:
    """Nor by one of another namespace, or of another service."""
    assert resolve({}, ECHO) == DEFAULTS
    assert resolve({"other": (policy("p", requests(1)),)}, ECHO) == DEFAULTS
    assert resolve(of(policy("p", requests(1), "web")), ECHO) == DEFAULTS


def test_a_policy_of_the_service_takes_the_place_of_the_namespaces_section_by_section() -> None:
    """However young it is; what it doesn't speak of is the namespace's, what neither does is as without a policy."""
    general = PolicySpec(limits=Limits(requests=1, connections=2), timeouts=Timeouts(request_ms=5))
    special = PolicySpec(limits=Limits(requests=7), capacity=Capacity(3))
    policies = of(policy("wide", general, age=100), policy("own", special, "echo"))

    found = resolve(policies, ECHO)

    assert found.limits == Limits(requests=7)
    assert found.timeouts == Timeouts(request_ms=5)
    assert found.capacity == Capacity(3)
    assert found.retries == Retries()
    assert resolve(policies, WEB).limits == Limits(requests=1, connections=2)
    assert [each.name for each in counting(policies, ECHO)] == ["own", "wide"]


def test_of_equally_specific_ones_the_oldest_counts_then_the_first_by_name() -> None:
    """As a whole: the loser's other sections don't fill gaps. A policy without a time is the youngest."""
    loser = PolicySpec(limits=Limits(requests=2), timeouts=Timeouts(request_ms=1))

    assert resolve(of(policy("a", loser, "echo"), policy("b", requests(9), "echo", age=1)), ECHO).limits.requests == 9
    assert resolve(of(policy("b", loser, "echo"), policy("a", requests(9), "echo")), ECHO).timeouts == Timeouts()
    assert resolve(of(policy("a", loser, age=None), policy("b", requests(9))), ECHO).limits.requests == 9


def test_a_policy_is_told_of_each_target_whether_it_counts_there() -> None:
    """One that is in the shade at one target counts at the others; a target that nobody exports is waited for."""
    policies = of(policy("new", requests(1), "echo", "gone"), policy("old", requests(2), "echo", age=9))

    assert told(policies) == [
        ("new", "echo", "Conflicted"),
        ("new", "gone", "TargetNotFound"),
        ("old", "echo", "Accepted"),
    ]
    (conflicted, waiting), (accepted,) = (status.targets for status in policy_statuses(policies, {ECHO}))
    assert conflicted.condition.message == (
        "TrafficPolicy demo/old says what counts for service demo/echo, because it is older"
    )
    assert "no cluster of the clusterset exports demo/gone" in waiting.condition.message
    assert accepted.condition.status is ConditionStatus.TRUE


def test_a_namespace_has_one_policy() -> None:
    """Its services may be none yet."""
    policies = of(policy("b", requests(1)), policy("a", requests(2)))

    assert told(policies) == [("a", "", "Accepted"), ("b", "", "Conflicted")]
    (_, (loser,)) = (status.targets for status in policy_statuses(policies, ()))
    assert loser.condition.message.endswith("every service of namespace demo, because it is first by name")


def test_a_change_concerns_what_was_and_is_named_and_all_that_is_known_of_the_namespace() -> None:
    """Nothing where no policy changed."""
    before, now = of(policy("p", requests(1), "echo")), of(policy("p", requests(1), "other"))
    known = {WEB, key("elsewhere/echo")}

    assert concerned(before, now, known) == {ECHO, WEB, key("demo/other")}
    assert concerned(before, dict(before), known) == set()
    assert concerned({}, now, ()) == {key("demo/other")}
