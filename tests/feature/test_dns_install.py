"""`federation dns` on an API server, the stand-in and a real one: both ways in, and out again to the byte.

The ConfigMaps are in kube-system, which a real server keeps from test to test: no other test has them there.
"""

from __future__ import annotations

import uuid
from functools import partial
from pathlib import Path

import pytest
import yaml

from controllers.dns.corefile_edit import Method, installed
from controllers.kube.client import KubeAccess
from federation.app.dns_install import DnsSite, opened_site
from federation.app.dns_plan import DnsError, judge, plan_install, plan_uninstall
from support.corefiles import AKS, KUBEADM
from support.kube.caller import Caller
from support.kube.objects import Json
from support.kube.plane import Plane
from support.kube.site import CORE, RBAC, service

ROOT = Path(__file__).parents[2]
SYSTEM = f"{CORE}/namespaces/kube-system/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/kube-system/deployments"


async def put(caller: Caller, path: str, body: Json) -> None:
    reply = await caller.post(path, body)
    assert reply.code in {201, 409}, reply


async def corefile_is(caller: Caller, text: str) -> None:
    """The ConfigMap anew, with that Corefile."""
    await caller.delete(f"{SYSTEM}/coredns")
    await put(caller, SYSTEM, {"metadata": {"name": "coredns"}, "data": {"Corefile": text}})


async def data(caller: Caller, name: str) -> Json | None:
    reply = await caller.get(f"{SYSTEM}/{name}")
    return reply.body.get("data") if reply.code == 200 else None


async def undone(site: DnsSite, caller: Caller, text: str) -> None:
    await site.change(plan_uninstall, write=True)
    assert await data(caller, "coredns") == {"Corefile": text}
    assert await data(caller, "coredns-custom") is None


async def test_both_ways_in_and_out(kube_plane: Plane, tmp_path: Path) -> None:
    """Forwarding to the address that the API gave the Service; the plugin once CoreDNS has the rights that are shipped;
    coredns-custom where the Corefile takes that in."""
    namespace = f"dns-{uuid.uuid4().hex[:8]}"
    kubeconfig = kube_plane.server.write_kubeconfig(tmp_path / "kubeconfig")
    forward, plugin = (partial(plan_install, method=method) for method in Method)
    async with kube_plane.caller() as admin, opened_site(KubeAccess(kubeconfig), namespace) as site:
        await put(admin, f"{CORE}/namespaces", {"metadata": {"name": namespace}})
        ports = [{"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 15053}]
        await put(admin, f"{CORE}/namespaces/{namespace}/services", service("federation-dns", ports=ports))
        labels = {"k8s-app": "kube-dns"}
        pod = {"serviceAccountName": "coredns", "containers": [{"name": "coredns", "image": "coredns:v1.12.2"}]}
        spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
        await put(admin, DEPLOYMENTS, {"metadata": {"name": "coredns"}, "spec": spec})
        address = (await admin.get(f"{CORE}/namespaces/{namespace}/services/federation-dns")).body["spec"]["clusterIP"]

        await corefile_is(admin, KUBEADM)
        await site.change(forward, write=True)
        found = await site.look()
        assert (judge(found).server, judge(found).problems) == (f"{address}:53", ())

        with pytest.raises(DnsError, match="may not list and watch serviceimports"):
            await site.change(plugin, write=True)
        role, binding = yaml.safe_load_all((ROOT / "deploy" / "coredns" / "multicluster-rbac.yaml").read_text())
        await put(admin, f"{RBAC}/clusterroles", role)
        await put(admin, f"{RBAC}/clusterrolebindings", binding)
        await site.change(plugin, write=True)
        ours = installed((await site.look()).corefile or "")
        assert ours is not None
        assert ours.method is Method.PLUGIN
        await undone(site, admin, KUBEADM)

        await corefile_is(admin, AKS)
        await site.change(forward, write=True)
        assert judge(await site.look()).server == f"{address}:53"
        await undone(site, admin, AKS)
        await admin.delete(f"{RBAC}/clusterrolebindings/federation-coredns")
