"""Projection: what follows for one service from the own state and the peers' records. Pure, and per service.

One changed endpoint must not rebuild 10,000 services, so a pass computes the changed keys only. That stays simple
because ``project_service`` depends on nothing but its arguments: a property test holds every history of partial passes
equal to one pass over everything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType

from controllers.peers import by_ip, gateway_names, gateway_records
from controllers.revocations import Revocations, Servers
from federation.exchange.base import ExchangeSnapshot
from federation.model.configuration import ClusterSettings
from federation.model.export import Exported, export_service
from federation.model.locality import Shares, Site, rank_clusters
from federation.model.merge import merge_service
from federation.model.names import ClusterId, RecordKey, ServiceKey, endpoints_key, export_key
from federation.model.records import (
    EndpointsRecord,
    ExportRecord,
    GatewayAddress,
    ImportType,
    Record,
)
from federation.model.state import ClusterState, ServiceState
from federation.model.traffic_policy import DEFAULTS, TrafficSettings
from federation.model.traffic_resolution import resolve
from federation.model.view import MergedService
from gateway.ir.build import build_direct, build_exports, build_imports, build_terminated
from gateway.ir.flat import shares_network
from gateway.ir.model import ExportedPort, ImportedPort, TerminatedPort


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every service depends on: who we are, and which peers may be given traffic, where."""

    own: Site
    trust_domain: str
    sidecar_port: int
    sites: Mapping[ClusterId, Site] = field(default_factory=dict)
    """Peers whose bundle is accepted and whose gateway is known; nobody else gets traffic (trust precedes traffic)."""
    gateways: Mapping[ClusterId, tuple[GatewayAddress, ...]] = field(default_factory=dict)
    """By IP addresses alone; none where a peer has told none, or names of which none is resolved."""
    names: Mapping[ClusterId, tuple[str, ...]] = field(default_factory=dict)
    """The names of gateways that are to be resolved: sorted, and no more than a peer may have."""
    shards: Mapping[ClusterId, int] = field(default_factory=dict)
    """Into how many shards a peer's gateways part the endpoints of a service port; 0 where they don't."""
    demoted: frozenset[ClusterId] = frozenset()
    """Peers that are called behind all others."""
    withdrawn: frozenset[ClusterId] = frozenset()
    """Peers that are not called: what they export stays known, and so do their identities."""
    shares: Mapping[ClusterId, Shares] = field(default_factory=dict)
    """Of peers that are drained little by little."""
    revocations: Revocations = field(default_factory=Revocations)
    own_gateways: tuple[GatewayAddress, ...] = ()
    """Where the own gateways are reached: the way to own services for which they end TLS."""

    @property
    def flat(self) -> bool:
        """Whether some peer reaches the own workloads without a gateway."""
        return any(shares_network(self.own, site) for site in self.sites.values())


@dataclass(frozen=True, slots=True)
class ServiceResult:
    """Everything that one service comes to in this cluster."""

    exported: Exported
    merged: MergedService | None
    imports: tuple[ImportedPort, ...]
    exports: tuple[ExportedPort, ...]
    """Passed through by the own gateways."""
    nearest: tuple[tuple[ClusterId, ...], ...] = ()
    """Of a headless service: the clusters whose endpoints are called by address, in groups, the nearest first."""
    terminated: tuple[TerminatedPort, ...] = ()
    """For which the own gateways end TLS."""

    @property
    def records(self) -> dict[RecordKey, Record]:
        """What this cluster tells the others of the service."""
        return {
            record.record_key: record
            for record in (self.exported.export, self.exported.endpoints)
            if record is not None
        }


def own_site(settings: ClusterSettings) -> Site:
    """Where this cluster is."""
    return Site(settings.cluster, settings.region, settings.network)


