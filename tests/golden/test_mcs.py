"""The objects of service demo/echo in one Kubernetes cluster or several, case by case: what is written, in which state.

Between input and output lies everything but the exchange: projection, the desired objects, and the plan of writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec import field

from controllers.mcs.cluster_properties import check_identity, desired_properties
from controllers.mcs.desired import KubernetesCluster, desired_objects
from controllers.mcs.export_status import Delivery, Publication
from controllers.mcs.objects import Apply
from controllers.mcs.plan import Plan, plan_writes
from controllers.mcs.served_api import ServedApi
from controllers.projection import ServiceResult, Surroundings, meet, project_service
from controllers.sources.manifests import ObjectId
from federation.exchange.base import ExchangeSnapshot, MemberSnapshot
from federation.model.export import export_service
from federation.model.locality import Site
from federation.model.names import ClusterId
from federation.model.problems import Problem
from federation.model.records import GatewayRecord, Record
from federation.model.state import ServiceState, ServiceType
from support.builders import (
    CREATED,
    ECHO,
    after,
    endpoint,
    endpoint_port,
    endpoint_slice,
    gateway_record,
    port,
    service,
    service_export,
)
from support.golden import StrictInput, cases, check_golden, name, read_input, to_yaml

ROOT = Path(__file__).parent / "mcs"
NOW = after(3600)


class Port(StrictInput, kw_only=True):
    name: str = ""
    protocol: str = "TCP"
    port: int
    app_protocol: str | None = None


class Endpoint(StrictInput):
    addresses: tuple[str, ...]
    hostname: str = ""
    ready: bool = True


class Slice(StrictInput):
    endpoints: tuple[Endpoint, ...] = (Endpoint(("10.0.0.1",)),)
    ports: tuple[Port, ...] = (Port(name="http", port=8080),)
    address_type: str = "IPv4"


class Export(StrictInput):
    """One cluster's service and its export; what is left out is as in the sample service."""

    created: datetime = CREATED
    service: bool = True
    type: ServiceType = ServiceType.CLUSTER_IP
    headless: bool = False
    ports: tuple[Port, ...] = (Port(name="http", port=80),)
    session_affinity: str = "None"
    session_affinity_timeout_seconds: int | None = None
    internal_traffic_policy: str | None = None
    traffic_distribution: str | None = None
    ip_families: tuple[str, ...] = ("IPv4",)
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    slices: tuple[Slice, ...] = (Slice(),)
    gateways: tuple[str, ...] = ("192.0.2.1",)
    trusted: bool = True


class Publishing(StrictInput):
    delivery: Delivery = Delivery.EXPORTED
    cause: str = ""


class Properties(StrictInput):
    member: bool = True
    cluster: str = "c0"
    clusterset: str = "acme"


class Input(StrictInput):
    clusters: dict[str, Export] = field(default_factory=dict)
    """The exporters; ``none`` in ``seen_from`` is a cluster that exports nothing."""
    seen_from: tuple[str, ...] = ("c0",)
    """Whose objects are looked at; several give a folder each."""
    shows: tuple[str, ...] = ("ServiceExport", "ServiceImport", "Service", "EndpointSlice", "ClusterProperty")
    observed: tuple[dict[str, Any], ...] = ()
    """Objects that are there; the ServiceExport of an exporter always is."""
    namespaces: tuple[str, ...] = ("demo",)
    ip_families: tuple[str, ...] = ("IPv4",)
    withdrawn: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    version: str = "v1beta1"
    schemas: dict[str, dict[str, Any]] = field(default_factory=dict)
    publication: Publishing = Publishing()
    noted: tuple[tuple[str, str], ...] = ()
    """Subject and message of what the source found wrong."""
    properties: Properties | None = None


@pytest.mark.parametrize("case", cases(ROOT), ids=name)
def test_mcs(case: Path, update_golden: bool) -> None:
    """In each of the case's clusters the objects of its files are written, those of the last file deleted."""
    given = read_input(case, Input)
    outputs: dict[str, str] = {}
    for cluster in given.seen_from:
        folder = f"{cluster}/" if len(given.seen_from) > 1 else ""
        outputs |= {f"{folder}{file}": text for file, text in _outputs(given, ClusterId(cluster)).items()}
    check_golden(case, outputs, update=update_golden)


