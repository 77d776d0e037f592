"""The objects of meshes of another make, case by case: of service demo/echo in cluster c0, and those of no one service.

Between input and output lie the projection and the adapter. The objects are held to the projects' own schemas where
those are at hand: FEDERATION_MESH_CRDS names a directory with their CustomResourceDefinitions (docs/mesh.md).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec import field

from controllers.mcs.objects import Apply, Observed, derived_id
from controllers.mcs.plan import plan_writes
from controllers.mesh.base import MeshAdapter, Rendered, Whole
from controllers.mesh.detect import DetectedMesh, IstioSetup, MeshKind
from controllers.mesh.istio import IstioAdapter
from controllers.mesh.istio_mesh_config import MeshConfig
from controllers.mesh.linkerd import LinkerdAdapter, LocalGateway
from controllers.projection import ServiceResult, Surroundings, meet, project_service
from controllers.sources.manifests import ObjectId
from federation.exchange.base import ExchangeSnapshot, MemberSnapshot
from federation.model.export import export_service
from federation.model.locality import Site
from federation.model.names import ClusterId
from federation.model.records import Record
from federation.model.state import ServiceState
from support.builders import (
    CREATED,
    ECHO,
    endpoint,
    endpoint_port,
    endpoint_slice,
    gateway_record,
    port,
    service,
    service_export,
)
from support.golden import StrictInput, cases, check_golden, parse_yaml, read_input, to_yaml
from support.kube.objects import Json, duplicate
from support.kube.schema import pruned, violations
from support.mcs_cluster import McsCluster

ROOT = Path(__file__).parent / "mesh"
CASES = [case for mesh in ("istio", "linkerd") for case in cases(ROOT / mesh)]
OWN = ClusterId("c0")
SCHEMAS = "FEDERATION_MESH_CRDS"
WRITTEN = {
    "istio": {
        "authorizationpolicies.security.istio.io",
        "destinationrules.networking.istio.io",
        "serviceentries.networking.istio.io",
    },
    "linkerd": {"authorizationpolicies.policy.linkerd.io", "meshtlsauthentications.policy.linkerd.io"},
}
"""The definitions of the kinds that are written."""
HARM: dict[tuple[str, str], Json] = {
    ("istio", "AuthorizationPolicy"): {"spec": {"rules": None}},
    ("istio", "DestinationRule"): {"spec": {"trafficPolicy": {"tls": {"mode": "DISABLE"}}}},
    ("istio", "ServiceEntry"): {"spec": {"hosts": ["elsewhere.example"], "resolution": None}},
    ("linkerd", "AuthorizationPolicy"): {"metadata": {"labels": None}, "spec": {"requiredAuthenticationRefs": []}},
    ("linkerd", "MeshTLSAuthentication"): {"spec": {"identities": ["*"]}},
}
"""What somebody makes of them by hand."""


class Port(StrictInput, kw_only=True):
    name: str = ""
    protocol: str = "TCP"
    port: int
    app_protocol: str | None = None


class Endpoint(StrictInput):
    addresses: tuple[str, ...]
    zone: str = ""
    ready: bool = True


class Slice(StrictInput):
    endpoints: tuple[Endpoint, ...] = (Endpoint(("10.0.0.1",)),)
    ports: tuple[Port, ...] = (Port(name="http", port=8080),)
    account: str = "default"


class Cluster(StrictInput):
    """One cluster, and its export of the service."""

    region: str = "eu"
    ports: tuple[Port, ...] = (Port(name="http", port=80),)
    headless: bool = False
    slices: tuple[Slice, ...] = (Slice(),)
    gateways: tuple[str, ...] = ("192.0.2.1",)


class Gateway(StrictInput):
    """The own gateways as workloads of Linkerd."""

    addresses: tuple[str, ...] = ("10.0.0.9",)
    listeners: dict[int, int] = field(default_factory=dict)
    terminates: bool = False


class Input(StrictInput):
    clusters: dict[str, Cluster]
    """The exporters; c0 is the one whose objects are looked at, also where it exports nothing."""
    region: str = "eu"
    ips: tuple[str, ...] = ("10.96.0.10",)
    """What the derived Service has."""
    demoted: tuple[str, ...] = ()
    withdrawn: tuple[str, ...] = ()
    anchors: tuple[str, ...] = ()
    """The trust domains of peers whose bundles are accepted."""
    shared: bool = False
    """Whether it is the objects of no one service that are looked at."""
    http2_keepalive: bool = False
    """Whether the schema of a DestinationRule knows pings."""
    gateway: Gateway | None = None


def _name(case: Path) -> str:
    return f"{case.parent.name}/{case.name}"


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_mesh(case: Path, update_golden: bool) -> None:
    """The adapter writes the objects of the case's files, and says what it can't."""
    rendered = _rendered(read_input(case, Input), case.parent.name)
    written: dict[str, list[Any]] = {}
    for apply in rendered.applied:
        written.setdefault(f"{apply.id.kind.lower()}.yaml", []).append(apply.document)
    outputs = {file: to_yaml(documents) for file, documents in written.items()}
    if rendered.problems:
        outputs["problems.yaml"] = to_yaml(rendered.problems)
    check_golden(case, outputs, update=update_golden)


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_objects_are_as_their_schemas_say(case: Path) -> None:
    """Every object of a case's files is of a version that is served, has no unknown field and breaks no rule."""
    schemas = _schemas()
    faults = [
        f"{document['kind']} {document['metadata']['name']}: {fault}"
        for document in _documents(case)
        for fault in _faults(document, schemas)
    ]
    assert faults == []