def meet(
    own: Site,
    trust_domain: str,
    sidecar_port: int,
    peers: ExchangeSnapshot,
    trusted: Collection[ClusterId],
    *,
    demoted: frozenset[ClusterId] = frozenset(),
    withdrawn: frozenset[ClusterId] = frozenset(),
    revocations: Revocations | None = None,
    own_gateways: tuple[GatewayAddress, ...] = (),
    resolved: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> Surroundings:
    """The surroundings, from what the peers say of their gateways, from whom we trust and did, and from who lives.

    ``own_gateways`` are where the others reach the own ones. ``resolved``: the IP addresses of the names that gateways
    have, as far as they are known.
    """
    records = gateway_records(peers, trusted)
    by_address = {cluster: by_ip(record, resolved) for cluster, record in records.items()}
    return Surroundings(
        own,
        trust_domain,
        sidecar_port,
        {cluster: Site(cluster, record.region, record.network) for cluster, record in records.items()},
        {cluster: record.addresses for cluster, record in by_address.items()},
        {cluster: names for cluster, record in records.items() if (names := gateway_names(record))},
        {cluster: record.shards for cluster, record in records.items()},
        demoted,
        withdrawn | {cluster for cluster, record in records.items() if record.is_drained},
        {
            cluster: Shares(record.share, record.shares)
            for cluster, record in by_address.items()
            if record.share != 100 or record.shares
        },
        revocations or Revocations(),
        own_gateways,
    )


def moved(before: Surroundings, after: Surroundings) -> frozenset[ClusterId]:
    """The clusters for which something changed that services depend on; the own one is among them."""
    found = {cluster for cluster in {*before.sites, *after.sites} if _seen(before, cluster) != _seen(after, cluster)}
    if (before.flat, before.own_gateways) != (after.flat, after.own_gateways):
        found.add(after.own.cluster)
    return frozenset(found)


def _seen(around: Surroundings, cluster: ClusterId) -> tuple[object, ...]:
    return (
        around.sites.get(cluster),
        around.gateways.get(cluster),
        around.shards.get(cluster),
        cluster in around.demoted,
        cluster in around.withdrawn,
        around.shares.get(cluster),
    )


def project_service(
    key: ServiceKey,
    local: ServiceState,
    peers: ExchangeSnapshot,
    around: Surroundings,
    first_seen: datetime,
    policy: TrafficSettings = DEFAULTS,
) -> ServiceResult:
    """What ``key`` comes to. ``first_seen`` dates an export whose manifest has no creationTimestamp; ``policy`` is what
    TrafficPolicies of this cluster say of the service."""
    exported = export_service(
        key, local, trust_domain=around.trust_domain, first_seen=first_seen, capacity=policy.capacity
    )
    if exported.endpoints is not None and around.flat and not _terminates(local):
        direct = build_direct(local, sidecar_port=around.sidecar_port)
        exported = replace(exported, endpoints=replace(exported.endpoints, direct=direct))
    exports: dict[ClusterId, tuple[ExportRecord, EndpointsRecord | None]] = {}
    for cluster, member in peers.members.items():
        export = member.records.get(export_key(key))
        endpoints = member.records.get(endpoints_key(key))
        if isinstance(export, ExportRecord):
            exports[cluster] = (export, endpoints if isinstance(endpoints, EndpointsRecord) else None)
    if exported.export is not None:
        exports[around.own.cluster] = (exported.export, exported.endpoints)
    merged = merge_service(key, exports)
    imports = (
        ()
        if merged is None
        else build_imports(
            merged,
            own=around.own,
            sites=around.sites,
            gateways={**around.gateways, around.own.cluster: around.own_gateways},
            shards=around.shards,
            local=local,
            sidecar_port=around.sidecar_port,
            demoted=around.demoted,
            withdrawn=around.withdrawn,
            shares=around.shares,
            generation=around.revocations.of(key),
            policy=policy,
        )
    )
    served = build_exports(key, local, sidecar_port=around.sidecar_port) if exported.export is not None else ()
    terminated = build_terminated(key, local) if exported.export is not None else ()
    return ServiceResult(exported, merged, imports, served, _nearest(merged, around), terminated)


def _terminates(local: ServiceState) -> bool:
    return local.export is not None and local.export.terminate


def _nearest(merged: MergedService | None, around: Surroundings) -> tuple[tuple[ClusterId, ...], ...]:
    """Only where it counts: elsewhere a cluster that moved would change results that don't depend on it."""
    if merged is None or merged.type is not ImportType.HEADLESS:
        return ()
    sites = {cluster: site for cluster, site in around.sites.items() if cluster not in around.withdrawn}
    return rank_clusters(merged, own=around.own, sites=sites, demoted=around.demoted)


Changes = Mapping[ServiceKey, tuple[ServiceResult | None, ServiceResult | None]]
"""Results that changed, as (before, after); None where there is nothing."""


class Projection:
    """The results of all services, kept current by passes over the keys that changed."""

    def __init__(self) -> None:
        self._results: dict[ServiceKey, ServiceResult] = {}
        self._servers: dict[ServiceKey, frozenset[str]] = {}

    @property
    def results(self) -> Mapping[ServiceKey, ServiceResult]:
        return self._results

    @property
    def exported(self) -> int:
        """How many services of this cluster are exported."""
        return sum(1 for result in self._results.values() if result.exported.export is not None)

    @property
    def imported(self) -> int:
        """How many services of the clusterset are known here."""
        return len(self.imports)

    @property
    def imports(self) -> frozenset[ServiceKey]:
        """The services of the clusterset that are known here."""
        return frozenset(key for key, result in self._results.items() if result.merged is not None)

    def backed_by(self, clusters: Collection[ClusterId]) -> set[ServiceKey]:
        """The services that any of these clusters exports."""
        return {
            key
            for key, result in self._results.items()
            if result.merged is not None and any(backend.cluster in clusters for backend in result.merged.backends)
        }

    @property
    def servers(self) -> Servers:
        """The SPIFFE IDs that servers of each imported service may present, or might before: who no longer serves it
        may have connections that are open still."""
        return self._servers

    def outdated(self, revocations: Revocations) -> set[ServiceKey]:
        """The services whose open connections rest on trust that was withdrawn."""
        return {
            key
            for key, result in self._results.items()
            if any(port.generation != revocations.of(key) for port in result.imports)
        }

    def update(
        self,
        keys: Iterable[ServiceKey],
        state: ClusterState,
        peers: ExchangeSnapshot,
        around: Surroundings,
        first_seen: Mapping[ServiceKey, datetime],
        now: datetime,
    ) -> Changes:
        """Compute ``keys`` anew; returns those whose result changed. Raises with all results as they were."""
        changed: dict[ServiceKey, tuple[ServiceResult | None, ServiceResult | None]] = {}
        for key in keys:
            local = state.services.get(key, ServiceState())
            policy = resolve(state.policies, key)
            result = project_service(key, local, peers, around, first_seen.get(key, now), policy)
            after = None if result.merged is None and not result.exported.conditions else result
            before = self._results.get(key)
            if before != after:
                changed[key] = (before, after)
        for key, (_, after) in changed.items():
            if after is None:
                del self._results[key]
            else:
                self._results[key] = after
            if after is None or not after.imports:
                self._servers.pop(key, None)
            else:
                self._servers[key] = self._servers.get(key, frozenset()).union(
                    *(port.identities for port in after.imports)
                )
        return changed
