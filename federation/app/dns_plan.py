"""What `federation dns` would change in a cluster, and what stands against it. Pure: facts in, texts out.

``dns_install`` goes and looks, and writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from controllers.dns.corefile import CorefileError, parse_corefile
from controllers.dns.corefile_edit import (
    Installed,
    Method,
    forwarding,
    holders,
    installed,
    reloads,
    with_forward,
    with_plugin,
    without,
)
from federation.model.addresses import HostPort
from federation.model.errors import FederationError
from federation.model.names import CLUSTERSET_DOMAIN

CUSTOM_KEY: Final = "federation-gateway.server"
"""Our file in the ConfigMap ``coredns-custom``."""
OLDEST_COREDNS: Final = (1, 12, 2)
"""The first with the option ``multicluster`` of the plugin kubernetes."""
_TAG: Final = re.compile(r":v?(\d+)\.(\d+)\.(\d+)")
_RESTART: Final = "CoreDNS has no plugin reload: kubectl -n kube-system rollout restart deployment coredns"


class DnsError(FederationError):
    """The cluster's DNS can't be changed as it is asked for."""


@dataclass(frozen=True, slots=True)
class ClusterDns:
    """The cluster's DNS as it was found."""

    corefile: str | None
    """Of ConfigMap ``coredns``; None where there is none."""
    custom: str | None = None
    """What ``coredns-custom`` holds under our key."""
    others: tuple[str, ...] = ()
    """The server blocks that it holds under other keys."""
    node_cache: str | None = None
    """The Corefile of NodeLocal DNSCache."""
    kube_dns: bool = False
    """Whether kube-dns, CoreDNS's predecessor, is there."""
    image: str = ""
    """Of CoreDNS."""
    server: HostPort | None = None
    """The Service in front of the controllers' DNS."""
    service: str = ""
    """Its name, ``namespace/name``."""
    imports_served: bool = False
    """Whether the API has the ServiceImports that CoreDNS reads (v1alpha1)."""
    may_read_imports: bool = False
    """Whether CoreDNS's service account may list and watch them."""


@dataclass(frozen=True, slots=True)
class DnsPlan:
    """The texts as they are to be, and what the user must know or do besides."""

    corefile: str
    custom: str | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DnsStatus:
    """What is installed, and what is wrong with it."""

    method: str
    """``forward``, ``plugin``, or empty where nothing is installed."""
    server: str
    """Where the zone is forwarded to."""
    problems: tuple[str, ...]


def plan_install(found: ClusterDns, method: Method) -> DnsPlan:
    """Raises DnsError or CorefileError where it can't be done, or somebody else has done it."""
    corefile = _corefile(found)
    if method is Method.PLUGIN:
        if lacking := tuple(_lacking(found)):
            raise DnsError(
                f"CoreDNS can't read ServiceImports by itself here: {'; '.join(lacking)}",
                hint="deploy/coredns/README.md has what it needs; --method forward needs none of it",
            )
        return DnsPlan(with_plugin(corefile), None, tuple(_notes(found, corefile)))
    server = _server(found)
    for text in found.others:
        for holder in holders(text):
            raise CorefileError(
                f"ConfigMap kube-system/coredns-custom has {holder} already, which is not ours",
                hint="remove it first if the federation is to answer; nothing was changed",
            )
    notes = tuple(_notes(found, corefile))
    edited = with_forward(corefile, server)
    if not takes_custom_servers(corefile):
        return DnsPlan(edited, None, notes)
    # Where a provider watches over the ConfigMap coredns (AKS, k3s) it undoes edits, and leaves this one to the user.
    block = with_forward(".:53 {\n}\n", server).removeprefix(".:53 {\n}\n")
    where = f"written to ConfigMap kube-system/coredns-custom, key {CUSTOM_KEY}: the provider owns coredns"
    return DnsPlan(without(corefile), block, (where, *notes))


def plan_uninstall(found: ClusterDns) -> DnsPlan:
    """Raises CorefileError where our marks are damaged."""
    return DnsPlan(without(found.corefile or ""), None)


