"""The adapter of Linkerd: its sidecars call imported services by way of the own cluster's gateways.

A Linkerd sidecar can't speak to a sidecar of another trust domain: identities there are DNS names below the mesh's own
trust domain, verified by its own anchors. So it calls the federation's gateway of its own cluster, which is meshed like
any workload, and that one calls on with its SVID. What Linkerd's own service mirror tells of a remote gateway, these
objects tell of the local one, on the clusterset IP's own Service (linkerd pkg/k8s/labels.go):

- EndpointSlices of the derived Service, with the gateways' addresses, their identity (``remote-gateway-identity``) and
  the name that calls are sent on with (``remote-svc-fq-name``). Endpoints that refer to a pod would have neither.
- The labels of a mirror stand on the slices alone: on a Service, ``linkerd multicluster check`` asks for its Link.

Without gateways that take such calls there is nothing to render, and a problem says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from types import MappingProxyType
from typing import Final

from controllers.mcs.objects import (
    MANAGED_BY,
    MANAGER,
    Apply,
    Document,
    Observed,
    derived_id,
    mapping,
    section,
    sequence,
    text,
)
from controllers.mesh.base import Rendered, Whole
from controllers.mesh.detect import DetectedMesh, MeshKind
from controllers.projection import ServiceResult, Surroundings
from controllers.sources.manifests import ObjectId
from controllers.sources.watched_objects import Resource
from federation.model.names import ServiceKey
from federation.model.problems import Problem
from federation.model.state import ServiceState

MIRROR_CLUSTER: Final = "federation"
"""What stands for the target cluster in Linkerd's metrics; no Link may have this name."""
AUTHENTICATION: Final = "federation-gateway"
SERVICE_ANNOTATION: Final = "federation-gateway.dev/service"
"""The import's service, as on the derived Service."""

_PLURALS: Final = {
    "AuthorizationPolicy": "authorizationpolicies",
    "MeshTLSAuthentication": "meshtlsauthentications",
}


@dataclass(frozen=True, slots=True)
class LocalGateway:
    """The own cluster's gateways as workloads of the mesh."""

    namespace: str
    service_account: str
    addresses: tuple[str, ...]
    """Of the ready pods."""
    listeners: Mapping[ServiceKey, Mapping[int, int]] = field(default_factory=dict)
    """Where they take calls of a service's ports, in the clear or by the mesh's own TLS."""
    terminates: bool = False
    """Whether they end the federation's TLS and call workloads of the mesh themselves."""