def _outputs(given: Input, own: ClusterId) -> dict[str, str]:
    plan = _plan(given, own)
    written: dict[str, list[Any]] = {}
    for apply in plan.applied:
        if apply.id.kind in given.shows:
            file = f"{apply.id.kind.lower()}{'-status' if apply.subresource else ''}.yaml"
            written.setdefault(file, []).append(apply.document)
    outputs = {file: to_yaml(documents) for file, documents in written.items()}
    if plan.deleted:
        outputs["deleted.yaml"] = to_yaml([str(one.id) for one in plan.deleted])
    if plan.problems:
        outputs["problems.yaml"] = to_yaml(plan.problems)
    return outputs


def _plan(given: Input, own: ClusterId) -> Plan:
    exporters = {ClusterId(cluster): export for cluster, export in given.clusters.items()}
    observed = {_id_of(document): document for document in given.observed}
    local = _state(exporters[own]) if own in exporters else ServiceState()
    if own in exporters:
        status = observed.get(ObjectId("ServiceExport", "demo", "echo"), {})
        document = {"metadata": {"namespace": "demo", "name": "echo", "uid": "uid-of-the-export", "generation": 3}}
        observed[ObjectId("ServiceExport", "demo", "echo")] = {**document, **status}
    around, result = _result(given, own, local, exporters)
    desired = desired_objects(
        ECHO,
        result,
        local,
        observed,
        around=around,
        cluster=KubernetesCluster(
            frozenset(given.namespaces),
            ServedApi(f"multicluster.x-k8s.io/{given.version}", given.schemas),
            given.ip_families,
            frozenset(given.taken),
        ),
        publication=Publication(given.publication.delivery, given.publication.cause),
        noted=[Problem(subject, "InvalidValue", message) for subject, message in given.noted],
        unread=[ClusterId(cluster) for cluster in given.unread],
        now=NOW,
    )
    properties: tuple[Apply, ...] = ()
    problems = desired.problems
    if (told := given.properties) is not None:
        properties = desired_properties(observed, ClusterId(told.cluster), told.clusterset, member=told.member)
        problems += check_identity(observed, ClusterId(told.cluster), told.clusterset)
    plan = plan_writes(observed, (*properties, *desired.applied), namespaces=given.namespaces, kept=desired.kept)
    return Plan(plan.applied, plan.deleted, (*problems, *plan.problems))


def _result(
    given: Input, own: ClusterId, local: ServiceState, exporters: Mapping[ClusterId, Export]
) -> tuple[Surroundings, ServiceResult]:
    members = {
        cluster: MemberSnapshot(cluster, records={record.record_key: record for record in _records(export)})
        for cluster, export in exporters.items()
        if cluster != own
    }
    peers = ExchangeSnapshot(members)
    around = meet(
        Site(own, "eu", "net-1"),
        f"{own}.test",
        15006,
        peers,
        [cluster for cluster, export in exporters.items() if export.trusted],
        withdrawn=frozenset(ClusterId(cluster) for cluster in given.withdrawn),
    )
    return around, project_service(ECHO, local, peers, around, CREATED)


def _state(export: Export) -> ServiceState:
    return ServiceState(
        service(
            type=export.type,
            headless=export.headless,
            ports=[port(one.port, one.name, one.protocol, one.app_protocol) for one in export.ports],
            session_affinity=export.session_affinity,
            session_affinity_timeout_seconds=export.session_affinity_timeout_seconds,
            internal_traffic_policy=export.internal_traffic_policy,
            traffic_distribution=export.traffic_distribution,
            ip_families=export.ip_families,
        )
        if export.service
        else None,
        service_export(created=export.created, labels=export.labels, annotations=export.annotations),
        tuple(
            endpoint_slice(
                *(endpoint(*one.addresses, ready=one.ready, hostname=one.hostname) for one in piece.endpoints),
                name=f"echo-{number}",
                address_type=piece.address_type,
                ports=[endpoint_port(one.port, one.name, one.protocol) for one in piece.ports],
            )
            for number, piece in enumerate(export.slices)
        ),
    )


def _records(export: Export) -> list[Record]:
    """What a peer says: its gateways, and of its service what travels."""
    exported = export_service(ECHO, _state(export), trust_domain="peer.test", first_seen=CREATED)
    gateways: GatewayRecord = gateway_record(*export.gateways)
    return [gateways, *(record for record in (exported.export, exported.endpoints) if record is not None)]


def _id_of(document: Mapping[str, Any]) -> ObjectId:
    metadata = document["metadata"]
    return ObjectId(document["kind"], metadata.get("namespace", ""), metadata["name"])