def judge(found: ClusterDns) -> DnsStatus:
    """What is there of ours, and why it does not work, if it doesn't. Raises CorefileError where it can't be told."""
    corefile = _corefile(found)
    ours = installed(found.custom or "") or installed(corefile)
    if ours is None:
        return DnsStatus("", "", (f"nothing of the federation answers for {CLUSTERSET_DOMAIN}", *_foreign(corefile)))
    return DnsStatus(ours.method.value, ours.server, tuple(_problems(found, corefile, ours)))


def takes_custom_servers(corefile: str) -> bool:
    """Whether server blocks of the ConfigMap ``coredns-custom`` are taken in; raises CorefileError."""
    return any(pattern.endswith("custom/*.server") for pattern in parse_corefile(without(corefile)).imports)


def _corefile(found: ClusterDns) -> str:
    if found.corefile is not None:
        return found.corefile
    if found.kube_dns:
        server = found.server.host if found.server is not None else "ADDRESS"
        patch = f'{{"data":{{"stubDomains":"{{\\"{CLUSTERSET_DOMAIN}\\":[\\"{server}\\"]}}"}}}}'
        raise DnsError(
            "this cluster runs kube-dns, not CoreDNS: its ConfigMap kube-system/kube-dns is not edited",
            hint=f"add the stub domain: kubectl -n kube-system patch configmap kube-dns --type merge -p '{patch}'",
        )
    raise DnsError(
        "there is no ConfigMap kube-system/coredns with a Corefile",
        hint="is the cluster's DNS called otherwise? docs/dns.md says what to add to it by hand",
    )


def _server(found: ClusterDns) -> HostPort:
    if found.server is None:
        raise DnsError(
            f"Service {found.service} has no cluster IP to forward to",
            hint="`federation install` makes it: run it first",
        )
    return found.server


def _lacking(found: ClusterDns) -> Iterator[str]:
    release = _TAG.search(found.image)
    oldest = ".".join(map(str, OLDEST_COREDNS))
    if release is None:
        yield f"the image {found.image or 'of its Deployment'} does not tell its version, {oldest} is needed"
    elif tuple(map(int, release.groups())) < OLDEST_COREDNS:
        yield f"{found.image} is older than {oldest}"
    if not found.imports_served:
        yield "the API serves no ServiceImports of multicluster.x-k8s.io/v1alpha1"
    if not found.may_read_imports:
        yield "its service account may not list and watch serviceimports (deploy/coredns/multicluster-rbac.yaml)"


def _notes(found: ClusterDns, corefile: str) -> Iterator[str]:
    if not reloads(without(corefile)):
        yield _RESTART
    yield from _node_cache(found)


def _node_cache(found: ClusterDns) -> Iterator[str]:
    """NodeLocal DNSCache sends what is not ``cluster.local`` to the resolver of its node, past CoreDNS."""
    if found.node_cache is None or found.server is None:
        return
    try:
        if any(True for _ in holders(found.node_cache)):
            return
        # Its own block for the cluster's names shows on which addresses it listens.
        blocks = parse_corefile(found.node_cache).blocks
    except CorefileError:
        blocks = ()
    bind = next((one.arguments for block in blocks for one in block.named("bind")), ())
    block = " ".join(line.strip() for line in forwarding(found.server, bind=bind))
    yield (
        "pods ask NodeLocal DNSCache, which does not ask CoreDNS for other zones: "
        f"add to the Corefile of ConfigMap kube-system/node-local-dns, a line for each part: {block}"
    )


def _foreign(corefile: str) -> Iterator[str]:
    yield from (f"the Corefile has {holder}, which is not ours" for holder in holders(corefile))


def _problems(found: ClusterDns, corefile: str, ours: Installed) -> Iterator[str]:
    if ours.method is Method.PLUGIN:
        yield from _lacking(found)
    elif found.server is None:
        yield f"the zone is forwarded to {ours.server}, and Service {found.service} has no cluster IP"
    elif ours.server != str(found.server):
        yield f"the zone is forwarded to {ours.server}, but Service {found.service} is at {found.server}: install again"
    if found.custom is not None and not takes_custom_servers(corefile):
        yield "the Corefile does not take in coredns-custom any more: install again"
    yield from _notes(found, corefile)
