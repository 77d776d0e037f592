"""The webhook for sidecars."""

from __future__ import annotations

from typing import Any

from controllers.injection.annotations import INJECT, INJECTION
from controllers.injection.trust_objects import CONFIGURATION, SELECTED
from support.installation import NAMESPACE, one, rendered

NAME = CONFIGURATION


def webhook(*words: str) -> Any:
    (found,) = one(rendered(*words), "MutatingWebhookConfiguration", NAME)["webhooks"]
    return found


def test_it_leads_to_the_controllers() -> None:
    """To a port that their Service has, by the path that they serve; by which CA, the controllers fill in."""
    service = one(rendered(), "Service", "federation-controller")
    assert webhook()["clientConfig"] == {
        "service": {"name": "federation-controller", "namespace": NAMESPACE, "path": "/inject", "port": 443}
    }
    assert 443 in {port["port"] for port in service["spec"]["ports"]}


def test_only_namespaces_that_ask_for_it_are_seen() -> None:
    """By label, never our own or the system's, and a pod may decline."""
    found = webhook()
    (wanted, excluded) = found["namespaceSelector"]["matchExpressions"]
    assert wanted == {"key": INJECTION, "operator": "In", "values": sorted(SELECTED)}
    assert (excluded["operator"], excluded["values"]) == ("NotIn", ["kube-system", NAMESPACE])
    (declined,) = found["objectSelector"]["matchExpressions"]
    assert (declined["key"], declined["operator"], declined["values"]) == (
        INJECT,
        "NotIn",
        ["false"],
    )


def test_pods_start_without_controllers_unless_told_otherwise() -> None:
    """The failure policy is the values' to say."""
    assert webhook()["failurePolicy"] == "Ignore"
    assert webhook("injection.failurePolicy=Fail")["failurePolicy"] == "Fail"


def test_it_can_be_left_out() -> None:
    """Then there is no webhook, and no right to change one."""
    documents = rendered("injection.enabled=false")
    assert [found for found in documents if found["kind"] == "MutatingWebhookConfiguration"] == []
    rules = one(documents, "ClusterRole", "federation-controller")["rules"]
    assert [rule for rule in rules if "mutatingwebhookconfigurations" in rule["resources"]] == []
