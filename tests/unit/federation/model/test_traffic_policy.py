"""TrafficPolicy: what values say of themselves."""

from __future__ import annotations

import pytest

from federation.model.traffic_policy import Capacity, PolicySpec, Target, TargetKind, TrafficPolicy
from support.builders import key


@pytest.mark.parametrize(("requests", "percent", "expected"), [(10, 40, 4), (10, 100, 10), (3, 50, 1), (1, 1, 1)])
def test_others_may_use_their_part_of_an_endpoint(requests: int, percent: int, expected: int) -> None:
    """Rounded down, as what is left is the own callers'; but never to nothing."""
    assert Capacity(requests, percent).others_per_endpoint == expected


def test_targets_are_services_of_the_policys_namespace() -> None:
    """Of either kind."""
    policy = TrafficPolicy("demo", "p", PolicySpec(), (Target("echo"), Target("web", TargetKind.SERVICE_IMPORT)))

    assert policy.services == (key("demo/echo"), key("demo/web"))
    assert str(policy) == "TrafficPolicy demo/p"
