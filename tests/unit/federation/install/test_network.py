"""NetworkPolicies: nobody but who is listed."""

from __future__ import annotations

from typing import Any

from support.installation import SITES, one, rendered

SITE = rendered(*SITES["with-exchange"])


def policy(name: str) -> Any:
    return one(SITE, "NetworkPolicy", name)["spec"]


def test_by_default_nobody_reaches_anybody() -> None:
    """One policy takes in every pod of the namespace and allows nothing."""
    assert policy("federation-default-deny") == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_every_component_has_its_own() -> None:
    """No pod is left with the denial alone, and both directions are always judged."""
    for name in ("federation-controller", "federation-gateway", "federation-exchange"):
        assert policy(name)["policyTypes"] == ["Ingress", "Egress"]
        assert all(rule["ports"] for rule in (*policy(name)["ingress"], *policy(name).get("egress", ())))
    assert "egress" not in policy("federation-exchange")


def test_what_pods_listen_on_is_open() -> None:
    """Each port that a container offers is in the policy of its pod, and no other."""
    for kind, name in (
        ("Deployment", "federation-controller"),
        ("Deployment", "federation-gateway"),
        ("StatefulSet", "federation-exchange"),
    ):
        (container,) = one(SITE, kind, name)["spec"]["template"]["spec"]["containers"]
        offered = {(port["containerPort"], port["protocol"]) for port in container["ports"]}
        opened = {(port["port"], port["protocol"]) for rule in policy(name)["ingress"] for port in rule["ports"]}
        assert opened == offered, name


def test_values_say_where_the_exchange_and_the_peers_are() -> None:
    """Ports that are not ours to choose come from the values."""
    documents = rendered("clusterset=acme", "networkPolicy.exchangePorts=[{port: 6380, protocol: TCP}]")
    egress = one(documents, "NetworkPolicy", "federation-controller")["spec"]["egress"]
    assert {"ports": [{"port": 6380, "protocol": "TCP"}]} in egress


def test_gateways_reach_the_workloads_of_istio_at_their_own_ports() -> None:
    """To pods any port is open with mesh istio, the one of our sidecars without."""

    def to_pods(*words: str) -> Any:
        egress = one(rendered("clusterset=acme", *words), "NetworkPolicy", "federation-gateway")["spec"]["egress"]
        return [rule for rule in egress if rule.get("to") == [{"namespaceSelector": {}}]]

    assert to_pods("mesh=istio") == [{"to": [{"namespaceSelector": {}}]}]
    assert to_pods("mesh=linkerd") == [
        {"to": [{"namespaceSelector": {}}], "ports": [{"port": 15006, "protocol": "TCP"}]}
    ]
