"""AuthorizationPolicies: what callers of the other clusters may not do in a mesh that verifies them. Pure.

Once istiod trusts the peers' CAs, their workloads are authenticated callers everywhere. What is exported is meant to be
called by them and nothing else is, so these policies only deny, and only callers of foreign trust domains: no caller of
the own mesh is touched. A policy that allows would do harm: where Istio finds one, it refuses all whom none names.

- In the mesh's root namespace: calls of theirs that were not made to a name of the clusterset (by SNI).
- In every namespace that exports: calls of theirs to other ports than those that exported services have there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from controllers.mcs.objects import MANAGED_BY, MANAGER, Apply, Document
from controllers.mesh.base import Whole
from controllers.sources.manifests import ObjectId
from federation.model.names import CLUSTERSET_DOMAIN
from federation.model.state import Protocol

POLICY_NAME = "federation-foreign-callers"


def foreign_caller_policies(whole: Whole, *, root_namespace: str, api_version: str) -> Iterator[Apply]:
    """The policies of all namespaces; none while no other trust domain is accepted."""
    domains = sorted(domain for domain in whole.anchors if domain != whole.around.trust_domain)
    if not domains:
        return
    outside = {"when": [{"key": "connection.sni", "notValues": [f"*.svc.{CLUSTERSET_DOMAIN}"]}]}
    yield _policy(root_namespace, domains, outside, api_version)
    for namespace, ports in sorted(_exported_ports(whole).items()):
        if namespace != root_namespace:
            elsewhere = {"to": [{"operation": {"notPorts": [str(port) for port in sorted(ports)]}}]} if ports else {}
            yield _policy(namespace, domains, elsewhere, api_version)


def _exported_ports(whole: Whole) -> dict[str, set[int]]:
    """By namespace, the ports that workloads of exported services listen on; readiness does not matter."""
    found: dict[str, set[int]] = {}
    for key, result in whole.results.items():
        if result.exported.export is None:
            continue
        ports = found.setdefault(key.namespace, set())
        names = {port.name for port in result.exported.export.ports if port.protocol is Protocol.TCP}
        if (local := whole.services.get(key)) is not None:
            ports.update(
                port.port
                for piece in local.slices
                for port in piece.ports
                if port.protocol is Protocol.TCP and port.name in names
            )
    return found


def _policy(namespace: str, domains: Sequence[str], where: Document, api_version: str) -> Apply:
    sources = [{"source": {"principals": [f"{domain}/*" for domain in domains]}}]
    document = {
        "apiVersion": api_version,
        "kind": "AuthorizationPolicy",
        "metadata": {
            "namespace": namespace,
            "name": POLICY_NAME,
            "labels": {MANAGED_BY["AuthorizationPolicy"]: MANAGER},
        },
        "spec": {"action": "DENY", "rules": [{"from": sources, **where}]},
    }
    return Apply(ObjectId("AuthorizationPolicy", namespace, POLICY_NAME), "", document)
