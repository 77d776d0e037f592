"""DataPlane: keeps the xDS cache in step with the services, the nodes that are connected, and what they may trust.

Holds which resources each service and node came to, so that a change touches those and nothing else. It decides
nothing about services (that is the projection's) and does no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from itertools import islice

from controllers.dns.zone import NO_VIPS, Ipv6Vips
from controllers.leaving import Workload
from controllers.node_groups import EGRESS, GATEWAYS, REDIRECTING, SIDECARS, group_of
from controllers.pending_changes import PendingChanges, keys_of
from controllers.projection import Changes, ServiceResult
from federation.membership.tokens import NodePrincipal
from federation.model.errors import TrustError
from federation.model.names import ServiceKey
from federation.model.problems import Problem
from federation.model.state import ClusterState, ServiceState
from federation.model.traffic_resolution import resolve
from gateway.ir.build import build_inbound
from gateway.ir.model import AppProtocol, ImportedPort, TerminatedPort, Upstream
from gateway.ir.shards import keep_slots
from gateway.nodes import GatewayNode, Node, SidecarNode
from gateway.telemetry import Telemetry
from gateway.xds.cache import SnapshotCache
from gateway.xds.references import Reference
from gateway.xds.resources import Resource
from gateway.xds.translate.egress import egress_listener, egress_upstreams
from gateway.xds.translate.services import (
    RouteEntry,
    bundles_resource,
    export_resources,
    gateway_node_resources,
    import_resources,
    placed,
    route_entries,
    route_table,
    sidecar_node_resources,
    svid_resource,
    ticket_resource,
    vip_resource,
)
from gateway.xds.translate.terminate import terminated_upstreams
from trustbundle.authority import Svid
from trustbundle.session_tickets import SessionTicketKeys


@dataclass(slots=True)
class _Service:
    """What one service came to in the cache."""

    imports: tuple[ImportedPort, ...] = ()
    shared: tuple[Resource, ...] = ()
    routes: tuple[RouteEntry, ...] = ()
    vips: tuple[Resource, ...] = ()
    served: tuple[Resource, ...] = ()
    slots: Mapping[int, tuple[Upstream, ...]] = field(default_factory=dict)
    """By exported port: its endpoints in the order of their slots (``gateway.ir.shards``)."""
    egress: tuple[Resource, ...] = ()
    terminated: tuple[TerminatedPort, ...] = ()


@dataclass(slots=True)
class _Node:
    node: Node
    principal: NodePrincipal
    issue: Callable[[NodePrincipal], Svid]
    svid: Svid | None
    """None for a gateway that decrypts nothing: it gets no key."""
    keys: frozenset[Reference] = frozenset()


class DataPlane:
    """The xDS side of one cluster's controller."""

    def __init__(self, cache: SnapshotCache, sidecar_port: int, telemetry: Telemetry) -> None:
        self._cache = cache
        self._telemetry = telemetry
        self._sidecar_port = sidecar_port
        self._state: ClusterState | None = None
        self._services: dict[ServiceKey, _Service] = {}
        self._routes: Resource | None = None
        self._vips: Mapping[ServiceKey, IPv4Address] = {}
        self._ipv6_vips = NO_VIPS
        self._workloads: dict[Workload, set[ServiceKey]] = {}
        self._workloads_of: dict[ServiceKey, tuple[Workload, ...]] = {}
        self._nodes: dict[str, _Node] = {}
        self._tickets = SessionTicketKeys()
        self._bundles = bundles_resource(())
        self._generation = 0
        self._redirecting = False
        self._egressing = False
        self._terminated: dict[ServiceKey, tuple[TerminatedPort, ...]] = {}

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(self._nodes)

    def update_services(
        self,
        changed: Changes,
        touched: Iterable[ServiceKey],
        state: ClusterState,
        vips: Mapping[ServiceKey, IPv4Address],
        ipv6_vips: Ipv6Vips = NO_VIPS,
    ) -> tuple[Problem, ...]:
        """Take over changed results, and ``touched`` services of the own state, whose workloads may have moved.

        The first call must bring everything: until then no node is answered. Returns why the change was refused; the
        last good keeps serving.
        """
        first = self._state is None
        self._state, self._vips, self._ipv6_vips = state, vips, ipv6_vips
        pending = PendingChanges()
        concerned: set[str] = set(self._nodes) if first else set()
        routes_changed = first
        terminated = {key for key, (before, after) in changed.items() if _chains(before) != _chains(after)}
        for key in {*changed, *touched}:
            concerned |= self._index(key, state.services.get(key, ServiceState()))
        for key, (before, after) in changed.items():
            routes_changed |= self._change_service(key, before, after, pending)
            concerned |= self._callers(key)
        if routes_changed:
            self._routes = self._joined_routes()
            for group in self._sidecar_groups():
                pending.group(group).replace((), [self._routes])
        if terminated:
            concerned |= {name for name, entry in self._nodes.items() if isinstance(entry.node, GatewayNode)}
        if first:
            for group in self._gateway_groups():
                pending.group(group)
        for name in concerned:
            self._change_node(name, pending)
        return self._commit(pending)

    def connect(
        self, name: str, node: Node, principal: NodePrincipal, issue: Callable[[NodePrincipal], Svid]
    ) -> tuple[Problem, ...]:
        """Make or renew the view ``name`` of a node that has proved to be ``principal``."""
        group = group_of(node)
        known = self._nodes.get(name)
        if known is None or known.node != node:
            # First, for it may fail: then nothing has changed.
            svid = issue(principal) if isinstance(node, SidecarNode) else None
            # Started again with another configuration, which may put it in another group.
            self.disconnect(name)
            self._nodes[name] = _Node(node, principal, issue, svid)
        pending = PendingChanges()
        if group == REDIRECTING and not self._redirecting:
            self._redirecting = True
            self._fill_redirecting(pending)
        if group == EGRESS and not self._egressing:
            self._egressing = True
            self._fill_egress(pending)
        self._cache.add_node(name, group)
        self._change_node(name, pending)
        return self._commit(pending)

    def disconnect(self, name: str) -> None:
        """Forget a node that has been away for long."""
        self._nodes.pop(name, None)
        self._cache.remove_node(name)

    def renew(self, due: Callable[[Svid], bool], issue: Callable[[NodePrincipal], Svid]) -> int:
        """Replace the SVIDs that are ``due``, and keys of session tickets as old as those; returns how many SVIDs were.

        Connections that stand are not touched by it.
        """
        pending = PendingChanges()
        count = 0
        rekeyed = self._tickets.expire(due)
        for name, entry in self._nodes.items():
            if entry.svid is None:
                continue
            if due(entry.svid):
                entry.svid = issue(entry.principal)
                count += 1
            elif entry.svid.spiffe_id not in rekeyed:
                continue
            self._change_node(name, pending)
        self._commit(pending)
        return count

    def update_trust(self, domains: Sequence[tuple[str, str]], generation: int = 0) -> bool:
        """Take over the bundles (trust domain, PEM) that peers are verified by; returns whether anything changed.

        Another ``generation`` ends the connections that others have opened to the nodes. A stream sends it when its
        Envoy has taken the bundles: by the old ones, whoever is cut off could come back at once.
        """
        bundles = bundles_resource(domains)
        if (bundles, generation) == (self._bundles, self._generation):
            return False
        self._bundles, self._generation = bundles, generation
        self._tickets.forget()
        pending = PendingChanges()
        for name in self._nodes:
            self._change_node(name, pending)
        self._commit(pending)
        return True

    def svids(self) -> tuple[Svid, ...]:
        return tuple(entry.svid for entry in self._nodes.values() if entry.svid is not None)

    def _change_service(
        self, key: ServiceKey, before: ServiceResult | None, after: ServiceResult | None, pending: PendingChanges
    ) -> bool:
        """Exchange the resources of one service; returns whether the route table is concerned."""
        old = self._services.pop(key, _Service())
        new = _Service()
        if after is not None:
            new.imports = after.imports
            if after is before:
                # Its clusterset IP alone is another: of that the listeners are made, and nothing else.
                new.shared, new.routes, new.served, new.slots = old.shared, old.routes, old.served, old.slots
                new.terminated = old.terminated
            else:
                new.shared = tuple(resource for port in after.imports for resource in import_resources(port))
                new.routes = route_entries(after.imports)
                exports = [
                    replace(port, upstreams=keep_slots(old.slots.get(port.port, ()), port.upstreams))
                    for port in after.exports
                ]
                new.slots = {port.port: port.upstreams for port in exports}
                new.terminated = after.terminated
                new.served = (
                    *(resource for port in exports for resource in export_resources(port)),
                    *(resource for port in after.terminated for resource in terminated_upstreams(port)),
                )
            new.vips = self._vip_listeners(key, after.imports)
            new.egress = self._egress(key, new)
            self._services[key] = new
        self._terminated.pop(key, None)
        if new.terminated:
            self._terminated[key] = new.terminated
        for group in self._sidecar_groups():
            pending.group(group).replace(keys_of(old.shared), new.shared)
        if self._redirecting:
            pending.group(REDIRECTING).replace(keys_of(old.vips), new.vips)
        for group in self._gateway_groups():
            pending.group(group).replace(keys_of(old.served), new.served)
        if self._egressing:
            pending.group(EGRESS).replace(keys_of(old.egress), new.egress)
        return old.routes != new.routes

    def _joined_routes(self) -> Resource:
        """The route table of all services, which has the bytes of each from now on."""
        services = [self._services[key] for key in sorted(self._services)]
        entries = [entry for service in services for entry in service.routes]
        table = route_table(entries)
        rest = placed(entries, table)
        for service in services:
            service.routes = tuple(islice(rest, len(service.routes)))
        return table

    def _vip_listeners(self, key: ServiceKey, imports: Iterable[ImportedPort]) -> tuple[Resource, ...]:
        if not self._redirecting:
            return ()
        vips = [str(vip) for vip in (self._vips.get(key), self._ipv6_vips.get(key)) if vip is not None]
        return tuple(vip_resource(vip, port, self._telemetry) for port in imports for vip in vips)

    def _egress(self, key: ServiceKey, service: _Service) -> tuple[Resource, ...]:
        vip = self._vips.get(key)
        if vip is None or not self._egressing:
            return ()
        listeners = (egress_listener(str(vip), port) for port in service.imports)
        return (*egress_upstreams(service.shared), *listeners)

    def _gateway_groups(self) -> tuple[str, ...]:
        return (GATEWAYS, EGRESS) if self._egressing else (GATEWAYS,)

    def _sidecar_groups(self) -> tuple[str, ...]:
        return (SIDECARS, REDIRECTING) if self._redirecting else (SIDECARS,)

    def _fill_redirecting(self, pending: PendingChanges) -> None:
        if self._routes is None:
            return
        layer = pending.group(REDIRECTING)
        for key, service in self._services.items():
            service.vips = self._vip_listeners(key, service.imports)
            layer.replace((), (*service.shared, *service.vips))
        layer.replace((), [self._routes])

    def _fill_egress(self, pending: PendingChanges) -> None:
        if self._state is None:
            return
        layer = pending.group(EGRESS)
        for key, service in self._services.items():
            service.egress = self._egress(key, service)
            layer.replace((), (*service.served, *service.egress))

    def _index(self, key: ServiceKey, local: ServiceState) -> set[str]:
        """Note which workloads back ``key`` now; returns the nodes whose inbound side that concerns."""
        before = {*self._workloads_of.pop(key, ())}
        after = {
            (address, piece.inbound_port or self._sidecar_port)
            for piece in local.slices
            for endpoint in piece.endpoints
            for address in endpoint.addresses
        }
        if after:
            self._workloads_of[key] = tuple(after)
        for workload in before - after:
            self._workloads[workload].discard(key)
            if not self._workloads[workload]:
                del self._workloads[workload]
        for workload in after - before:
            self._workloads.setdefault(workload, set()).add(key)
        concerned = before | after
        return {name for name, entry in self._nodes.items() if _workload(entry.node) in concerned}

    def _callers(self, key: ServiceKey) -> set[str]:
        """The nodes that have a local port for ``key``."""
        return {
            name
            for name, entry in self._nodes.items()
            if isinstance(entry.node, SidecarNode)
            and any((local.namespace, local.name) == (key.namespace, key.name) for local in entry.node.outbound)
        }

    def _needs_svid(self, node: Node) -> bool:
        """Whether the node takes part in TLS."""
        return isinstance(node, SidecarNode) or node.egress or bool(self._terminated)

    def _change_node(self, name: str, pending: PendingChanges) -> None:
        entry = self._nodes[name]
        if not self._needs_svid(entry.node):
            entry.svid = None
        elif entry.svid is None:
            try:
                entry.svid = entry.issue(entry.principal)
            except TrustError as error:
                # What it passes through needs none.
                pending.problems.append(Problem(f"node {name}", "NoCertificate", f"ends and begins no TLS: {error}"))
        new = self._node_resources(entry)
        pending.node(name).replace(entry.keys, new)
        entry.keys = frozenset(keys_of(new))

    def _node_resources(self, entry: _Node) -> tuple[Resource, ...]:
        secrets = () if entry.svid is None else self._secrets(entry.svid)
        if isinstance(entry.node, GatewayNode):
            ends = {} if entry.svid is None else self._terminated
            terminated = [port for key in sorted(ends) for port in ends[key]]
            listener = gateway_node_resources(entry.node, self._telemetry, terminated, self._generation)
            return (*secrets, *listener)
        if self._state is None or entry.svid is None:
            return ()
        node = entry.node
        inbound = [
            port
            for key in sorted(self._workloads.get((node.address, node.inbound_port), ()))
            for port in build_inbound(
                key,
                self._state.services.get(key, ServiceState()),
                address=node.address,
                inbound_port=node.inbound_port,
                sidecar_port=self._sidecar_port,
                capacity=resolve(self._state.policies, key).capacity,
                trust_domain=entry.svid.spiffe_id.trust_domain,
            )
        ]
        wanted = {ServiceKey(local.namespace, local.name) for local in node.outbound}
        imports = {
            (key, port.port): port for key in wanted if key in self._services for port in self._services[key].imports
        }
        return (*secrets, *sidecar_node_resources(node, inbound, imports, self._telemetry, self._generation))

    def _secrets(self, svid: Svid) -> tuple[Resource, ...]:
        return (
            svid_resource(svid.chain_pem.encode(), svid.key_pem.reveal()),
            ticket_resource(self._tickets.of(svid).reveal()),
            self._bundles,
        )

    def _commit(self, pending: PendingChanges) -> tuple[Problem, ...]:
        # Before the world is known, a node's own layer would be served with half of what it needs.
        changes = pending.changes(nodes=self._state is not None)
        return (*self._cache.apply(changes), *pending.problems)


def _chains(result: ServiceResult | None) -> list[tuple[str, AppProtocol]]:
    """What the gateways' listener has of a service; its endpoints come another way."""
    return [] if result is None else [(port.name, port.protocol) for port in result.terminated]


def _workload(node: Node) -> Workload | None:
    return (node.address, node.inbound_port) if isinstance(node, SidecarNode) else None
