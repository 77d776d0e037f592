"""The webhook that gives pods their sidecar. Pure.

It has no ``caBundle``: the leader fills in its own, and who installs must not state it, or each installation would take
it away. Until then the API server can't verify the webhook, and the failure policy decides.
"""

from __future__ import annotations

from typing import Final

from federation.install.controller import COMPONENT
from federation.install.template import NAMESPACE, Given, Node, Value, When
from federation.install.vocabulary import CONTROLLER, INJECT_LABEL, INJECTION_LABEL, WEBHOOK, cluster_metadata

PATH: Final = "/inject"


def injection_objects() -> tuple[Node, ...]:
    return (When(Given("injection.enabled"), _configuration()),)


def _configuration() -> Node:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": cluster_metadata(WEBHOOK, COMPONENT),
        "webhooks": (
            {
                "name": "inject.federation-gateway.dev",
                "admissionReviewVersions": ("v1",),
                "clientConfig": {
                    "service": {"name": CONTROLLER, "namespace": Value(NAMESPACE), "path": PATH, "port": 443}
                },
                "rules": (
                    {
                        "apiGroups": ("",),
                        "apiVersions": ("v1",),
                        "operations": ("CREATE",),
                        "resources": ("pods",),
                        "scope": "Namespaced",
                    },
                ),
                "namespaceSelector": {
                    "matchExpressions": (
                        {"key": INJECTION_LABEL, "operator": "In", "values": ("enabled", "manual")},
                        # Pods that the webhook itself needs must never wait for it.
                        {
                            "key": "kubernetes.io/metadata.name",
                            "operator": "NotIn",
                            "values": ("kube-system", Value(NAMESPACE)),
                        },
                    ),
                },
                "objectSelector": {
                    "matchExpressions": ({"key": INJECT_LABEL, "operator": "NotIn", "values": ("false",)},)
                },
                "failurePolicy": Value("injection.failurePolicy"),
                "matchPolicy": "Equivalent",
                # Containers that other webhooks add afterwards are seen too.
                "reinvocationPolicy": "IfNeeded",
                "sideEffects": "None",
                "timeoutSeconds": 5,
            },
        ),
    }
