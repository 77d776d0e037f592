"""Where the trust bundle is to be; on an API server: tests/feature/test_trust_distributor.py."""

from __future__ import annotations

import base64
from typing import Any

from controllers.injection.trust_objects import TrustPlan, plan_config_maps, plan_configuration

OURS = {"federation-gateway.dev/managed-by": "controller.federation-gateway.dev"}
CONFIGURATION: dict[str, Any] = {
    "metadata": {"name": "federation-sidecar-injector", "uid": "u1"},
    "webhooks": [{"name": "a"}, {"name": "b"}],
}


def namespace(name: str, value: str = "", **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"federation-gateway.dev/injection": value}, **metadata}}


def placed(*namespaces: dict[str, Any], there: tuple[str, ...] = ()) -> tuple[list[str], list[str]]:
    """Where it is written, and where it is taken away."""
    metadata = {"name": "federation-trust-bundle", "uid": "u", "resourceVersion": "1", "labels": OURS}
    plan = plan_config_maps("own", namespaces, {name: {"metadata": metadata} for name in there}, "pem")
    applied: list[Any] = [*plan.applied]
    return [one["metadata"]["namespace"] for one in applied], [one.id.namespace for one in plan.deleted]


def test_it_is_in_our_namespace_and_where_pods_may_be_injected() -> None:
    """And goes from where they no longer may."""
    namespaces = [namespace("own"), namespace("a", "enabled"), namespace("b", "manual"), namespace("c", "off")]
    assert placed(*namespaces, there=("c",)) == (["a", "b", "own"], ["c"])


def test_a_namespace_that_goes_or_is_not_known_is_left_alone() -> None:
    """Nothing can be made in it, and what is in it goes with it."""
    going = namespace("a", "enabled", deletionTimestamp="2026-01-01T00:00:00Z")
    assert placed(going, there=("a", "unknown")) == ([], [])


def test_only_the_bundle_of_a_configuration_is_stated() -> None:
    """Of each webhook, and with its uid, so that one which is gone by then is not made anew."""
    (document,) = plan_configuration(CONFIGURATION, "pem").applied
    encoded = base64.b64encode(b"pem").decode()
    assert document["webhooks"] == [{"name": name, "clientConfig": {"caBundle": encoded}} for name in ("a", "b")]
    assert document["metadata"] == CONFIGURATION["metadata"]


def test_a_configuration_that_is_not_there_or_empty_is_not_written() -> None:
    """Nor one that is about to go."""
    going = {**CONFIGURATION, "metadata": {**CONFIGURATION["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    found = [plan_configuration(one, "pem") for one in (None, going, {**CONFIGURATION, "webhooks": []})]
    assert found == [TrustPlan()] * 3
