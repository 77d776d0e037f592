"""The adapter of Istio: its sidecars call imported services, and accept the callers of exported ones.

Calls go from the sidecar by mutual TLS to the gateway of the other cluster, which passes them through to the server.
What comes in passes the own cluster's gateway, an Envoy of ours, to the port that the workload listens on, where Istio
redirects it to the sidecar. So there is no Gateway object: Istio's own east-west gateway has no part in this.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from controllers.mcs.objects import Observed
from controllers.mesh.base import Rendered, Whole, clusterset_ips
from controllers.mesh.detect import DetectedMesh, IstioSetup, MeshKind
from controllers.mesh.istio_authorization import foreign_caller_policies
from controllers.mesh.istio_destination_rule import destination_rule
from controllers.mesh.istio_mesh_config import SUBJECT, check_trust
from controllers.mesh.istio_service_entry import service_entries
from controllers.projection import ServiceResult, Surroundings
from controllers.sources.watched_objects import Resource
from federation.model.names import ServiceKey
from federation.model.problems import Problem
from federation.model.state import ServiceState

_PLURALS: Final = {
    "AuthorizationPolicy": "authorizationpolicies",
    "DestinationRule": "destinationrules",
    "ServiceEntry": "serviceentries",
}

# The derived Service has the same address as the ServiceEntry and no endpoint: of two TCP listeners for one address
# Istio takes the older service's, and that is the derived one. "~" shows it to nobody (istio api/annotation).
_HIDDEN: Final = {"networking.istio.io/exportTo": "~"}


class IstioAdapter:
    """For the Istio that was detected; raises ValueError for any other mesh."""

    name = "istio"

    def __init__(self, mesh: DetectedMesh) -> None:
        if mesh.kind is not MeshKind.ISTIO:
            raise ValueError(f"the mesh is {mesh.kind}")
        self._mesh = mesh
        self._setup = mesh.istio or IstioSetup()

    @property
    def resources(self) -> tuple[Resource, ...]:
        return tuple(
            Resource(kind, (version,), _PLURALS[kind]) for kind, version in sorted(self._mesh.api_versions.items())
        )

    @property
    def derived_annotations(self) -> Mapping[str, str]:
        return MappingProxyType(_HIDDEN)

    def objects(
        self,
        key: ServiceKey,
        result: ServiceResult | None,
        local: ServiceState,
        observed: Observed,
        around: Surroundings,
    ) -> Rendered:
        versions = self._mesh.api_versions
        if result is None or not result.imports or not {"DestinationRule", "ServiceEntry"} <= versions.keys():
            return Rendered()
        rule = destination_rule(
            result, api_version=versions["DestinationRule"], http2_keepalive=self._setup.http2_keepalive
        )
        ips = clusterset_ips(key, observed)
        entries = service_entries(result, local, ips, around, api_version=versions["ServiceEntry"])
        # A call that finds the entry without the rule would be sent without the federation's settings.
        return Rendered((*(() if rule is None else (rule,)), *entries.applied), entries.problems)

    def shared(self, whole: Whole) -> Rendered:
        problems = check_trust(
            self._setup.config,
            whole.anchors,
            trust_domain=whole.around.trust_domain,
            multiroot=self._setup.multiroot,
        )
        if port := whole.around.sidecar_port:
            told = f"the gateway sends calls to port {port} of workloads, where Istio takes none of them"
            problems.append(Problem(SUBJECT, "SidecarPortSet", f"{told}; set mesh.sidecarPort: 0 in cluster.yaml"))
        version = self._mesh.api_versions.get("AuthorizationPolicy")
        if version is None:
            return Rendered((), tuple(problems))
        root = self._setup.config.root_namespace or self._mesh.namespace
        policies = foreign_caller_policies(whole, root_namespace=root, api_version=version)
        return Rendered(tuple(policies), tuple(problems))
