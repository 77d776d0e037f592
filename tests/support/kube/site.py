"""What tests of an API server stand on: a namespace of their own, the administrator, and objects to send."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from support.kube.caller import Caller, Reply
from support.kube.objects import Json
from support.kube.plane import Plane

CORE, MCS, MCS_ALPHA = "/api/v1", "/apis/multicluster.x-k8s.io/v1beta1", "/apis/multicluster.x-k8s.io/v1alpha1"
RBAC, SLICES = "/apis/rbac.authorization.k8s.io/v1", "/apis/discovery.k8s.io/v1"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
AUTHORIZATION, AUTHENTICATION = "/apis/authorization.k8s.io/v1", "/apis/authentication.k8s.io/v1"
MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
WAIT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Site:
    """A namespace of the test's own, and the administrator."""

    plane: Plane
    admin: Caller
    namespace: str

    def path(self, plural: str, name: str = "", *, api: str = MCS) -> str:
        whole = f"{api}/namespaces/{self.namespace}/{plural}"
        return f"{whole}/{name}" if name else whole

    @property
    def config_maps(self) -> str:
        return self.path("configmaps", api=CORE)

    async def made(self, path: str, body: Json) -> Json:
        """A new object, as the server shows it."""
        reply = await self.admin.post(path, body)
        assert reply.code == 201, reply
        return reply.body


def export(name: str = "echo", **spec: Any) -> Json:
    return {
        "apiVersion": "multicluster.x-k8s.io/v1beta1",
        "kind": "ServiceExport",
        "metadata": {"name": name},
        "spec": spec,
    }


def imported(name: str = "echo", **spec: Any) -> Json:
    whole = {"type": "ClusterSetIP", "ports": [{"port": 80, "name": "http", "protocol": "TCP"}], **spec}
    return {**export(name), "kind": "ServiceImport", "spec": whole}


def condition(kind: str, status: str = "True", message: str = "") -> Json:
    when = "2026-01-02T03:04:05Z"
    return {"type": kind, "status": status, "reason": "Because", "message": message, "lastTransitionTime": when}


def config_map(name: str = "settings", labels: Mapping[str, str] | None = None, **data: str) -> Json:
    metadata = {"name": name, **({"labels": labels} if labels else {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def service(name: str = "echo", **spec: Any) -> Json:
    whole = {"selector": {"app": name}, "ports": [{"name": "http", "port": 80}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": whole}


def names(reply: Reply) -> list[str]:
    return [item["metadata"]["name"] for item in reply.body["items"]]


def version(body: Json) -> str:
    found: str = body["metadata"]["resourceVersion"]
    return found


async def until_code(caller: Caller, path: str, code: int) -> Reply:
    """Ask until the answer has that status."""
    async with asyncio.timeout(WAIT_SECONDS):
        while (reply := await caller.get(path)).code != code:
            await asyncio.sleep(0.01)
    return reply
