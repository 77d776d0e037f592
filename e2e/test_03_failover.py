"""Story 3: what dies, and what callers notice of it: nothing."""

from __future__ import annotations

from e2e.clusterset import SYSTEM, ClusterSet, until

GATEWAYS = "app.kubernetes.io/component=gateway"


def test_pods_of_the_nearest_cluster_go_and_come_back(clusterset: ClusterSet) -> None:
    """North answers meanwhile; no call fails on either way."""
    with clusterset.calls() as calls:
        clusterset.scale("west", "demo", "deployment/echo", 0)
        until(lambda: calls.now == {"north"}, "answers from north alone")
        clusterset.scale("west", "demo", "deployment/echo", 2)
        until(lambda: calls.now == {"west"}, "answers from west again")
    assert calls.failed == 0


def test_gateways_are_replaced(clusterset: ClusterSet) -> None:
    """All of west's at once: north answers, or new connections go where a gateway is."""
    with clusterset.calls() as calls:
        clusterset.kubectl("west", "delete", "pods", "--namespace", SYSTEM, "--selector", GATEWAYS, "--wait=true")
        clusterset.kubectl("west", "rollout", "status", "deployment/federation-gateway", "--namespace", SYSTEM)
        until(lambda: calls.now == {"west"}, "answers from west again")
    assert calls.failed == 0


def test_the_exchange_dies(clusterset: ClusterSet) -> None:
    """Everything goes on as it was; what changes meanwhile is known once it is back."""
    with clusterset.calls() as calls:
        clusterset.scale("east", SYSTEM, "statefulset/federation-exchange", 0)
        before = calls.total
        until(lambda: calls.total >= before + 400, "400 calls without an exchange")
        assert calls.now == {"west"}
        clusterset.scale("east", SYSTEM, "statefulset/federation-exchange", 1)
        clusterset.scale("west", "demo", "deployment/echo", 0)
        until(lambda: calls.now == {"north"}, "the change in west, over the exchange that is back")
        clusterset.scale("west", "demo", "deployment/echo", 2)
        until(lambda: calls.now == {"west"}, "answers from west again")
    assert calls.failed == 0


def test_controllers_are_replaced(clusterset: ClusterSet) -> None:
    """Both of east at once, the leader among them: Envoys keep what they have."""
    with clusterset.calls() as calls:
        selector = ("--selector", "app.kubernetes.io/component=controller")
        clusterset.kubectl("east", "delete", "pods", "--namespace", SYSTEM, *selector, "--wait=true")
        clusterset.kubectl("east", "rollout", "status", "deployment/federation-controller", "--namespace", SYSTEM)
        before = calls.total
        until(lambda: calls.total >= before + 200, "200 calls after that")
    assert calls.failed == 0
