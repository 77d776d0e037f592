"""One cluster's control loop for tests: peers that say what a test says, nodes, and what each node sees.

The loop is the real one, down to the xDS cache and the journal; only the exchange and the certificates of nodes are
stand-ins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache
from ipaddress import IPv4Network
from pathlib import Path

from controllers.controller import Controller
from controllers.dataplane import DataPlane
from controllers.journal import Journal
from controllers.liveness import GRACE_SECONDS
from controllers.node_groups import new_cache
from controllers.sources.base import SourceUpdate
from federation.exchange.base import ExchangeSnapshot, MemberSnapshot
from federation.membership.tokens import NodePrincipal
from federation.model.addresses import HostPort
from federation.model.configuration import (
    ClusterSettings,
    DnsSettings,
    ExchangeSettings,
    GatewaySettings,
    XdsSettings,
)
from federation.model.names import ClusterId, RecordKey, ServiceKey, parse_shard_sni
from federation.model.records import BundleRecord, GatewayAddress, Record, Version
from federation.model.state import ClusterState, ServiceState
from federation.model.traffic_policy import TrafficPolicy
from gateway.nodes import GatewayNode, Listen, Node, SidecarNode
from gateway.telemetry import Telemetry
from gateway.xds import protos as pb
from gateway.xds.cache import Changed, Listener, NodeView
from gateway.xds.resources import Resource, message_of
from support.builders import EAST, NORTH, WEST, member
from support.certificates import Ca, MemoryKeystore, make_ca
from support.clock import START, ManualClock
from trustbundle.authority import CertificateAuthority, Svid
from trustbundle.identity import SpiffeId, TrustDomain
from trustbundle.rotation import RotationPolicy
from trustbundle.secret import SecretBytes

TYPES = {"CDS": pb.CLUSTER, "EDS": pb.ENDPOINT, "LDS": pb.LISTENER, "RDS": pb.ROUTE, "SDS": pb.SECRET}

GATEWAY = GatewayNode(Listen("127.0.0.1", 15443))
SIDECAR = SidecarNode(address="10.0.0.1", inbound_port=15006, http_proxy=Listen("127.0.0.1", 15001))

WEB = NodePrincipal("sidecar", "demo", "web")
GATEWAYS = NodePrincipal("gateway")


def settings(directory: Path) -> ClusterSettings:
    """East, in region eu, with six clusterset IPs."""
    return ClusterSettings(
        clusterset="test",
        cluster=EAST,
        region="eu",
        trust_domain="east.test",
        network="east",
        member_key_file=directory / "member.key",
        state_directory=directory,
        tokens_directory=directory / "tokens",
        authority_directory=directory / "authority",
        exchange=ExchangeSettings("redis://127.0.0.1"),
        gateway=GatewaySettings((HostPort("127.0.0.1", 15443),)),
        xds=XdsSettings(HostPort("127.0.0.1", 15012)),
        dns=DnsSettings(HostPort("127.0.0.1", 15053)),
        # So small that services compete for addresses.
        vip_range=IPv4Network("240.96.0.0/29"),
    )


@cache
def ca_of(cluster: ClusterId, number: int = 1, hours: int = 24) -> Ca:
    """A CA of a cluster's trust domain, the same for the whole run, that lasts from START for so many hours."""
    return make_ca(START, uris=[f"spiffe://{cluster}.test"], name=f"{number}", lifetime=timedelta(hours=hours))


def bundle(cluster: ClusterId, *cas: Ca, sequence: int = 1) -> BundleRecord:
    """A bundle that can be accepted; with one CA of the cluster where none is given."""
    return BundleRecord(f"{cluster}.test", sequence, tuple(ca.der for ca in cas or (ca_of(cluster),)))


def started_authority(
    keystore: MemoryKeystore | None = None, clock: ManualClock | None = None, *, withholds: bool = False
) -> CertificateAuthority:
    """The CA of East, past its first tick, its first bundle seen; leaves live an hour and are renewed at exactly half
    of it."""
    policy = RotationPolicy(timedelta(hours=1), timedelta(hours=24), timedelta(seconds=10))
    authority = CertificateAuthority(
        TrustDomain("east.test"),
        policy,
        keystore or MemoryKeystore(),
        uniform=lambda low, high: (low + high) / 2,
        withholds=withholds,
    )
    authority.tick(START if clock is None else clock.now())
    authority.show()
    return authority


