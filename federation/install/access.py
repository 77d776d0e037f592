"""What the controllers may do in the cluster, rule by rule: no wildcard, and no Secret outside of our namespace. Pure.

The gateway has no rights at all. A server-side apply needs ``patch``, and ``create`` where the object may be missing;
RBAC can't limit ``create`` to names, so what is limited to names is created by a rule of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from federation.install.controller import COMPONENT
from federation.install.template import NAMESPACE, Given, Node, Value, When
from federation.install.vocabulary import (
    CONTROLLER,
    LEASE,
    SETTINGS,
    STATE,
    TRUST_BUNDLE,
    WEBHOOK,
    cluster_metadata,
    metadata,
)

RBAC_VERSION: Final = "rbac.authorization.k8s.io/v1"


@dataclass(frozen=True, slots=True)
class Rule:
    """Verbs on resources of one API group, where ``names`` are given on those objects alone."""

    why: str
    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()


_READ: Final = ("get", "list", "watch")

CLUSTER_RULES: Final = (
    Rule("which namespaces exist, and their labels", "", ("namespaces",), _READ),
    Rule("regions and zones of endpoints, addresses of node ports", "", ("nodes",), _READ),
    Rule("Services that are exported; derived Services hold clusterset IPs", "", ("services",), _READ),
    Rule("derived Services", "", ("services",), ("create", "patch", "delete")),
    Rule("endpoints of exports; those of imports", "discovery.k8s.io", ("endpointslices",), _READ),
    Rule("endpoints of imports", "discovery.k8s.io", ("endpointslices",), ("create", "patch", "delete")),
    Rule("exports", "multicluster.x-k8s.io", ("serviceexports",), _READ),
    Rule("conditions of exports", "multicluster.x-k8s.io", ("serviceexports/status",), ("patch",)),
    Rule("imports", "multicluster.x-k8s.io", ("serviceimports",), (*_READ, "create", "patch", "delete")),
    Rule("conditions and clusters of imports", "multicluster.x-k8s.io", ("serviceimports/status",), ("patch",)),
    Rule(
        "who the cluster is, for everybody in it",
        "about.k8s.io",
        ("clusterproperties",),
        (*_READ, "create", "patch", "delete"),
    ),
    Rule("which fields the MCS API has here", "apiextensions.k8s.io", ("customresourcedefinitions",), _READ),
    Rule("what is wrong, where a user looks", "", ("events",), ("create", "patch")),
    Rule("who asks for configuration or an identity", "authentication.k8s.io", ("tokenreviews",), ("create",)),
    Rule("the trust bundle, where pods are injected", "", ("configmaps",), ("create",)),
    Rule("the trust bundle, where pods are injected", "", ("configmaps",), ("get", "patch", "delete"), (TRUST_BUNDLE,)),
)

INJECTION_RULES: Final = (
    Rule(
        "the CA by which the API server knows the webhook",
        "admissionregistration.k8s.io",
        ("mutatingwebhookconfigurations",),
        ("get", "patch"),
        (WEBHOOK,),
    ),
    Rule("which account a pod with a sidecar has, and so which identity", "", ("pods",), _READ),
)
"""Only where there is a webhook."""

NAMESPACE_RULES: Final = (
    Rule("who leads", "coordination.k8s.io", ("leases",), ("create",)),
    Rule("who leads", "coordination.k8s.io", ("leases",), ("get", "update"), (LEASE,)),
    Rule("keys and state", "", ("secrets",), ("create",)),
    Rule("keys and state", "", ("secrets",), ("get", "update", "watch"), (STATE,)),
    Rule("settings", "", ("configmaps",), ("get", "watch"), (SETTINGS,)),
)


def access_objects() -> tuple[Node, ...]:
    injected = Given("injection.enabled")
    return (
        {
            "apiVersion": RBAC_VERSION,
            "kind": "ClusterRole",
            "metadata": cluster_metadata(CONTROLLER, COMPONENT),
            "rules": (*_rules(CLUSTER_RULES), *(When(injected, one) for one in _rules(INJECTION_RULES))),
        },
        {
            "apiVersion": RBAC_VERSION,
            "kind": "ClusterRoleBinding",
            "metadata": cluster_metadata(CONTROLLER, COMPONENT),
            **_binding("ClusterRole"),
        },
        {
            "apiVersion": RBAC_VERSION,
            "kind": "Role",
            "metadata": metadata(CONTROLLER, COMPONENT),
            "rules": tuple(_rules(NAMESPACE_RULES)),
        },
        {
            "apiVersion": RBAC_VERSION,
            "kind": "RoleBinding",
            "metadata": metadata(CONTROLLER, COMPONENT),
            **_binding("Role"),
        },
    )


def _rules(rules: Iterable[Rule]) -> Iterable[dict[str, Node]]:
    for rule in rules:
        names: dict[str, Node] = {"resourceNames": rule.names} if rule.names else {}
        yield {"apiGroups": (rule.group,), "resources": rule.resources, **names, "verbs": rule.verbs}


def _binding(kind: str) -> dict[str, Node]:
    return {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": CONTROLLER},
        "subjects": ({"kind": "ServiceAccount", "name": CONTROLLER, "namespace": Value(NAMESPACE)},),
    }