class LinkerdAdapter:
    """For the Linkerd that was detected; raises ValueError for any other mesh."""

    name = "linkerd"

    def __init__(self, mesh: DetectedMesh, gateway: LocalGateway | None = None) -> None:
        if mesh.kind is not MeshKind.LINKERD:
            raise ValueError(f"the mesh is {mesh.kind}")
        self._mesh = mesh
        self._gateway = gateway

    @property
    def resources(self) -> tuple[Resource, ...]:
        if self._gateway is None:
            return ()
        own = tuple(
            Resource(kind, (version,), _PLURALS[kind]) for kind, version in sorted(self._mesh.api_versions.items())
        )
        return (*own, Resource("EndpointSlice", ("discovery.k8s.io/v1",), "endpointslices"))

    @property
    def derived_annotations(self) -> Mapping[str, str]:
        return MappingProxyType({})

    def objects(
        self,
        key: ServiceKey,
        result: ServiceResult | None,
        local: ServiceState,  # noqa: ARG002 (of the protocol)
        observed: Observed,
        around: Surroundings,  # noqa: ARG002 (of the protocol)
    ) -> Rendered:
        derived, gateway = observed.get(derived_id(key)), self._gateway
        if result is None or derived is None or gateway is None:
            return Rendered()
        listeners = gateway.listeners.get(key, {})
        names = _port_names(derived)
        ports = [
            {"name": names[port.port], "protocol": "TCP", "port": listeners[port.port]}
            for port in sorted(result.imports, key=lambda one: one.port)
            if port.port in listeners and port.port in names
        ]
        return Rendered(tuple(self._slices(key, gateway, ports)) if ports else ())

    def shared(self, whole: Whole) -> Rendered:
        gateway = self._gateway
        if gateway is None:
            told = "its sidecars can't call the clusterset: the gateway of this cluster takes no calls of theirs"
            return Rendered((), (Problem("mesh linkerd", "NoWayOut", f"{told}; inject sidecars of ours instead"),))
        versions = self._mesh.api_versions
        if not gateway.terminates or len(versions) < len(_PLURALS):
            return Rendered()
        namespaces = sorted(
            {key.namespace for key, result in whole.results.items() if result.exported.export is not None}
        )
        return Rendered((self._authentication(gateway), *(self._authorization(gateway, one) for one in namespaces)))

    def identity(self, gateway: LocalGateway) -> str:
        """The gateway's identity in the mesh (linkerd identity: account, namespace, control plane, trust domain)."""
        mesh = self._mesh
        account = f"{gateway.service_account}.{gateway.namespace}"
        return f"{account}.serviceaccount.identity.{mesh.namespace}.{mesh.trust_domain}"

    def _slices(self, key: ServiceKey, gateway: LocalGateway, ports: Sequence[Document]) -> Iterator[Apply]:
        service = derived_id(key)
        for version in (4, 6):
            addresses = sorted(one for one in gateway.addresses if ip_address(one).version == version)
            if not addresses:
                continue
            name = f"{service.name}-linkerd-ipv{version}"
            document = {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "namespace": key.namespace,
                    "name": name,
                    "labels": {
                        "kubernetes.io/service-name": service.name,
                        MANAGED_BY["EndpointSlice"]: MANAGER,
                        "mirror.linkerd.io/mirrored-service": "true",
                        "mirror.linkerd.io/cluster-name": MIRROR_CLUSTER,
                    },
                    "annotations": {
                        SERVICE_ANNOTATION: str(key),
                        "mirror.linkerd.io/remote-svc-fq-name": key.host,
                        "mirror.linkerd.io/remote-gateway-identity": self.identity(gateway),
                    },
                },
                "addressType": f"IPv{version}",
                "ports": list(ports),
                "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
            }
            yield Apply(ObjectId("EndpointSlice", key.namespace, name), "", document)

    def _authentication(self, gateway: LocalGateway) -> Apply:
        """Who the gateways are, to be referred to."""
        spec = {"identities": [self.identity(gateway)]}
        return self._object("MeshTLSAuthentication", gateway.namespace, AUTHENTICATION, spec)

    def _authorization(self, gateway: LocalGateway, namespace: str) -> Apply:
        """Lets the gateways call the workloads of a namespace that exports, where its Servers let nobody else."""
        reference = {
            "group": "policy.linkerd.io",
            "kind": "MeshTLSAuthentication",
            "name": AUTHENTICATION,
            "namespace": gateway.namespace,
        }
        spec = {
            "targetRef": {"kind": "Namespace", "name": namespace},
            "requiredAuthenticationRefs": [reference],
        }
        return self._object("AuthorizationPolicy", namespace, AUTHENTICATION, spec)

    def _object(self, kind: str, namespace: str, name: str, spec: Document) -> Apply:
        document = {
            "apiVersion": self._mesh.api_versions[kind],
            "kind": kind,
            "metadata": {"namespace": namespace, "name": name, "labels": {MANAGED_BY[kind]: MANAGER}},
            "spec": spec,
        }
        return Apply(ObjectId(kind, namespace, name), "", document)


def _port_names(derived: Document) -> dict[int, str]:
    """The names of the derived Service's ports by number: its slices refer to them."""
    found = {}
    for port in map(mapping, sequence(section(derived, "spec").get("ports"))):
        if isinstance(number := port.get("port"), int):
            found[number] = text(port.get("name"))
    return found
