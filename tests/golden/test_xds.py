"""What one node of cluster east is sent, case by case: one file per type of resource.

Between input and output lies everything but the exchange and the certificates: projection, data plane, translation.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from msgspec import field

from controllers.dataplane import DataPlane
from controllers.node_groups import new_cache
from controllers.projection import Projection, Surroundings, meet
from controllers.sources.manifests import parse_manifests
from federation.exchange.base import ExchangeSnapshot, MemberSnapshot
from federation.membership.tokens import NodePrincipal
from federation.model.locality import Site
from federation.model.names import ClusterId
from federation.model.state import ClusterState, ServiceState
from federation.model.traffic_policy import API_VERSION, KIND, TrafficPolicy
from federation.model.traffic_resolution import Policies
from federation.model.vips import assign_vips
from gateway.nodes import GatewayNode, SidecarNode
from gateway.telemetry import Telemetry
from gateway.xds import protos as pb
from gateway.xds.resources import message_of
from support.builders import (
    CREATED,
    EAST,
    endpoint,
    endpoint_port,
    endpoint_slice,
    endpoints_record,
    export_record,
    gateway_record,
    key,
    port,
    service,
    service_export,
    spiffe_id,
)
from support.control import resources_of, svid
from support.golden import StrictInput, cases, check_golden, name, read_input, to_yaml

ROOT = Path(__file__).parent / "xds"
KINDS = {"CDS": "clusters", "EDS": "endpoints", "LDS": "listeners", "RDS": "routes", "SDS": "secrets"}
VIPS = IPv4Network("240.96.0.0/12")


class Port(StrictInput, kw_only=True):
    name: str = "http"
    protocol: str = "TCP"
    port: int = 80
    app_protocol: str | None = None


class TargetPort(StrictInput, kw_only=True):
    name: str = "http"
    port: int = 8080


class GivenEndpoint(StrictInput):
    address: str
    ready: bool = True
    zone: str = ""


class GivenSlice(StrictInput):
    endpoints: tuple[GivenEndpoint, ...]
    ports: tuple[TargetPort, ...] = (TargetPort(),)
    inbound_port: int | None = None
    service_account: str = "default"


class OwnService(StrictInput):
    ports: tuple[Port, ...] = (Port(),)
    exported: bool = True
    slices: tuple[GivenSlice, ...] = ()


class PeerService(StrictInput):
    ports: tuple[Port, ...] = (Port(),)
    service_accounts: tuple[str, ...] = ("default",)
    ready: int = 1
    session_affinity: str = "None"
    capacity: int = 0
    """Calls of other clusters that one endpoint takes at a time."""


class Peer(StrictInput):
    region: str = "eu"
    gateways: tuple[str, ...] = ("192.0.2.1",)
    shards: int = 0
    trusted: bool = True
    """Whether its bundle is accepted."""
    services: dict[str, PeerService] = field(default_factory=dict)


class Input(StrictInput):
    """Cluster east, in region eu, and the node whose configuration is looked at."""

    node: SidecarNode | GatewayNode
    services: dict[str, OwnService] = field(default_factory=dict)
    peers: dict[str, Peer] = field(default_factory=dict)
    asks: tuple[str, ...] = ()
    """Names that are found only by whom asks for them: a gateway's shards."""
    policy: dict[str, Any] = field(default_factory=dict)
    """The spec of a TrafficPolicy for all services of namespace demo; none where it is empty."""
    shows: frozenset[str] = frozenset(KINDS.values())
    """The types that the case is about."""


@pytest.mark.parametrize("case", cases(ROOT), ids=name)
def test_xds(case: Path, update_golden: bool) -> None:
    """The node of the case is sent the listeners, clusters, endpoints, routes and secrets of its files."""
    given = read_input(case, Input)
    found: dict[str, list[Any]] = {}
    for kind, message in _sent(given):
        found.setdefault(KINDS[kind], []).append(message)
    outputs = {
        f"{kind}.yaml": to_yaml(sorted(messages, key=_name_of))
        for kind, messages in found.items()
        if kind in given.shows
    }
    check_golden(case, outputs, update=update_golden)


