"""What the sidecars of a test's cluster have in common, and what an API server asks about a pod."""

from __future__ import annotations

import json
from typing import Any

from controllers.injection.pod_patch import Injection

INJECTION = Injection("image:1", "acme", "us-east", "us", "us-east.acme")


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
