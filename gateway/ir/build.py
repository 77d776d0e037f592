"""build_*: from the merged view and the cluster's own state to the IR, one service at a time. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from zlib import crc32

from federation.model.locality import (
    ALL,
    NO_SHARES,
    WEIGHT_PER_ENDPOINT,
    Shares,
    Site,
    distance,
    drained_weights,
    nearest_distance,
    plan_localities,
    spread_weight,
)
from federation.model.names import ClusterId, ServiceKey, shard_sni, sni
from federation.model.records import DirectEndpoint, GatewayAddress
from federation.model.state import EndpointSlice, Protocol, ServicePort, ServiceState
from federation.model.traffic_order import order_groups, weigh_by_capacity
from federation.model.traffic_policy import DEFAULTS, Capacity, TrafficSettings
from federation.model.view import MergedPort, MergedService
from gateway.ir.flat import direct_endpoints, direct_upstreams
from gateway.ir.model import (
    AppProtocol,
    CallPath,
    ExportedPort,
    ImportedPort,
    InboundPort,
    TerminatedPort,
    Upstream,
    UpstreamLocality,
    Way,
)
from gateway.ir.shards import shard_sizes, ways
from gateway.ir.traffic import settings_for, sheds, weigh, with_unready

_HTTP = frozenset({"http", "kubernetes.io/ws", "ws"})
_HTTP2 = frozenset({"http2", "grpc", "h2c", "kubernetes.io/h2c"})


def app_protocol(name: str, declared: str | None) -> AppProtocol:
    """The protocol of a port: its ``appProtocol``, else its name's prefix as Istio reads it, else opaque TCP.

    Nothing is sniffed: a port that names no HTTP protocol is passed on byte by byte.
    """
    word = declared.lower() if declared else name.split("-", 1)[0]
    if word in _HTTP:
        return AppProtocol.HTTP
    if word in _HTTP2:
        return AppProtocol.HTTP2
    return AppProtocol.TCP


def build_imports(
    service: MergedService,
    *,
    own: Site,
    sites: Mapping[ClusterId, Site],
    gateways: Mapping[ClusterId, tuple[GatewayAddress, ...]],
    local: ServiceState,
    sidecar_port: int,
    shards: Mapping[ClusterId, int] = MappingProxyType({}),
    demoted: Collection[ClusterId] = (),
    withdrawn: Collection[ClusterId] = (),
    shares: Mapping[ClusterId, Shares] = NO_SHARES,
    generation: int = 0,
    policy: TrafficSettings = DEFAULTS,
) -> tuple[ImportedPort, ...]:
    """The outbound side of one service: own pods by address, every other cluster by its gateways.

    ``sites`` and ``gateways`` hold the clusters whose gateway record and bundle are accepted: a cluster that is missing
    there, or has no gateway, gets no traffic (trust precedes traffic). Left out are ports that are not TCP, since Envoy
    sidecars carry no other, and ports that no trusted cluster backs: without an identity to expect, nothing would be
    verified.

    ``shards``: into how many a peer's gateways part the endpoints of a port; a cluster that isn't there does not.
    ``demoted`` clusters are called behind all others. ``withdrawn`` ones are not called; their identities stay, so that
    their coming and going changes endpoints alone. ``shares`` are those of clusters that are drained little by little.
    ``generation`` is of the trust that calls of the service rest on. ``policy`` is what counts for the service.
    """
    callable_sites = {
        cluster: site for cluster, site in sites.items() if cluster not in withdrawn and gateways.get(cluster)
    }
    ports = (
        ImportedPort(
            service=service.key,
            port=port.port,
            protocol=app_protocol(port.name, port.app_protocol),
            identities=_identities(service, port, {own.cluster, *sites}),
            localities=_localities(
                service,
                port,
                own,
                callable_sites,
                demoted,
                gateways,
                shards,
                shares,
                local,
                sidecar_port,
                policy,
                nearest_distance(port, own=own, sites=sites),
            ),
            generation=generation,
            policy=settings_for(policy, service),
            sheds=sheds(service, port, own.cluster),
        )
        for port in service.ports
        if port.protocol is Protocol.TCP
    )
    return tuple(port for port in ports if port.identities)


def _identities(service: MergedService, port: MergedPort, known: set[ClusterId]) -> tuple[str, ...]:
    return tuple(
        sorted(
            {
                identity
                for backend in service.backends
                if backend.cluster in port.clusters and backend.cluster in known
                for identity in backend.identities
            }
        )
    )


def _localities(
    service: MergedService,
    port: MergedPort,
    own: Site,
    sites: Mapping[ClusterId, Site],
    demoted: Collection[ClusterId],
    gateways: Mapping[ClusterId, tuple[GatewayAddress, ...]],
    shards: Mapping[ClusterId, int],
    shares: Mapping[ClusterId, Shares],
    local: ServiceState,
    sidecar_port: int,
    policy: TrafficSettings,
    nearest: int,
) -> tuple[UpstreamLocality, ...]:
    pods = _ready_sidecars(local, port.name, sidecar_port)
    local_ready = sum(len(zone) for zone in pods.values())
    terminated = local.export is not None and local.export.terminate
    if terminated and not gateways.get(own.cluster):
        local_ready = 0
    plan = plan_localities(port, service, own=own, sites=sites, local_ready=local_ready, demoted=demoted, shares=shares)
    ordered = order_groups(plan, policy.failover, own=own, demoted=demoted)
    groups = weigh_by_capacity(ordered, {backend.cluster: backend.capacity for backend in service.backends})
    localities: list[UpstreamLocality] = []
    for group in groups:
        if group.cluster == own.cluster and not terminated:
            localities += [
                UpstreamLocality(group.priority, own.cluster, own.region, zone, upstreams)
                for zone, upstreams in pods.items()
            ]
            continue
        path = CallPath.LOCAL
        if group.cluster != own.cluster:
            near = distance(own, sites[group.cluster]) == nearest
            path = CallPath.REMOTE if near else CallPath.FAILOVER
        if direct := direct_upstreams(service, port, own, sites.get(group.cluster)):
            localities += [
                UpstreamLocality(group.priority, group.cluster, group.region, zone, upstreams, path=path)
                for zone, upstreams in direct.items()
            ]
            continue
        upstreams = _behind_gateways(
            sni(service.key, port.port),
            group.weight,
            gateways.get(group.cluster, ()),
            shards.get(group.cluster, 0),
            shares.get(group.cluster, ALL).addresses,
            group.scale,
        )
        if upstreams:
            localities.append(UpstreamLocality(group.priority, group.cluster, group.region, "", upstreams, path=path))
    found = tuple(sorted(localities))
    if policy.failover.order:
        found = weigh(found, groups)
    if policy.failover.threshold_percent is None:
        return found
    return with_unready(found, own.cluster, _sidecars(local, port.name, sidecar_port, ready=False))


def _behind_gateways(
    name: str,
    ready: int,
    gateways: Sequence[GatewayAddress],
    shards: int,
    shares: Sequence[int],
    scale: Fraction,
) -> tuple[Upstream, ...]:
    """The hosts that stand for ``ready`` endpoints of a peer: its shards, or, where it has none, its gateways.

    Each may be reached through any of the gateways. The first way differs from host to host, and for services of one
    shard from service to service. ``shares`` (percent, by gateway; none: all alike) and ``scale`` are of what is
    drained little by little.
    """
    in_order = sorted(zip(gateways, shares or [100] * len(gateways), strict=True))
    addresses = [Way(address.host, address.port) for address, _ in in_order]
    parts = [share for _, share in in_order]
    if not addresses:
        return ()
    if shards:
        weights = [WEIGHT_PER_ENDPOINT * size for size in shard_sizes(ready, shards)]
        names = [shard_sni(name, shard) for shard in range(len(weights))]
        start = crc32(name.encode())
        if scale != 1:
            weights = list(drained_weights(weights, scale, ()))
    else:
        weights = list(spread_weight(ready, len(addresses)))
        names = [""] * len(addresses)
        start = 0
        if shares or scale != 1:
            weights = list(drained_weights(weights, scale, parts))
    # Shards take turns at the gateways by their shares; without shards each gateway is a host, and has its own turn.
    order = parts if shards else [1] * len(addresses)
    return tuple(
        Upstream(first.address, first.port, weight, server_name, tuple(others))
        for (first, *others), weight, server_name in zip(
            ways(addresses, order, start, len(weights)), weights, names, strict=True
        )
    )


def build_exports(key: ServiceKey, state: ServiceState, *, sidecar_port: int) -> tuple[ExportedPort, ...]:
    """The gateway's side of one service of the own cluster: empty unless it is exported, and passed through."""
    if state.service is None or state.export is None or state.export.terminate:
        return ()
    return tuple(
        ExportedPort(
            service=key,
            port=port.port,
            upstreams=tuple(
                upstream for zone in _ready_sidecars(state, port.name, sidecar_port).values() for upstream in zone
            ),
        )
        for port in state.service.ports
        if port.protocol is Protocol.TCP
    )


