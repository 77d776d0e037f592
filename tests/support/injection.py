"""What the sidecars of a test's cluster have in common, and what an API server knows of the webhook and asks it."""

from __future__ import annotations

import base64
import json
from typing import Any

from controllers.injection.pod_patch import Injection
from support.kube.server import StandIn

INJECTION = Injection("image:1", "acme", "us-east", "us", "us-east.acme")

CONFIGURATIONS = ("admissionregistration.k8s.io", "mutatingwebhookconfigurations")
CONFIGURED: dict[str, Any] = {
    "metadata": {"name": "federation-sidecar-injector"},
    "webhooks": [
        {
            "name": "inject.federation-gateway.dev",
            "clientConfig": {"service": {"namespace": "federation-system", "name": "federation-controller"}},
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
    ],
}


def review(pod: Any, *, uid: str = "u1", dry_run: bool = False, **change: Any) -> bytes:
    """The AdmissionReview of a pod that is to be made in namespace demo."""
    request = {
        "uid": uid,
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": "demo",
        "operation": "CREATE",
        "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
        "object": pod,
        "oldObject": None,
        "dryRun": dry_run,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        **change,
    }
    return json.dumps({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}).encode()


def bundle_of(server: StandIn) -> str:
    """What the API server is told to verify the webhook by."""
    (found,) = server.objects(CONFIGURATIONS).values()
    return base64.b64decode(found["webhooks"][0].get("clientConfig", {}).get("caBundle", "")).decode()
