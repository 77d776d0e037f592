"""build_*: from the merged view and the cluster's own state to the IR, one service at a time. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from federation.model.locality import Site, distance, nearest_distance, plan_localities, spread_weight
from federation.model.names import ClusterId, ServiceKey
from federation.model.records import GatewayAddress
from federation.model.state import EndpointSlice, Protocol, ServicePort, ServiceState
from federation.model.view import MergedPort, MergedService
from gateway.ir.model import (
    AppProtocol,
    CallPath,
    ExportedPort,
    ImportedPort,
    InboundPort,
    Upstream,
    UpstreamLocality,
)

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
    demoted: Collection[ClusterId] = (),
    withdrawn: Collection[ClusterId] = (),
    generation: int = 0,
) -> tuple[ImportedPort, ...]:
    """The outbound side of one service: own pods by address, every other cluster by its gateways.

    ``sites`` and ``gateways`` hold the clusters whose gateway record and bundle are accepted: a cluster that is missing
    there gets no traffic (trust precedes traffic). Left out are ports that are not TCP, since Envoy sidecars carry no
    other, and ports that no trusted cluster backs: without an identity to expect, nothing would be verified.

    ``demoted`` clusters are called behind all others. ``withdrawn`` ones are not called; their identities stay, so that
    their coming and going changes endpoints alone. ``generation`` is of the trust that calls of the service rest on.
    """
    callable_sites = {cluster: site for cluster, site in sites.items() if cluster not in withdrawn}
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
                local,
                sidecar_port,
                nearest_distance(port, own=own, sites=sites),
            ),
            generation=generation,
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
    local: ServiceState,
    sidecar_port: int,
    nearest: int,
) -> tuple[UpstreamLocality, ...]:
    pods = _ready_sidecars(local, port.name, sidecar_port)
    local_ready = sum(len(zone) for zone in pods.values())
    groups = plan_localities(port, service, own=own, sites=sites, local_ready=local_ready, demoted=demoted)
    localities: list[UpstreamLocality] = []
    for group in groups:
        if group.cluster == own.cluster:
            localities += [
                UpstreamLocality(group.priority, own.cluster, own.region, zone, upstreams)
                for zone, upstreams in pods.items()
            ]
            continue
        addresses = sorted(gateways.get(group.cluster, ()))
        if not addresses:
            continue
        weights = spread_weight(group.weight, len(addresses))
        localities.append(
            UpstreamLocality(
                group.priority,
                group.cluster,
                group.region,
                "",
                tuple(
                    Upstream(address.host, address.port, weight)
                    for address, weight in zip(addresses, weights, strict=True)
                ),
                CallPath.REMOTE if distance(own, sites[group.cluster]) == nearest else CallPath.FAILOVER,
            )
        )
    return tuple(sorted(localities))


def build_exports(key: ServiceKey, state: ServiceState, *, sidecar_port: int) -> tuple[ExportedPort, ...]:
    """The gateway's side of one service of the own cluster: empty unless it is exported."""
    if state.service is None or state.export is None:
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


def build_inbound(
    key: ServiceKey, state: ServiceState, *, address: str, inbound_port: int, sidecar_port: int
) -> tuple[InboundPort, ...]:
    """What the sidecar at ``address``:``inbound_port`` accepts for one exported service; readiness does not matter."""
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
                found[port.port] = InboundPort(
                    key, port.port, app_protocol(port.name, port.app_protocol), address, target
                )
    return tuple(sorted(found.values()))


def _target_port(piece: EndpointSlice, port: ServicePort) -> int | None:
    return next((each.port for each in piece.ports if each.name == port.name and each.protocol == port.protocol), None)


def _ready_sidecars(state: ServiceState, port_name: str, sidecar_port: int) -> dict[str, tuple[Upstream, ...]]:
    """Ready endpoints of one named port by zone, each by the address of its sidecar.

    A ``sidecar_port`` of 0 is the workload's own: a mesh that redirects what comes in (Istio) tells ports apart by it.
    """
    zones: dict[str, set[Upstream]] = {}
    for piece in state.slices:
        target = next(
            (each.port for each in piece.ports if (each.name, each.protocol) == (port_name, Protocol.TCP)), None
        )
        if target is None:
            continue
        for endpoint in piece.endpoints:
            if endpoint.ready and endpoint.addresses:
                # KEP-0752: all addresses of an endpoint are fungible, consumers use the first.
                upstream = Upstream(endpoint.addresses[0], piece.inbound_port or sidecar_port or target)
                zones.setdefault(endpoint.zone, set()).add(upstream)
    return {zone: tuple(sorted(zones[zone])) for zone in sorted(zones)}
