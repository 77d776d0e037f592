"""ServiceEntries: how an Istio sidecar finds an imported service at its clusterset name and address. Pure.

Endpoints are what Envoys of ours are given: own pods by address, every other cluster by its gateways, which route by
the SNI that Istio gives to mutual TLS by itself (``outbound_.<port>_._.<host>``). Facts of Istio that decide the form:

- Every endpoint of a ServiceEntry serves all its ports. Ports that other endpoints serve have a ServiceEntry of their
  own; those of one host and namespace are merged (istio pilot/pkg/model/sidecar.go), where their labels are equal.
- An opaque port without an address would capture its number on every address, so it waits for the clusterset IP.
- No endpoint has a ``network``: one that Istio has gateways for would be sent there, and one that it has none for is
  left out by waypoints and ingress gateways. The gateways are in reach, so they count as of the caller's network.
- No endpoint has a ``serviceAccount``: Istio would accept that account of its own trust domain. Whom the server may be,
  ``subjectAltNames`` says alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from controllers.mcs.objects import MANAGED_BY, MANAGER, SERVICE_NAME_LABEL, SOURCE_CLUSTER_LABEL, Apply, Document
from controllers.mesh.base import Rendered
from controllers.projection import ServiceResult, Surroundings
from controllers.sources.manifests import ObjectId
from federation.model.names import ServiceKey
from federation.model.problems import Problem
from federation.model.records import ImportType
from federation.model.state import Protocol, ServiceState
from federation.model.view import MergedPort, MergedService
from gateway.ir.model import AppProtocol, ImportedPort

MAX_ENDPOINTS: Final = 2000
"""Of one ServiceEntry: some 400 bytes each, and an object of more than 1.5 MiB is stored nowhere. Its schema allows
4,096."""
PRIORITIES: Final = 6
"""Own cluster, own region and the rest, each of them demoted or not."""


@dataclass(frozen=True, slots=True, order=True)
class _Endpoint:
    """One endpoint; what differs from port to port of its service is left out."""

    priority: int
    cluster: str
    locality: str
    address: str
    gateway_port: int
    """0 where the endpoint is a workload, which has a port for each of the service's."""
    weight: int


@dataclass(frozen=True, slots=True)
class _Port:
    number: int
    name: str
    protocol: str
    identities: tuple[str, ...]
    endpoints: Mapping[_Endpoint, int]
    """With the port to connect to."""


def object_name(key: ServiceKey) -> str:
    """Of a service's objects in Istio. A dot in what follows tells it from those of a service of another name."""
    return f"federation-{key.name}"


def object_metadata(key: ServiceKey, name: str) -> Document:
    """What makes an object ours, and tells whose it is. The same for all of a service, or Istio would not merge."""
    return {
        "namespace": key.namespace,
        "name": name,
        "labels": {MANAGED_BY["ServiceEntry"]: MANAGER, SERVICE_NAME_LABEL: key.name},
    }


def priority_label(priority: int) -> str:
    """The label of all endpoints that are called at this priority or before it."""
    return f"federation-gateway.dev/within-{priority}"


def service_entries(
    result: ServiceResult, local: ServiceState, ips: Sequence[str], around: Surroundings, *, api_version: str
) -> Rendered:
    """The ServiceEntries of a service that has imports. ``ips`` are its clusterset IPs, as far as it has any."""
    merged = result.merged
    if merged is None:
        return Rendered()
    held_back = [port for port in result.imports if not (ips or port.protocol.is_http)]
    names = _names(merged.ports)
    known = {port.port: port for port in merged.ports if port.protocol is Protocol.TCP}
    ports = [
        _port(port, known[port.port], names[port.port], local, around)
        for port in result.imports
        if port not in held_back
    ]
    applied: list[Apply] = []
    problems = _headless_problems(merged, held_back)
    for number, group in enumerate(_grouped(ports)):
        name = object_name(merged.key)
        id_ = ObjectId("ServiceEntry", merged.key.namespace, f"{name}.{group[0].number}" if number else name)
        endpoints = sorted(group[0].endpoints)
        if len(endpoints) > MAX_ENDPOINTS:
            left_out = len(endpoints) - MAX_ENDPOINTS
            problems.append(
                Problem(str(id_), "TooManyEndpoints", f"{left_out} of {len(endpoints)} endpoints are left out")
            )
        spec = {
            "hosts": [merged.key.host],
            **({"addresses": list(ips)} if ips else {}),
            "location": "MESH_INTERNAL",
            "resolution": "STATIC",
            "ports": [{"number": port.number, "name": port.name, "protocol": port.protocol} for port in group],
            "endpoints": [_document(endpoint, group) for endpoint in endpoints[:MAX_ENDPOINTS]],
            "subjectAltNames": sorted({identity for port in group for identity in port.identities}),
        }
        document = {
            "apiVersion": api_version,
            "kind": "ServiceEntry",
            "metadata": object_metadata(merged.key, id_.name),
            "spec": spec,
        }
        applied.append(Apply(id_, "", document))
    return Rendered(tuple(applied), tuple(problems))