@pytest.mark.parametrize("mesh", WRITTEN)
def test_objects_are_written_once_healed_and_taken_away(mesh: str) -> None:
    """An API server with the project's definitions takes each case's objects as they are, and then there is nothing to
    do; what somebody edits or deletes comes back; and without them everything of ours goes.
    """
    definitions = [one for one in _definitions() if one["metadata"]["name"] in WRITTEN[mesh]]
    assert len(definitions) == len(WRITTEN[mesh])
    namespaces = {"demo", "istio-system", "federation-system"}
    cluster = McsCluster(*namespaces, definitions=[duplicate(one) for one in definitions])
    for case in (case for case in CASES if case.parent.name == mesh):
        desired = [_apply(document) for document in _documents(case)]
        for harm in (lambda id_: cluster.edit(id_, HARM[mesh, id_.kind]), cluster.delete):
            cluster.carry_out(plan_writes(cluster.observe(), desired, namespaces=namespaces))
            assert plan_writes(cluster.observe(), desired, namespaces=namespaces).empty
            for one in desired:
                if one.id.kind != "EndpointSlice":
                    harm(one.id)
    cluster.carry_out(plan_writes(cluster.observe(), [], namespaces=namespaces))
    assert {
        id_ for id_ in cluster.observe() if id_.kind in {one["spec"]["names"]["kind"] for one in definitions}
    } == set()


def test_a_schema_refuses_what_breaks_it() -> None:
    """The check above can fail: of a ServiceEntry with a field too many, a wrong type and a word that is none."""
    spec = {"hosts": ["a"], "resolution": "MAYBE", "ports": [{"number": "80", "name": "a"}], "surprise": 1}
    document = {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {}, "spec": spec}
    assert len(list(_faults(document, _schemas()))) == 3


def _documents(case: Path) -> Iterator[Json]:
    """The objects of a case's files."""
    for file in sorted(case.glob("*.yaml")):
        if file.name not in {"in.yaml", "problems.yaml"}:
            yield from parse_yaml(file.read_text())


def _apply(document: Json) -> Apply:
    metadata = document["metadata"]
    return Apply(ObjectId(document["kind"], metadata["namespace"], metadata["name"]), "", document)


def _rendered(given: Input, mesh: str) -> Rendered:
    around, result, local = _result(given)
    adapter = _adapter(given, mesh)
    if given.shared:
        anchors = {domain: (domain.encode(),) for domain in given.anchors}
        return adapter.shared(Whole({ECHO: result}, {ECHO: local}, around, anchors))
    return adapter.objects(ECHO, result, local, _observed(given, result), around)


def _adapter(given: Input, mesh: str) -> MeshAdapter:
    if mesh == "istio":
        kinds = {
            "AuthorizationPolicy": "security.istio.io/v1",
            "DestinationRule": "networking.istio.io/v1",
            "ServiceEntry": "networking.istio.io/v1",
        }
        config = MeshConfig(trust_domain="c0.test", xds_agent=True)
        setup = IstioSetup(config, multiroot=True, http2_keepalive=given.http2_keepalive)
        return IstioAdapter(
            DetectedMesh(MeshKind.ISTIO, "1.30.0", "istio-system", "c0.test", api_versions=kinds, istio=setup)
        )
    kinds = {
        "AuthorizationPolicy": "policy.linkerd.io/v1alpha1",
        "MeshTLSAuthentication": "policy.linkerd.io/v1alpha1",
    }
    gateway = given.gateway and LocalGateway(
        "federation-system",
        "federation-gateway",
        given.gateway.addresses,
        {ECHO: given.gateway.listeners},
        given.gateway.terminates,
    )
    detected = DetectedMesh(MeshKind.LINKERD, "edge", "linkerd", "cluster.local", api_versions=kinds)
    return LinkerdAdapter(detected, gateway)


