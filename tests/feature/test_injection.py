"""A real API server, our webhook and our trust distributor: who makes a pod gets it with its sidecar.

The stand-in calls no webhooks, and knows less of pods: what Kubernetes makes of the patch only Kubernetes can say.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from controllers.http.injection_webhook import FACE, webhook_app
from controllers.http.rotating_tls import serve_tls
from controllers.injection.annotations import Tuning
from controllers.injection.pod_patch import with_sidecar
from controllers.injection.trust_objects import CONFIGURATION
from controllers.kube.client import KubeAccess, open_client
from controllers.kube.trust_distributor import TrustDistributor
from federation.app.bundles import own_certificate
from federation.model.addresses import HostPort
from support.certificates import MemoryKeystore
from support.exchange import until
from support.injection import INJECTION
from support.kube.caller import Caller, Reply
from support.kube.plane import REAL, plane_of
from support.kube.site import CORE
from support.kubernetes_site import QUICK
from support.ports import free_port
from trustbundle.authority import CertificateAuthority
from trustbundle.identity import TrustDomain
from trustbundle.rotation import RotationPolicy

CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
SYSTEM, SHOP, STRICT = "injection-system", "injection-shop", "injection-strict"
LABEL = "federation-gateway.dev/injection"
SECURED: dict[str, Any] = {
    "name": "app",
    "image": "app:1",
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
}
# The account that a plugin names which this API server runs without, as there are no controllers that make it.
SPEC: dict[str, Any] = {"serviceAccountName": "default", "containers": [SECURED]}


class Site:
    """The administrator's view of the cluster."""

    def __init__(self, caller: Caller, authority: CertificateAuthority, distributor: TrustDistributor) -> None:
        self.caller = caller
        self.authority = authority
        self.distributor = distributor

    async def make(self, namespace: str, name: str, **metadata: Any) -> Reply:
        """Make a pod."""
        pod = {"metadata": {"name": name, **metadata}, "spec": SPEC}
        return await self.caller.post(f"{CORE}/namespaces/{namespace}/pods", pod, fieldValidation="Strict")

    async def bundle(self, namespace: str) -> str:
        reply = await self.caller.get(f"{CORE}/namespaces/{namespace}/configmaps/federation-trust-bundle")
        return str(reply.body.get("data", {}).get("bundle.pem", ""))


@pytest.fixture(params=[REAL])
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    """With the webhook served and its configuration filled in; namespaces with injection, one of them restricted."""
    server = request.getfixturevalue("real_api_server")
    authority = CertificateAuthority(
        TrustDomain("east.test"),
        RotationPolicy(timedelta(hours=1), timedelta(hours=12), timedelta(minutes=10)),
        MemoryKeystore(),
    )
    authority.tick(datetime.now(UTC))
    kubeconfig = server.write_kubeconfig(tmp_path / "kubeconfig")
    distributor = TrustDistributor(
        partial(open_client, KubeAccess(kubeconfig)),
        SYSTEM,
        lambda: authority.bundle().pem,
        lambda: True,
        patience=QUICK,
    )
    port = free_port("127.0.0.1")
    before = _sockets()
    async with AsyncExitStack() as stack:
        # The API server keeps its connections to a webhook, and needs a moment to see that they end.
        stack.push_async_callback(until, lambda: _sockets() <= before)
        caller = await stack.enter_async_context(plane_of(server).caller())
        app = webhook_app(lambda: INJECTION, distributor.namespace_facts)
        # By its address, since nothing leads to a Service here: verified is this name instead of the Service's.
        certificate = own_certificate(authority, "east.test", ["localhost"])
        await stack.enter_async_context(serve_tls(app, HostPort("127.0.0.1", port), certificate, tmp_path, FACE))
        await stack.enter_async_context(_running(distributor))
        labels = {SYSTEM: {}, SHOP: {LABEL: "enabled"}, STRICT: {LABEL: "enabled"}}
        labels[STRICT]["pod-security.kubernetes.io/enforce"] = "restricted"
        for name, own in labels.items():
            reply = await caller.post(f"{CORE}/namespaces", {"metadata": {"name": name, "labels": own}})
            assert reply.code in {201, 409}, reply
        reply = await caller.post(CONFIGURATIONS, _configuration(port))
        assert reply.code == 201, reply
        stack.push_async_callback(caller.delete, f"{CONFIGURATIONS}/{CONFIGURATION}")
        await until(lambda: distributor.settled)
        yield Site(caller, authority, distributor)


