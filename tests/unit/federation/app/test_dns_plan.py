"""What `federation dns` would do in clusters of many kinds, and what it says where it does nothing."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

import pytest

from controllers.dns.corefile import CorefileError
from controllers.dns.corefile_edit import BEGIN, Method, with_forward, with_plugin
from federation.app.dns_plan import CUSTOM_KEY, ClusterDns, DnsError, judge, plan_install, plan_uninstall
from federation.model.addresses import HostPort
from support.corefiles import AKS, KUBEADM, NODE_CACHE

SERVER = HostPort("10.96.0.20", 53)
KIND = ClusterDns(
    KUBEADM,
    image="coredns/coredns:v1.12.2",
    server=SERVER,
    service="federation-system/federation-dns",
    imports_served=True,
    may_read_imports=True,
)


def test_a_plain_cluster_forwards_the_zone() -> None:
    """In its Corefile, and nothing is left to be said."""
    plan = plan_install(KIND, Method.FORWARD)
    assert (plan.corefile, plan.custom, plan.notes) == (with_forward(KUBEADM, SERVER), None, ())


def test_the_plugin_is_told_to_read_imports() -> None:
    """Where it can."""
    assert plan_install(KIND, Method.PLUGIN).corefile == with_plugin(KUBEADM)


def test_all_that_the_plugin_lacks_is_told_at_once() -> None:
    """Version, resource and rights."""
    bare = replace(KIND, image="coredns:v1.11.4-eksbuild.2", imports_served=False, may_read_imports=False)
    with pytest.raises(DnsError, match=r"older than 1\.12\.2; .*v1alpha1; .*list and watch serviceimports"):
        plan_install(bare, Method.PLUGIN)


@pytest.mark.parametrize(
    ("image", "accepted"),
    [
        ("coredns/coredns:1.12.2", True),
        ("host:5000/coredns:v1.13.0-gke.1", True),
        ("coredns:v2.0.0@sha256:00", True),
        ("coredns:v1.12.1", False),
        ("coredns:v1.9.9", False),
        ("coredns:latest", False),
        ("", False),
    ],
)
def test_the_version_is_that_of_the_image(image: str, accepted: bool) -> None:
    """Compared as numbers; one that can't be read is not enough."""
    try:
        plan_install(replace(KIND, image=image), Method.PLUGIN)
    except DnsError:
        assert not accepted
    else:
        assert accepted


def test_where_a_provider_owns_the_corefile_ours_stands_beside_it() -> None:
    """What the Corefile takes in from coredns-custom is the user's; the Corefile stays."""
    plan = plan_install(replace(KIND, corefile=AKS), Method.FORWARD)
    assert plan.corefile == AKS
    assert (plan.custom or "").startswith(BEGIN)
    assert "forward . 10.96.0.20:53" in (plan.custom or "")
    assert CUSTOM_KEY in plan.notes[0]


def test_a_zone_in_custom_servers_is_left_alone() -> None:
    """As in the Corefile."""
    others = ("clusterset.local:53 {\n    forward . 10.0.0.1\n}\n",)
    with pytest.raises(CorefileError, match="coredns-custom has a server block"):
        plan_install(replace(KIND, corefile=AKS, others=others), Method.FORWARD)


def test_without_its_service_nothing_is_forwarded() -> None:
    """The hint says what comes first."""
    with pytest.raises(DnsError, match="federation-system/federation-dns has no cluster IP") as refused:
        plan_install(replace(KIND, server=None), Method.FORWARD)
    assert "federation install" in refused.value.hint


def test_kube_dns_gets_a_command_for_its_stub_domain() -> None:
    """Which is valid JSON in valid JSON."""
    with pytest.raises(DnsError, match="kube-dns, not CoreDNS") as refused:
        plan_install(replace(KIND, corefile=None, kube_dns=True), Method.FORWARD)
    patch = shlex.split(refused.value.hint)[-1]
    assert json.loads(json.loads(patch)["data"]["stubDomains"]) == {"clusterset.local": ["10.96.0.20"]}


def test_a_dns_that_is_neither_is_told() -> None:
    """As on OpenShift, where an operator has it."""
    with pytest.raises(DnsError, match="no ConfigMap kube-system/coredns"):
        plan_install(replace(KIND, corefile=None), Method.FORWARD)


def test_what_the_user_must_do_besides_is_told() -> None:
    """A CoreDNS that does not reload; a cache on the nodes that goes past CoreDNS, with the block for it."""
    found = replace(KIND, corefile=KUBEADM.replace("    reload\n", ""), node_cache=NODE_CACHE)
    restart, cache = plan_install(found, Method.FORWARD).notes
    assert "rollout restart" in restart
    assert "clusterset.local:53 { bind 169.254.20.10 10.96.0.10 errors" in cache
    assert "forward . 10.96.0.20:53 }" in cache


def test_a_node_cache_that_knows_the_zone_is_no_matter() -> None:
    """After its block was added by hand."""
    cache = with_forward(NODE_CACHE, SERVER)
    assert plan_install(replace(KIND, node_cache=cache), Method.FORWARD).notes == ()


@pytest.mark.parametrize("corefile", [KUBEADM, AKS])
@pytest.mark.parametrize("method", list(Method))
def test_uninstalling_leaves_what_was_there(corefile: str, method: Method) -> None:
    """Both ways, in both kinds of clusters."""
    plan = plan_install(replace(KIND, corefile=corefile), method)
    undone = plan_uninstall(replace(KIND, corefile=plan.corefile, custom=plan.custom))
    assert (undone.corefile, undone.custom) == (corefile, None)


@pytest.mark.parametrize("corefile", [KUBEADM, AKS])
@pytest.mark.parametrize("method", list(Method))
def test_what_is_installed_is_in_order(corefile: str, method: Method) -> None:
    """No problem is told right after an installation."""
    plan = plan_install(replace(KIND, corefile=corefile), method)
    state = judge(replace(KIND, corefile=plan.corefile, custom=plan.custom))
    assert (state.method, state.problems) == (method, ())


def test_what_is_wrong_is_told() -> None:
    """Nothing installed; an address of yesterday; a Service that is gone; rights that were taken."""
    forwarded = replace(KIND, corefile=with_forward(KUBEADM, SERVER))
    assert "nothing of the federation" in judge(KIND).problems[0]
    assert (
        "is at 10.96.0.99:53: install again" in judge(replace(forwarded, server=HostPort("10.96.0.99", 53))).problems[0]
    )
    assert "has no cluster IP" in judge(replace(forwarded, server=None)).problems[0]
    plugged = replace(KIND, corefile=with_plugin(KUBEADM), may_read_imports=False)
    assert "list and watch" in judge(plugged).problems[0]
    stale = replace(KIND, custom=with_forward(".:53 {\n}\n", SERVER))
    assert "does not take in coredns-custom" in judge(stale).problems[0]


def test_somebody_else_who_answers_is_named() -> None:
    """So that it is clear why names resolve though nothing is installed."""
    other = f"{KUBEADM}clusterset.local:53 {{\n}}\n"
    assert "which is not ours" in judge(replace(KIND, corefile=other)).problems[1]