def svid(principal: NodePrincipal) -> Svid:
    """What only looks like a certificate, the same whenever it is asked for."""
    identity = SpiffeId(TrustDomain("east.test"), f"/ns/{principal.namespace}/sa/{principal.service_account}")
    key = SecretBytes(f"key of {identity}".encode())
    return Svid(identity, f"chain of {identity}", key, START, START, START, "slot")


class FakePeers:
    """A seat at an exchange where the peers say what the test says; it can refuse to publish."""

    def __init__(self, *peers: ClusterId) -> None:
        self.synced = True
        self.connected = True
        self.broken = False
        self.members = {peer: MemberSnapshot(peer, synced=True, fresh=True) for peer in peers}
        self.published: list[Mapping[RecordKey, Record]] = []

    def say(self, peer: ClusterId, *records: Record) -> frozenset[RecordKey]:
        """A peer states these records, besides its others; returns their keys."""
        fresh = {record.record_key: record for record in records}
        held = self.members[peer]
        self.members[peer] = replace(held, version=Version(1, 1), records={**held.records, **fresh})
        return frozenset(fresh)

    def renew(self, peer: ClusterId, *, fresh: bool) -> None:
        """From now on a peer renews its lease, or doesn't."""
        self.members[peer] = replace(self.members[peer], fresh=fresh)

    def withdraw(self, peer: ClusterId, *keys: RecordKey) -> frozenset[RecordKey]:
        """A peer withdraws the records of these keys."""
        held = self.members[peer]
        self.members[peer] = replace(held, records={k: r for k, r in held.records.items() if k not in keys})
        return frozenset(keys)

    def snapshot(self) -> ExchangeSnapshot:
        return ExchangeSnapshot(dict(self.members))

    def publish(self, desired: Mapping[RecordKey, Record]) -> None:
        if self.broken:
            raise RuntimeError("the publisher is broken")
        self.published.append(dict(desired))


class FakeGateways:
    """Probes that find what the test says; nothing is known of the others."""

    def __init__(self) -> None:
        self.followed: Mapping[ClusterId, Sequence[GatewayAddress]] = {}
        self.up: dict[ClusterId, bool] = {}
        self.seconds: dict[ClusterId, float] = {}
        self.failed: Counter[ClusterId] = Counter()

    def follow(self, gateways: Mapping[ClusterId, Sequence[GatewayAddress]]) -> None:
        self.followed = gateways

    def reach(self, cluster: ClusterId) -> bool | None:
        return self.up.get(cluster) if cluster in self.followed else None

    def answer_seconds(self, cluster: ClusterId) -> float | None:
        return self.seconds.get(cluster)


class FlakyJournal(Journal):
    """A journal whose disk can be full."""

    broken = False

    def _save(self) -> None:
        if self.broken:
            raise OSError("no space left on device")
        super()._save()