def _sockets() -> int:
    """How many this process has open."""
    links = []
    for one in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            links.append(str(one.readlink()))
    return sum(link.startswith("socket:") for link in links)


@asynccontextmanager
async def _running(distributor: TrustDistributor) -> AsyncIterator[None]:
    task = asyncio.get_running_loop().create_task(distributor.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _configuration(port: int) -> dict[str, Any]:
    """As installed, but for the place of the webhook; and failures are told."""
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    webhook = {
        "name": "inject.federation-gateway.dev",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": f"https://localhost:{port}/inject"},
        "rules": [{**rule, "scope": "Namespaced"}],
        "namespaceSelector": {"matchExpressions": [{"key": LABEL, "operator": "In", "values": ["enabled", "manual"]}]},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "timeoutSeconds": 5,
    }
    return {"metadata": {"name": CONFIGURATION}, "webhooks": [webhook]}


def begun(reply: Reply) -> list[str]:
    assert reply.code == 201, reply.body.get("message")
    return [one["name"] for one in reply.body["spec"].get("initContainers", ())]


async def made(site: Site, namespace: str, name: str, **metadata: Any) -> Reply:
    """A pod, once the API server has taken in the configuration that was filled in."""
    reply = await site.make(namespace, name, **metadata)
    while reply.code == 500:
        assert "webhook" in reply.body["message"], reply.body
        reply = await site.make(namespace, name, **metadata)
    return reply


async def test_pods_of_a_cluster_get_their_sidecar(site: Site) -> None:
    """The API server finds the webhook by the bundle that was filled in, and takes every field of the sidecar; who has
    none is warned; what serves trust is where the pods are; and all of it goes on with another CA."""
    reply = await made(site, SHOP, "web")
    assert reply.code == 201, reply.body.get("message")
    proxy = reply.body["spec"]["initContainers"][2]
    refused = await site.make(SHOP, "wrong", annotations={"federation-gateway.dev/probe-port": "http"})
    quiet = await site.make(SHOP, "quiet", labels={"federation-gateway.dev/inject": "false"})

    assert begun(reply) == ["federation-bootstrap", "federation-init", "federation-proxy"]
    assert (proxy["restartPolicy"], proxy["startupProbe"]["periodSeconds"]) == ("Always", 1)
    assert (begun(refused), begun(quiet)) == ([], [])
    assert "federation-gateway.dev/probe-port" in refused.headers["Warning"]
    assert "Warning" not in quiet.headers
    assert [await site.bundle(name) for name in (SYSTEM, SHOP)] == [site.authority.bundle().pem] * 2

    now = datetime.now(UTC)
    site.authority.request_rotation(now)
    site.authority.tick(now)
    site.authority.mark_published(site.authority.bundle().sequence, now)
    site.distributor.hurry()
    await until(lambda: site.distributor.settled)
    site.authority.tick(now + timedelta(minutes=10))
    assert begun(await made(site, SHOP, "later"))[-1] == "federation-proxy"
    configuration = (await site.caller.get(f"{CONFIGURATIONS}/{CONFIGURATION}")).body
    held = base64.b64decode(configuration["webhooks"][0]["clientConfig"]["caBundle"]).decode()
    assert held.count("BEGIN CERTIFICATE") == 2


async def test_a_restricted_namespace_takes_sidecars_without_the_redirect(site: Site) -> None:
    """Every container but that of the redirect is as the restricted profile asks."""
    without = await made(site, STRICT, "server", annotations={"federation-gateway.dev/redirect": "false"})
    redirected = await site.make(STRICT, "caller")

    assert begun(without) == ["federation-bootstrap", "federation-proxy"]
    assert (redirected.code, "federation-init" in redirected.body["message"]) == (403, True)


@pytest.mark.parametrize("native", [True, False])
async def test_no_field_of_the_sidecar_is_unknown(native: bool, site: Site) -> None:
    """Of native and of plain ones, by strict validation; each may be made."""
    tuning = Tuning(resources=(("limits", "cpu", "1"),))
    pod = {"metadata": {"generateName": "web-"}, "spec": SPEC}
    whole = with_sidecar(pod, replace(INJECTION, native=native), tuning)
    path = f"{CORE}/namespaces/{SYSTEM}/pods"
    reply = await site.caller.post(path, whole, fieldValidation="Strict", dryRun="All")
    assert reply.code == 201, reply.body.get("message")
