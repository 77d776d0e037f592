"""CoreDNS's configuration changed over the API: what is written, what is left, and who is not overwritten."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from controllers.dns.corefile_edit import Method, with_forward, with_plugin
from controllers.kube.client import KubeAccess, KubeError
from federation.app.dns_install import DnsSite, opened_site
from federation.app.dns_plan import CUSTOM_KEY, ClusterDns, DnsError, DnsPlan, plan_install, plan_uninstall
from federation.model.addresses import HostPort
from support.cluster_dns import CONFIG_MAPS, COREDNS, CUSTOM, DEPLOYMENTS, data, put_coredns, put_service, writes
from support.corefiles import AKS, KUBEADM, NODE_CACHE
from support.kube.server import StandIn
from support.kubernetes_site import SOMEBODY

SERVER = HostPort("10.96.0.20", 53)
install = partial(plan_install, method=Method.FORWARD)


@pytest.fixture
async def site(api_server: StandIn, tmp_path: Path) -> AsyncIterator[DnsSite]:
    put_service(api_server)
    kubeconfig = api_server.write_kubeconfig(tmp_path / "kubeconfig")
    async with opened_site(KubeAccess(kubeconfig), "federation-system") as opened:
        yield opened


async def test_the_corefile_is_changed_and_restored(api_server: StandIn, site: DnsSite) -> None:
    """One write each; other keys and labels stay, and a second time there is nothing to write."""
    put_coredns(api_server)
    for plan, corefile in ((install, with_forward(KUBEADM, SERVER)), (plan_uninstall, KUBEADM)):
        done = await site.change(plan, write=True)
        again = await site.change(plan, write=True)
        assert (len(done.changes), again.changes) == (1, ())
        assert data(api_server) == {"Corefile": corefile, "NodeHosts": "10.0.0.1 node\n"}
    assert api_server.objects(CONFIG_MAPS)[COREDNS]["metadata"]["labels"] == {"keep": "me"}
    assert writes(api_server) == [("update", 200), ("update", 200)]


async def test_what_is_only_shown_is_not_written(api_server: StandIn, site: DnsSite) -> None:
    """The diff has the lines that would come."""
    put_coredns(api_server)
    (change,) = (await site.change(install, write=False)).changes
    lines = list(change.diff())

    assert lines[0] == "--- a/kube-system/coredns/Corefile"
    assert "+    forward . 10.96.0.20:53" in lines
    assert [line for line in lines[2:] if line.startswith("-")] == []
    assert writes(api_server) == []


async def test_who_writes_at_the_same_time_is_not_overwritten(api_server: StandIn, site: DnsSite) -> None:
    """What he wrote is in it, and ours too: the edit is made anew of what is there then."""
    put_coredns(api_server)
    others = KUBEADM.replace("ttl 30", "ttl 10")
    kind = api_server.registry.catalog.stored(CONFIG_MAPS)
    assert kind is not None

    def meanwhile(found: ClusterDns) -> DnsPlan:
        if not writes(api_server):
            patch = {"data": {"Corefile": others}}
            api_server.registry.patch(kind, COREDNS, "application/merge-patch+json", patch, SOMEBODY)
        return install(found)

    await site.change(meanwhile, write=True)
    assert writes(api_server) == [("update", 409), ("update", 200)]
    assert (data(api_server) or {})["Corefile"] == with_forward(others, SERVER)


async def test_a_fight_over_the_file_is_given_up(api_server: StandIn, site: DnsSite) -> None:
    """With a hint at who it is."""
    put_coredns(api_server)
    api_server.fail(409, times=100, verbs=["update"], plural="configmaps")
    with pytest.raises(DnsError, match="changed by somebody else") as refused:
        await site.change(install, write=True)
    assert "managed-fields" in refused.value.hint


@pytest.mark.parametrize("before", [None, {}, {"log.override": "log"}])
async def test_custom_servers_come_and_go(api_server: StandIn, site: DnsSite, before: dict[str, str] | None) -> None:
    """Where the Corefile takes them in: the ConfigMap is made if it is missing, and is then what it was before."""
    put_coredns(api_server, AKS)
    if before is not None:
        api_server.put(CONFIG_MAPS, {"metadata": {"name": CUSTOM.name, "namespace": CUSTOM.namespace}, "data": before})
    await site.change(install, write=True)
    assert "forward . 10.96.0.20:53" in (data(api_server, CUSTOM) or {})[CUSTOM_KEY]
    assert (data(api_server) or {})["Corefile"] == AKS

    await site.change(plan_uninstall, write=True)
    assert data(api_server, CUSTOM) == before


async def test_a_custom_file_of_ours_that_others_use_stays(api_server: StandIn, site: DnsSite) -> None:
    """Only our key goes where something else came into the ConfigMap."""
    put_coredns(api_server, AKS)
    await site.change(install, write=True)
    kind = api_server.registry.catalog.stored(CONFIG_MAPS)
    assert kind is not None
    patch = {"data": {"log.override": "log"}}
    api_server.registry.patch(kind, CUSTOM, "application/merge-patch+json", patch, SOMEBODY)

    await site.change(plan_uninstall, write=True)
    assert data(api_server, CUSTOM) == {"log.override": "log"}


async def test_the_plugin_needs_rights_that_are_looked_for(api_server: StandIn, site: DnsSite) -> None:
    """CoreDNS's service account is asked for by name; with a role the same command goes through."""
    put_coredns(api_server)
    plan = partial(plan_install, method=Method.PLUGIN)
    with pytest.raises(DnsError, match="may not list and watch serviceimports"):
        await site.change(plan, write=True)

    group = "rbac.authorization.k8s.io"
    rule = {"apiGroups": ["multicluster.x-k8s.io"], "resources": ["serviceimports"], "verbs": ["list", "watch"]}
    api_server.put((group, "clusterroles"), {"metadata": {"name": "reader"}, "rules": [rule]})
    account = {"kind": "ServiceAccount", "namespace": "kube-system", "name": "coredns"}
    reference = {"kind": "ClusterRole", "apiGroup": group, "name": "reader"}
    binding = {"metadata": {"name": "reader"}, "roleRef": reference, "subjects": [account]}
    api_server.put((group, "clusterrolebindings"), binding)
    await site.change(plan, write=True)
    assert (data(api_server) or {})["Corefile"] == with_plugin(KUBEADM)


async def test_the_image_is_looked_at(api_server: StandIn, site: DnsSite) -> None:
    """Of Deployment coredns."""
    put_coredns(api_server, image="coredns/coredns:v1.11.3")
    with pytest.raises(DnsError, match=r"coredns:v1\.11\.3 is older"):
        await site.change(partial(plan_install, method=Method.PLUGIN), write=True)


async def test_kube_dns_and_node_caches_are_found(api_server: StandIn, site: DnsSite) -> None:
    """By their objects."""
    api_server.put(DEPLOYMENTS, {"metadata": {"name": "kube-dns", "namespace": "kube-system"}, "spec": {}})
    assert (await site.look()).kube_dns
    put_coredns(api_server)
    metadata = {"name": "node-local-dns", "namespace": "kube-system"}
    api_server.put(CONFIG_MAPS, {"metadata": metadata, "data": {"Corefile": NODE_CACHE}})
    found = await site.look()
    assert (found.kube_dns, found.node_cache) == (False, NODE_CACHE)


async def test_an_api_server_that_refuses_is_told(api_server: StandIn, site: DnsSite) -> None:
    """In its words; nothing is taken for missing."""
    put_coredns(api_server)
    api_server.fail(500, times=100)
    with pytest.raises(KubeError):
        await site.look()