class ControlLoop:
    """East with its controller, data plane and journal, and the events that reach them."""

    def __init__(
        self,
        directory: Path,
        *,
        clock: ManualClock | None = None,
        peers: FakePeers | None = None,
        authority: CertificateAuthority | None = None,
    ) -> None:
        self.clock = clock or ManualClock()
        self.peers = peers or FakePeers(WEST, NORTH)
        self.gateways = FakeGateways()
        self.authority = authority or started_authority()
        self.cache = new_cache()
        self.dataplane = DataPlane(self.cache, sidecar_port=15006, telemetry=Telemetry(EAST))
        self.journal = FlakyJournal(directory)
        self.settings = settings(directory)
        self.controller = Controller(
            self.settings,
            members=[member(peer) for peer in sorted(self.peers.members)],
            peers=self.peers,
            gateways=self.gateways,
            authority=self.authority,
            dataplane=self.dataplane,
            journal=self.journal,
            clock=self.clock,
            monotonic=lambda: self.clock().timestamp(),
        )
        self.services: dict[ServiceKey, ServiceState] = {}
        self.policies: dict[str, tuple[TrafficPolicy, ...]] = {}

    def own(self, services: Mapping[ServiceKey, ServiceState | None]) -> None:
        """The own manifests of these services are now so; None: they are gone."""
        self.services |= {key: state for key, state in services.items() if state is not None}
        self.services = {key: state for key, state in self.services.items() if services.get(key, state) is not None}
        self._tell(frozenset(services))

    def rule(self, namespace: str, *policies: TrafficPolicy) -> None:
        """These are all policies of a namespace from now on."""
        self.policies[namespace] = policies
        self._tell(frozenset())

    def _tell(self, changed: frozenset[ServiceKey]) -> None:
        state = ClusterState(dict(self.services), policies=dict(self.policies))
        self.controller.on_source(SourceUpdate(state, changed, ()))

    def say(self, peer: ClusterId, *records: Record) -> None:
        self.controller.on_peer(peer, self.peers.say(peer, *records))

    def withdraw(self, peer: ClusterId, *keys: RecordKey) -> None:
        self.controller.on_peer(peer, self.peers.withdraw(peer, *keys))

    def judge(self, peer: ClusterId, *, leased: bool, gateway: bool | None) -> None:
        """Of a peer these signals are had, for as long as it takes to count."""
        self.peers.renew(peer, fresh=leased)
        self.gateways.up.pop(peer, None)
        if gateway is not None:
            self.gateways.up[peer] = gateway
        self.controller.on_time()
        self.clock.advance(timedelta(seconds=GRACE_SECONDS))
        self.controller.on_time()

    def step(self) -> None:
        self.controller.step()
        assert self.controller.refused == ()

    def connect(self, name: str, node: Node, principal: NodePrincipal | None = None) -> None:
        """A node connects, by default as demo/web or as a gateway."""
        proved = principal or (GATEWAYS if isinstance(node, GatewayNode) else WEB)
        assert self.dataplane.connect(name, node, proved, svid) == ()

    def seen(self, name: str) -> dict[tuple[str, str], str]:
        """What a node may see: content versions by short type and name; nothing before its view is whole."""
        return {(kind, each.name): each.version for kind, each in self._resources(name)}

    def names(self, name: str, kind: str) -> list[str]:
        """Names of one type that a node may see, sorted."""
        return sorted(resource for of, resource in self.seen(name) if of == kind)

    def message(self, name: str, kind: str, resource: str) -> pb.Message:
        """One resource that a node may see."""
        return next(message_of(each) for of, each in self._resources(name) if (of, each.name) == (kind, resource))

    def _resources(self, name: str) -> list[tuple[str, Resource]]:
        return resources_of(self.cache.view(name))


def resources_of(view: NodeView) -> list[tuple[str, Resource]]:
    """All that a view answers with, by short type; nothing before it is whole."""
    if not view.synced:
        return []
    return [
        (kind, found)
        for kind, type_url in TYPES.items()
        for name in view.names(type_url)
        if (found := view.get(type_url, name)) is not None
    ]


class Changes:
    """Counts what a node is told of, from the moment it is made."""

    def __init__(self, loop: ControlLoop, *nodes: str) -> None:
        self._told: dict[str, list[tuple[str, str]]] = {node: [] for node in nodes}
        for node in nodes:
            loop.cache.subscribe(node, self._listener(node))

    def of(self, node: str) -> list[tuple[str, str]]:
        """(short type, name) of every change since the last question, sorted."""
        told, self._told[node] = sorted(self._told[node]), []
        return told

    def _listener(self, node: str) -> Listener:
        short = {type_url: kind for kind, type_url in TYPES.items()}

        def listen(_: NodeView, changed: Changed) -> None:
            self._told[node] += [
                (short[type_url], name)
                for type_url, names in changed.items()
                for name in names
                # Of shards only who asked for them hears, and no node of these tests did.
                if parse_shard_sni(name) is None
            ]

        return listen