def _sent(given: Input) -> list[tuple[str, Any]]:
    own, around = _own(given), _around(given)
    peers = _peers(given)
    keys = {*own.services, *(key(of) for peer in given.peers.values() for of in peer.services)}
    projection = Projection()
    changes = projection.update(sorted(keys), own, peers, around, {}, CREATED)
    cache = new_cache()
    dataplane = DataPlane(cache, sidecar_port=around.sidecar_port, telemetry=Telemetry(EAST))
    trusted = [EAST, *(cluster for cluster, peer in given.peers.items() if peer.trusted)]
    dataplane.update_trust([(f"{cluster}.test", f"bundle of {cluster}.test") for cluster in sorted(trusted)])
    assert dataplane.update_services(changes, own.services, own, assign_vips({}, projection.results, VIPS)) == ()
    role = "gateway" if isinstance(given.node, GatewayNode) else "sidecar"
    assert dataplane.connect("node", given.node, NodePrincipal(role, "demo", "web"), svid) == ()
    view = cache.view("node")
    asked = [
        (kind, resource)
        for kind, type_url in (("CDS", pb.CLUSTER), ("EDS", pb.ENDPOINT))
        for each in given.asks
        if (resource := view.get(type_url, each)) is not None
    ]
    return [(kind, _plain(message_of(resource))) for kind, resource in (*resources_of(view), *asked)]


def _own(given: Input) -> ClusterState:
    return ClusterState(
        {
            key(of): ServiceState(
                service(key(of), ports=_ports(own.ports)),
                service_export(key(of)) if own.exported else None,
                tuple(
                    endpoint_slice(
                        *(endpoint(each.address, ready=each.ready, zone=each.zone) for each in piece.endpoints),
                        of=key(of),
                        name=f"slice-{number}",
                        ports=[endpoint_port(target.port, target.name) for target in piece.ports],
                        service_account=piece.service_account,
                        inbound_port=piece.inbound_port,
                    )
                    for number, piece in enumerate(own.slices)
                ),
            )
            for of, own in given.services.items()
        },
        policies=_policies(given.policy),
    )


def _policies(spec: dict[str, Any]) -> Policies:
    if not spec:
        return {}
    metadata = {"name": "policy", "namespace": "demo"}
    (manifest,) = parse_manifests({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec})
    assert isinstance(manifest.value, TrafficPolicy), manifest.problems
    return {"demo": (manifest.value,)}


def _peers(given: Input) -> ExchangeSnapshot:
    members = {}
    for cluster, peer in given.peers.items():
        records = [gateway_record(*peer.gateways, region=peer.region, shards=peer.shards)]
        for of, theirs in peer.services.items():
            ids = sorted(spiffe_id(cluster, account) for account in theirs.service_accounts)
            records += [
                export_record(
                    key(of), ports=_ports(theirs.ports), identities=ids, session_affinity=theirs.session_affinity
                ),
                replace(endpoints_record(key(of), zones={"": theirs.ready}), capacity=theirs.capacity),
            ]
        members[ClusterId(cluster)] = MemberSnapshot(
            ClusterId(cluster), records={record.record_key: record for record in records}, synced=True
        )
    return ExchangeSnapshot(members)


def _around(given: Input) -> Surroundings:
    trusted = {ClusterId(cluster) for cluster, peer in given.peers.items() if peer.trusted}
    return meet(Site(EAST, "eu", "east"), "east.test", 15006, _peers(given), trusted)


def _ports(given: tuple[Port, ...]) -> list[Any]:
    return [port(each.port, each.name, each.protocol, each.app_protocol) for each in given]


def _plain(message: pb.Message) -> Any:
    """A message as Envoy's configuration files spell it; bytes as the text that they are in these cases."""
    return _texts(pb.json_format.MessageToDict(message, preserving_proto_field_name=True))


def _texts(value: Any) -> Any:
    match value:
        case Mapping():
            return {
                part: base64.b64decode(item).decode() if part == "inline_bytes" else _texts(item)
                for part, item in value.items()
                # Made at random.
                if part != "session_ticket_keys"
            }
        case list():
            return [_texts(item) for item in value]
        case _:
            return value


def _name_of(message: Mapping[str, Any]) -> str:
    return str(message.get("name") or message["cluster_name"])
