"""Offline: what directories of manifests come to, without Redis, Envoy, keys or a running controller.

The same pure functions as in the controller: what a user prints here is what a controller would do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from controllers.drains import NOTHING_DRAINED, gateway_record
from controllers.projection import Projection, Surroundings, meet, own_site
from controllers.sources.files import load_directory
from federation.app.proxies import gateway_node, sidecar_node, telemetry
from federation.app.sites import load_cluster, load_sidecar
from federation.exchange.base import ExchangeSnapshot, MemberSnapshot
from federation.model.configuration import ClusterSettings
from federation.model.errors import ConfigError
from federation.model.names import ClusterId, RecordKey
from federation.model.problems import Problem
from federation.model.records import GatewayAddress, Record
from federation.model.state import ClusterState
from federation.model.traffic_resolution import resolve
from federation.model.view import MergedService
from gateway.ir.build import build_inbound
from gateway.xds import protos as pb
from gateway.xds.resources import Resource, message_of
from gateway.xds.translate.services import (
    export_resources,
    gateway_node_resources,
    import_resources,
    route_entries,
    route_table,
    sidecar_node_resources,
)
from gateway.xds.translate.terminate import terminated_upstreams

# Exports without creationTimestamp are as old as can be: which one a controller saw first is not in the files.
_UNDATED = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class OfflineSite:
    """One directory, read once."""

    settings: ClusterSettings
    state: ClusterState
    records: dict[RecordKey, Record]
    problems: tuple[Problem, ...]


def load_site(directory: Path) -> OfflineSite:
    """Read a cluster's directory; raises ConfigError where it can't be read at all."""
    settings = load_cluster(directory)
    update = load_directory(directory, settings)
    projection = Projection()
    around = Surroundings(own_site(settings), settings.trust_domain, settings.mesh.sidecar_port)
    projection.update(update.state.services, update.state, ExchangeSnapshot(), around, {}, _UNDATED)
    gateway = gateway_record(settings.gateway.addresses, settings.region, settings.network, NOTHING_DRAINED, _UNDATED)
    records: dict[RecordKey, Record] = {gateway.record_key: gateway}
    problems = list(update.problems)
    for result in projection.results.values():
        records |= result.records
        problems += result.exported.problems
    return OfflineSite(settings, update.state, records, tuple(problems))


def project(own: OfflineSite, others: Sequence[OfflineSite]) -> Projection:
    """What ``own`` makes of the clusterset, taking all ``others`` as trusted members."""
    members: dict[ClusterId, MemberSnapshot] = {}
    for other in others:
        cluster = other.settings.cluster
        if cluster == own.settings.cluster or cluster in members:
            raise ConfigError(f"two of the directories are cluster {cluster}")
        members[cluster] = MemberSnapshot(cluster, records=other.records, synced=True)
    peers = ExchangeSnapshot(members)
    around = meet(
        own_site(own.settings),
        own.settings.trust_domain,
        own.settings.mesh.sidecar_port,
        peers,
        set(members),
        own_gateways=tuple(GatewayAddress(each.host, each.port) for each in own.settings.gateway.addresses),
    )
    keys = {*own.state.services, *(key for other in others for key in other.state.services)}
    projection = Projection()
    projection.update(keys, own.state, peers, around, {}, _UNDATED)
    return projection


def imports(projection: Projection) -> list[MergedService]:
    """The imported services, by name."""
    return [result.merged for _, result in sorted(projection.results.items()) if result.merged is not None]


def node_resources(own: OfflineSite, projection: Projection, node: str) -> list[Resource]:
    """The xDS of one node: ``gateway``, or the path of a sidecar.yaml. Secrets are made by a running CA only."""
    results = [result for _, result in sorted(projection.results.items())]
    if node == "gateway":
        served = [port for result in results for port in result.exports]
        terminated = [port for result in results for port in result.terminated]
        return [
            *gateway_node_resources(gateway_node(own.settings), telemetry(own.settings), terminated),
            *(resource for port in served for resource in export_resources(port)),
            *(resource for port in terminated for resource in terminated_upstreams(port)),
        ]
    sidecar = load_sidecar(Path(node))
    home = load_cluster(sidecar.cluster_directory).cluster
    if home != own.settings.cluster:
        raise ConfigError(
            f"{node} is a sidecar of cluster {home}, not of {own.settings.cluster}",
            hint="the first directory is the one looked from: name the sidecar's own first",
        )
    spec = sidecar_node(sidecar)
    ports = [port for result in results for port in result.imports]
    inbound = [
        port
        for key, state in sorted(own.state.services.items())
        for port in build_inbound(
            key,
            state,
            address=spec.address,
            inbound_port=spec.inbound_port,
            sidecar_port=own.settings.mesh.sidecar_port,
            capacity=resolve(own.state.policies, key).capacity,
            trust_domain=own.settings.trust_domain,
        )
    ]
    return [
        *sidecar_node_resources(
            spec, inbound, {(port.service, port.port): port for port in ports}, telemetry(own.settings)
        ),
        *(resource for port in ports for resource in import_resources(port)),
        route_table(route_entries(ports)),
    ]


def plain_resources(resources: Sequence[Resource]) -> dict[str, list[object]]:
    """Resources as JSON objects, by the short name of their type, sorted by name."""
    plain: dict[str, list[object]] = {}
    for resource in sorted(resources, key=lambda one: (one.type_url, one.name)):
        kind = resource.type_url.rpartition(".")[2]
        message = pb.json_format.MessageToDict(message_of(resource), preserving_proto_field_name=True)
        plain.setdefault(kind, []).append(_steady(message))
    return plain


# Fields that hold free-form structures or maps, whose keys come in another order each time.
_UNORDERED = frozenset({"filter_metadata", "json_format", "value"})


def _steady(value: object, *, sort: bool = False) -> object:
    """The same, with keys in an order that is the same every time: of structures by name, else that of the fields."""
    match value:
        case dict():
            items = sorted(value.items()) if sort else value.items()
            return {key: _steady(item, sort=sort or key in _UNORDERED) for key, item in items}
        case list():
            return [_steady(item, sort=sort) for item in value]
        case _:
            return value


def plain_records(records: dict[RecordKey, Record]) -> dict[str, object]:
    """Records as JSON objects, by key."""
    return {key: msgspec.to_builtins(records[key], str_keys=True) for key in sorted(records)}