def build_direct(state: ServiceState, *, sidecar_port: int) -> tuple[DirectEndpoint, ...]:
    """Where members of the same network call one service of the own cluster: at its sidecars."""
    ports = () if state.service is None else state.service.ports
    return direct_endpoints(
        {port.name: _ready_sidecars(state, port.name, sidecar_port) for port in ports if port.protocol is Protocol.TCP}
    )


def build_terminated(key: ServiceKey, state: ServiceState) -> tuple[TerminatedPort, ...]:
    """The gateway's side of one service of the own cluster for which it ends the clusterset's TLS."""
    if state.service is None or state.export is None or not state.export.terminate:
        return ()
    return tuple(
        TerminatedPort(
            key,
            port.port,
            app_protocol(port.name, port.app_protocol),
            tuple(upstream for zone in _ready_workloads(state, port.name).values() for upstream in zone),
        )
        for port in state.service.ports
        if port.protocol is Protocol.TCP
    )


def build_inbound(
    key: ServiceKey,
    state: ServiceState,
    *,
    address: str,
    inbound_port: int,
    sidecar_port: int,
    capacity: Capacity | None = None,
    trust_domain: str = "",
) -> tuple[InboundPort, ...]:
    """What the sidecar at ``address``:``inbound_port`` accepts for one exported service; readiness does not matter.

    ``capacity`` is what a policy states of each endpoint; it limits HTTP alone, where calls can be told apart, and
    not callers of ``trust_domain``, the own one.
    """
    if state.service is None or state.export is None:
        return ()
    found: dict[int, InboundPort] = {}
    for piece in state.slices:
        if (piece.inbound_port or sidecar_port) != inbound_port:
            continue
        if not any(address in endpoint.addresses for endpoint in piece.endpoints):
            continue
        for port in state.service.ports:
            target = _target_port(piece, port)
            if port.protocol is Protocol.TCP and target is not None:
                protocol = app_protocol(port.name, port.app_protocol)
                limit = capacity.others_per_endpoint if capacity is not None and protocol.is_http else 0
                home = trust_domain if limit else ""
                found[port.port] = InboundPort(key, port.port, protocol, address, target, limit, home)
    return tuple(sorted(found.values()))


