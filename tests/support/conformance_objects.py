"""The objects of the MCS API's conformance suite, and the slices that Kubernetes would make of their pods. Pure.

No pod runs in a test. What the suite's Deployments and StatefulSets bring about is an EndpointSlice for each family of
the Service, which kube-controller-manager writes in a cluster; here ``native_slices`` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

NAME = "hello"
TCP: Json = {"name": "tcp", "port": 42, "protocol": "TCP"}
UDP: Json = {"name": "udp", "port": 42, "protocol": "UDP"}
SERVICE_NAME_LABEL = "kubernetes.io/service-name"
MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"
KUBERNETES_OWN = "endpointslice-controller.k8s.io"


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that would be ready, with its address of each family."""

    addresses: tuple[tuple[str, str], ...]
    hostname: str = ""

    def address(self, family: str) -> str:
        return dict(self.addresses)[family]


def hello_service(**spec: Any) -> Json:
    """The suite's Service; ``spec`` are fields that a spec states otherwise, None for one that it leaves out."""
    stated: Json = {
        "selector": {"app": NAME},
        "ports": [dict(TCP), dict(UDP)],
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10}},
        "ipFamilyPolicy": "PreferDualStack",
    }
    metadata = {"name": NAME, "labels": {"dummy-svc": "dummy"}, "annotations": {"dummy-svc": "dummy"}}
    whole = {name: value for name, value in {**stated, **spec}.items() if value is not None}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": whole}


def hello_export(**spec: Any) -> Json:
    """The suite's ServiceExport; its own label and annotation must not travel."""
    marks = {"dummy-svcexport": "dummy"}
    export = {"apiVersion": "multicluster.x-k8s.io/v1beta1", "kind": "ServiceExport"}
    return {
        **export,
        "metadata": {"name": NAME, "labels": marks, "annotations": marks},
        **({"spec": spec} if spec else {}),
    }


def native_slices(service: Json, pods: Sequence[Pod]) -> list[Json]:
    """What Kubernetes' own controller makes of a Service, as stored, whose ``pods`` are all ready."""
    ports = [
        {"name": port["name"], "port": port.get("targetPort") or port["port"], "protocol": port["protocol"]}
        for port in service["spec"]["ports"]
    ]
    return [
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{NAME}-{family.lower()}",
                "labels": {SERVICE_NAME_LABEL: NAME, MANAGED_BY_LABEL: KUBERNETES_OWN},
            },
            "addressType": family,
            "endpoints": [_endpoint(pod, family) for pod in pods],
            "ports": ports,
        }
        for family in service["spec"].get("ipFamilies") or ()
    ]


def _endpoint(pod: Pod, family: str) -> Json:
    named = {"hostname": pod.hostname} if pod.hostname else {}
    return {"addresses": [pod.address(family)], "conditions": {"ready": True}, **named}


def import_ports(*services: Json) -> list[tuple[Any, ...]]:
    """The ports of Services as an import must have them, sorted by name."""
    return sorted_ports(port for service in services for port in service["spec"]["ports"])


def sorted_ports(ports: Any) -> list[tuple[Any, ...]]:
    """Name, protocol, number and application protocol of each."""
    return sorted((one.get("name"), one["protocol"], one["port"], one.get("appProtocol")) for one in ports)
