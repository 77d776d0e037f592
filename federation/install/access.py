"""What the controllers may do in the cluster, rule by rule: no wildcard, and no Secret outside of our namespace. Pure.

The gateway has no rights at all. A server-side apply needs ``patch``, and ``create`` where the object may be missing,
which RBAC can limit to a name. That of a POST it can't, so what is created so has a rule of its own for it. Pods are
read in any case: where there is no webhook they may get sidecars by ``federation inject``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from federation.install.controller import COMPONENT
from federation.install.template import NAMESPACE, Given, Is, Node, Value, When
from federation.install.vocabulary import (
    CONTROLLER,
    LEASE,
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


_SEE: Final = ("list", "watch")
_KEEP: Final = ("create", "patch", "delete")

CLUSTER_RULES: Final = (
    Rule("which namespaces exist, and their labels", "", ("namespaces",), ("get", *_SEE)),
    Rule("regions and zones of endpoints, addresses of node ports", "", ("nodes",), _SEE),
    Rule("Services that are exported; derived Services, which hold clusterset IPs", "", ("services",), (*_SEE, *_KEEP)),
    Rule("endpoints of exports, and of imports", "discovery.k8s.io", ("endpointslices",), (*_SEE, *_KEEP)),
    Rule("exports", "multicluster.x-k8s.io", ("serviceexports",), _SEE),
    Rule("how calls are to go", "federation-gateway.dev", ("trafficpolicies",), _SEE),
    Rule("imports", "multicluster.x-k8s.io", ("serviceimports",), (*_SEE, *_KEEP)),
    Rule(
        "conditions of exports and imports",
        "multicluster.x-k8s.io",
        ("serviceexports/status", "serviceimports/status"),
        ("patch",),
    ),
    Rule("who the cluster is, for everybody in it", "about.k8s.io", ("clusterproperties",), (*_SEE, *_KEEP)),
    Rule("which fields the MCS API has here", "apiextensions.k8s.io", ("customresourcedefinitions",), _SEE),
    Rule("what is wrong, where a user looks", "", ("events",), ("create", "patch")),
    Rule("who asks for configuration or an identity", "authentication.k8s.io", ("tokenreviews",), ("create",)),
    Rule("which account a pod with a sidecar has, and so which identity", "", ("pods",), _SEE),
    Rule("the trust bundle, for those who verify us", "", ("configmaps",), (*_SEE, *_KEEP), (TRUST_BUNDLE,)),
)

INJECTION_RULES: Final = (
    Rule(
        "the CA by which the API server knows the webhook",
        "admissionregistration.k8s.io",
        ("mutatingwebhookconfigurations",),
        (*_SEE, "patch"),
        (WEBHOOK,),
    ),
)
"""Only where there is a webhook."""

MESH_RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "istio": (
        Rule(
            "imports as Istio calls them",
            "networking.istio.io",
            ("serviceentries", "destinationrules"),
            (*_SEE, *_KEEP),
        ),
        Rule("who may call exports", "security.istio.io", ("authorizationpolicies",), (*_SEE, *_KEEP)),
        Rule("which Istio it is", "apps", ("deployments",), _SEE),
        Rule("its trust domain and network", "", ("configmaps",), _SEE, ("istio",)),
    ),
    "linkerd": (Rule("its trust domain", "", ("configmaps",), _SEE, ("linkerd-config",)),),
}
"""Only where the values name the mesh. Of Linkerd's own kinds nothing is written yet (docs/mesh.md)."""

NAMESPACE_RULES: Final = (
    Rule("who leads", "coordination.k8s.io", ("leases",), ("create",)),
    Rule("who leads", "coordination.k8s.io", ("leases",), ("get", "update"), (LEASE,)),
    Rule("keys and state", "", ("secrets",), ("create",)),
    Rule("keys and state", "", ("secrets",), ("get", "update"), (STATE,)),
)


def access_objects() -> tuple[Node, ...]:
    injected = Given("injection.enabled")
    return (
        {
            "apiVersion": RBAC_VERSION,
            "kind": "ClusterRole",
            "metadata": cluster_metadata(CONTROLLER, COMPONENT),
            "rules": (
                *_rules(CLUSTER_RULES),
                *(When(injected, one) for one in _rules(INJECTION_RULES)),
                *(When(Is("mesh", mesh), one) for mesh, rules in MESH_RULES.items() for one in _rules(rules)),
            ),
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