def _result(given: Input) -> tuple[Surroundings, ServiceResult, ServiceState]:
    exporters = {ClusterId(cluster): export for cluster, export in given.clusters.items()}
    local = _state(exporters[OWN]) if OWN in exporters else ServiceState()
    members = {
        cluster: MemberSnapshot(cluster, records={record.record_key: record for record in _records(cluster, export)})
        for cluster, export in exporters.items()
        if cluster != OWN
    }
    peers = ExchangeSnapshot(members)
    around = meet(
        Site(OWN, given.region, "net-1"),
        "c0.test",
        0,
        peers,
        members,
        demoted=frozenset(map(ClusterId, given.demoted)),
        withdrawn=frozenset(map(ClusterId, given.withdrawn)),
    )
    return around, project_service(ECHO, local, peers, around, CREATED), local


def _state(cluster: Cluster) -> ServiceState:
    ports = [port(one.port, one.name, one.protocol, one.app_protocol) for one in cluster.ports]
    return ServiceState(
        service(ports=ports, headless=cluster.headless),
        service_export(),
        tuple(
            endpoint_slice(
                *(endpoint(*one.addresses, ready=one.ready, zone=one.zone) for one in piece.endpoints),
                name=f"echo-{number}",
                ports=[endpoint_port(one.port, one.name, one.protocol) for one in piece.ports],
                service_account=piece.account,
            )
            for number, piece in enumerate(cluster.slices)
        ),
    )


def _records(name: ClusterId, cluster: Cluster) -> list[Record]:
    exported = export_service(ECHO, _state(cluster), trust_domain=f"{name}.test", first_seen=CREATED)
    records: list[Record] = [gateway_record(*cluster.gateways, region=cluster.region)]
    return [*records, *(record for record in (exported.export, exported.endpoints) if record is not None)]


def _observed(given: Input, result: ServiceResult) -> Observed:
    """The derived Service, as far as the API server has one."""
    if result.merged is None or not given.ips:
        return {}
    ports = [{"name": one.name, "port": one.port, "protocol": one.protocol} for one in result.merged.ports]
    return {derived_id(ECHO): {"spec": {"clusterIPs": list(given.ips), "ports": ports}}}


@cache
def _definitions() -> tuple[Json, ...]:
    """The projects' CustomResourceDefinitions, as far as they are at hand."""
    directory = os.environ.get(SCHEMAS, "")
    if not directory:
        pytest.skip(f"{SCHEMAS} names no directory with the definitions of Istio and Linkerd (docs/mesh.md)")
    return tuple(
        {"apiVersion": one["apiVersion"], "kind": one["kind"], "metadata": one["metadata"], "spec": one["spec"]}
        for file in sorted(Path(directory).glob("*.yaml"))
        for document in yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader)
        for one in (document or {}).get("items", [document])
        if isinstance(one, dict) and one.get("kind") == "CustomResourceDefinition"
    )


@cache
def _schemas() -> dict[tuple[str, str], Json]:
    """The schema of each kind that is served, by version and kind."""
    return dict(pair for definition in _definitions() for pair in _served(definition["spec"]))


def _served(spec: Json) -> Iterator[tuple[tuple[str, str], Json]]:
    for version in spec["versions"]:
        if version.get("served"):
            yield (f"{spec['group']}/{version['name']}", spec["names"]["kind"]), version["schema"]["openAPIV3Schema"]


def _faults(document: Json, schemas: dict[tuple[str, str], Json]) -> Iterator[str]:
    if document["apiVersion"] == "discovery.k8s.io/v1":
        # Kubernetes' own, which the tests of the controller hold to its schema.
        return
    schema = schemas.get((document["apiVersion"], document["kind"]))
    if schema is None:
        yield f"{document['apiVersion']} is not served"
        return
    content = {"spec": document["spec"]}
    unknown: list[str] = []
    pruned(content, schema, unknown)
    yield from (f"unknown field {path}" for path in unknown)
    yield from (str(cause) for cause in violations(content, schema))