def _target_port(piece: EndpointSlice, port: ServicePort) -> int | None:
    return next((each.port for each in piece.ports if each.name == port.name and each.protocol == port.protocol), None)


def _ready_sidecars(state: ServiceState, port_name: str, sidecar_port: int) -> dict[str, tuple[Upstream, ...]]:
    return _sidecars(state, port_name, sidecar_port, ready=True)


def _sidecars(
    state: ServiceState, port_name: str, sidecar_port: int, *, ready: bool
) -> dict[str, tuple[Upstream, ...]]:
    """Endpoints of one named port that are ready, or are not, by zone, each by the address of its sidecar.

    A ``sidecar_port`` of 0 is the workload's own: a mesh that redirects what comes in (Istio) tells ports apart by it.
    """
    return _endpoints(state, port_name, lambda piece, target: piece.inbound_port or sidecar_port or target, ready=ready)


def _ready_workloads(state: ServiceState, port_name: str) -> dict[str, tuple[Upstream, ...]]:
    """Those that are ready, each by the port that the workload itself listens on."""
    return _endpoints(state, port_name, lambda _, target: target, ready=True)


def _endpoints(
    state: ServiceState, port_name: str, place: Callable[[EndpointSlice, int], int], *, ready: bool
) -> dict[str, tuple[Upstream, ...]]:
    zones: dict[str, set[Upstream]] = {}
    for piece in state.slices:
        target = next(
            (each.port for each in piece.ports if (each.name, each.protocol) == (port_name, Protocol.TCP)), None
        )
        if target is None:
            continue
        for endpoint in piece.endpoints:
            if endpoint.ready is ready and endpoint.addresses:
                # KEP-0752: all addresses of an endpoint are fungible, consumers use the first.
                zones.setdefault(endpoint.zone, set()).add(Upstream(endpoint.addresses[0], place(piece, target)))
    return {zone: tuple(sorted(zones[zone])) for zone in sorted(zones)}
