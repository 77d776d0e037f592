"""Who may connect to whom in our namespace: nobody, but for what is listed here. Pure.

Where a port is open to everyone, those who come can't be named: API servers and other clusters' gateways have no pods
here, and whoever has no certificate or token is turned away behind it. Probes of the kubelet always pass.
"""

from __future__ import annotations

from typing import Final

from federation.install.controller import COMPONENT as CONTROLLER_COMPONENT
from federation.install.exchange import COMPONENT as EXCHANGE_COMPONENT
from federation.install.exchange import INSTALLED as EXCHANGE_INSTALLED
from federation.install.gateway import COMPONENT as GATEWAY_COMPONENT
from federation.install.gateway import INSTALLED as GATEWAY_INSTALLED
from federation.install.template import Condition, Either, Every, Given, Node, Value, When
from federation.install.vocabulary import (
    CONTROLLER,
    DNS_PORT,
    EXCHANGE,
    EXCHANGE_PORT,
    GATEWAY,
    GATEWAY_PORT,
    HTTP_PORT,
    ISTIO,
    METRICS_PORT,
    WEBHOOK_PORT,
    XDS_PORT,
    metadata,
    selector,
)

_ENABLED: Final = Given("networkPolicy.enabled")
_ALL_PODS: Final[Node] = {"namespaceSelector": {}}
_NAME_SERVICE: Final[Node] = {"ports": ({"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"})}
"""Wherever it is: a cache on the node has an address of no pod."""


def network_objects() -> tuple[Node, ...]:
    return (
        _policy("federation-default-deny", "policy", {"podSelector": {}, "policyTypes": ("Ingress", "Egress")}),
        _policy(CONTROLLER, CONTROLLER_COMPONENT, _of(CONTROLLER_COMPONENT, _TO_CONTROLLERS, _FROM_CONTROLLERS)),
        _policy(GATEWAY, GATEWAY_COMPONENT, _of(GATEWAY_COMPONENT, _TO_GATEWAYS, _FROM_GATEWAYS), GATEWAY_INSTALLED),
        _policy(EXCHANGE, EXCHANGE_COMPONENT, _of(EXCHANGE_COMPONENT, _TO_EXCHANGE, ()), EXCHANGE_INSTALLED),
    )


def _tcp(*ports: int) -> tuple[Node, ...]:
    return tuple({"port": port, "protocol": "TCP"} for port in ports)


_TO_CONTROLLERS: Final[tuple[Node, ...]] = (
    {"from": (_ALL_PODS,), "ports": _tcp(XDS_PORT)},
    # CoreDNS forwards from its pods; nodes and the API server have none.
    {"ports": ({"port": DNS_PORT, "protocol": "UDP"}, *_tcp(DNS_PORT, WEBHOOK_PORT))},
    {"from": Value("networkPolicy.metricsFrom"), "ports": _tcp(HTTP_PORT)},
)
_FROM_CONTROLLERS: Final[tuple[Node, ...]] = (
    _NAME_SERVICE,
    {"ports": Value("networkPolicy.apiServerPorts")},
    {"ports": Value("networkPolicy.exchangePorts")},
    {"ports": Value("networkPolicy.peerGatewayPorts")},
)
_TO_GATEWAYS: Final[tuple[Node, ...]] = (
    {"ports": _tcp(GATEWAY_PORT)},
    {"from": Value("networkPolicy.metricsFrom"), "ports": _tcp(METRICS_PORT)},
)
_FROM_GATEWAYS: Final[tuple[Node, ...]] = (
    _NAME_SERVICE,
    {"to": ({"podSelector": {"matchLabels": selector(CONTROLLER_COMPONENT)}},), "ports": _tcp(XDS_PORT)},
    # Istio has no port of its own for what comes in: it is the workload's.
    Either(ISTIO, {"to": (_ALL_PODS,)}, {"to": (_ALL_PODS,), "ports": Value("networkPolicy.workloadPorts")}),
    {"ports": Value("networkPolicy.peerGatewayPorts")},
)
_TO_EXCHANGE: Final[tuple[Node, ...]] = ({"ports": _tcp(EXCHANGE_PORT)},)


def _of(component: str, ingress: tuple[Node, ...], egress: tuple[Node, ...]) -> dict[str, Node]:
    return {
        "podSelector": {"matchLabels": selector(component)},
        "policyTypes": ("Ingress", "Egress"),
        "ingress": ingress,
        **({"egress": egress} if egress else {}),
    }


def _policy(name: str, component: str, spec: Node, condition: Condition | None = None) -> Node:
    policy: Node = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(name, component),
        "spec": spec,
    }
    return When(_ENABLED if condition is None else Every((_ENABLED, condition)), policy)