def _headless_problems(merged: MergedService, held_back: Sequence[ImportedPort]) -> list[Problem]:
    if not held_back or merged.type is not ImportType.HEADLESS:
        return []
    numbers = ", ".join(str(port.port) for port in held_back)
    told = f"port {numbers} can't be called: a headless service has no address that tells its opaque ports from others'"
    return [Problem(f"ServiceImport {merged.key}", "OpaqueHeadlessPort", f"{told}; name the protocol if it is HTTP")]


def _port(imported: ImportedPort, merged: MergedPort, name: str, local: ServiceState, around: Surroundings) -> _Port:
    found: dict[_Endpoint, int] = {}
    for locality in imported.localities:
        if locality.cluster == around.own.cluster:
            found |= _own(merged, locality.priority, local, around)
            continue
        # The sub-zone tells clusters of one region apart in Istio's own views.
        place = f"{locality.region}/{locality.zone}/{locality.cluster}" if locality.region else ""
        for upstream in locality.upstreams:
            found[
                _Endpoint(locality.priority, locality.cluster, place, upstream.address, upstream.port, upstream.weight)
            ] = upstream.port
    return _Port(imported.port, name, _protocol(imported.protocol, merged), imported.identities, found)


def _own(merged: MergedPort, priority: int, local: ServiceState, around: Surroundings) -> dict[_Endpoint, int]:
    """The own ready workloads by the ports that they listen on: what comes in there Istio redirects to sidecars."""
    found: dict[_Endpoint, int] = {}
    for piece in local.slices:
        for port in piece.ports:
            if (port.name, port.protocol) != (merged.name, merged.protocol):
                continue
            for endpoint in piece.endpoints:
                if endpoint.ready and endpoint.addresses:
                    place = f"{around.own.region}/{endpoint.zone}".rstrip("/") if around.own.region else ""
                    # KEP-0752: all addresses of an endpoint are fungible, consumers use the first.
                    found[_Endpoint(priority, around.own.cluster, place, endpoint.addresses[0], 0, 1)] = port.port
    return found


def _protocol(protocol: AppProtocol, merged: MergedPort) -> str:
    if protocol is AppProtocol.HTTP2:
        declared = (merged.app_protocol or merged.name.partition("-")[0]).lower()
        return "GRPC" if declared == "grpc" else "HTTP2"
    return protocol.value.upper()


def _grouped(ports: Sequence[_Port]) -> list[list[_Port]]:
    """The ports by the endpoints that serve them, each in the order of their numbers."""
    groups: dict[frozenset[_Endpoint], list[_Port]] = {}
    for port in sorted(ports, key=lambda one: one.number):
        groups.setdefault(frozenset(port.endpoints), []).append(port)
    return list(groups.values())


def _document(endpoint: _Endpoint, ports: Sequence[_Port]) -> Document:
    labels = {
        "security.istio.io/tlsMode": "istio",
        SOURCE_CLUSTER_LABEL: endpoint.cluster,
        **{priority_label(one): "true" for one in range(endpoint.priority, PRIORITIES - 1)},
    }
    return {
        "address": endpoint.address,
        "ports": {port.name: port.endpoints[endpoint] for port in ports},
        "labels": labels,
        **({"locality": endpoint.locality} if endpoint.locality else {}),
        "weight": endpoint.weight,
    }


def _names(ports: Sequence[MergedPort]) -> dict[int, str]:
    """A name for each TCP port by its number; a port that has none is called after its number."""
    tcp = [port for port in ports if port.protocol is Protocol.TCP]
    taken = {port.name for port in tcp}
    return {port.port: port.name or _free_name(f"tcp-{port.port}", taken) for port in tcp}


def _free_name(stem: str, taken: set[str]) -> str:
    return next(name for number in count() if (name := f"{stem}-{number}" if number else stem) not in taken)
