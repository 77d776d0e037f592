"""Judges gateways, ports and addresses: what this cluster publishes, what it reaches, and who has whose. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from ipaddress import ip_address
from itertools import combinations

from controllers.checks import Check
from federation.app.preflight_lines import Line, failed, note, ok
from federation.model.addresses import HostPort
from federation.model.names import ClusterId
from federation.model.records import EndpointsRecord, GatewayRecord, Record
from federation.model.state import ClusterState

_MANY = 5
"""So many are named, the others are counted."""


class Reach(Enum):
    """What an address does with a TLS handshake."""

    ANSWERS = auto()
    SILENT = auto()
    """It takes the connection, and then does nothing."""
    CLOSED = auto()
    """Nobody takes the connection."""
    UNRESOLVED = auto()
    """It is a name that leads to no address."""


@dataclass(frozen=True, slots=True)
class TakenPort:
    """An address that a process of ours could not listen on."""

    setting: str
    address: HostPort
    cause: str


@dataclass(frozen=True, slots=True)
class Presence:
    """The addresses that one member has."""

    network: str
    gateways: frozenset[HostPort] = frozenset()
    workloads: frozenset[str] = frozenset()


def judge_gateway_address(addresses: Sequence[HostPort], peers: Mapping[ClusterId, Presence], *, local: bool) -> Check:
    """What is published of the own gateway; ``local``: the exchange is on this host."""
    published = ", ".join(map(str, addresses))
    elsewhere = any(not at.is_loopback for peer in peers.values() for at in peer.gateways)
    if all(address.is_loopback for address in addresses) and (elsewhere or not local):
        return note(
            Line.GATEWAY_ADDRESS,
            f"{published} is published, which other hosts do not reach",
            "set gateway.listen, or gateway.addresses, to what the other clusters reach",
        )
    return ok(Line.GATEWAY_ADDRESS, f"{published} is published")


def judge_gateway(reached: Mapping[HostPort, Reach], *, runs: bool) -> Check:
    """The own gateway at its published addresses; ``runs``: its Envoy is up on this host."""
    silent = [str(address) for address, reach in reached.items() if reach is Reach.SILENT]
    closed = [str(address) for address, reach in reached.items() if reach is Reach.CLOSED]
    unresolved = [str(address) for address, reach in reached.items() if reach is Reach.UNRESOLVED]
    if unresolved:
        return failed(
            Line.GATEWAY,
            f"{', '.join(unresolved)} does not resolve",
            "correct gateway.addresses, or the name in DNS: the other clusters resolve it too",
        )
    if silent:
        return failed(
            Line.GATEWAY,
            f"{', '.join(silent)} takes connections and does not answer TLS",
            "is it frozen, or something else? Restart `federation gateway`; its log is in the state directory",
        )
    if closed and runs:
        return failed(
            Line.GATEWAY,
            f"runs, and {', '.join(closed)} takes no connections",
            "does the controller run, which tells it to listen? Is a load balancer or a firewall in between?",
        )
    if closed:
        return note(Line.GATEWAY, f"does not run: nothing listens at {', '.join(closed)}", "run `federation gateway`")
    return ok(Line.GATEWAY, f"{', '.join(map(str, reached))} answers TLS")


def judge_ports(taken: Sequence[TakenPort]) -> Check:
    """Where the processes that do not run would listen."""
    if not taken:
        return ok(Line.LISTEN_PORTS, "free, or in use by the controller and the gateway of this cluster")
    words = "; ".join(f"{port.setting} {port.address}: {port.cause}" for port in taken)
    return failed(Line.LISTEN_PORTS, words, "stop what listens there (`ss -ltnp` shows it), or change the setting")


def judge_peer_gateways(reached: Mapping[ClusterId, Mapping[HostPort, Reach]]) -> Iterator[Check]:
    """One line for each peer that a controller's prober would call unreachable or half so; one for all others."""
    well = []
    for cluster, addresses in sorted(reached.items()):
        down = [
            f"{address} (does not resolve)" if reach is Reach.UNRESOLVED else str(address)
            for address, reach in addresses.items()
            if reach is not Reach.ANSWERS
        ]
        fix = f"is the gateway of {cluster} running, and do firewalls let this host through to it?"
        if Reach.UNRESOLVED in addresses.values():
            fix = f"does the DNS of this host know the names of {cluster}? Otherwise: {fix}"
        if not addresses:
            yield note(Line.PEER_GATEWAYS, f"{cluster} has published none", f"is the controller of {cluster} running?")
        elif len(down) == len(addresses):
            yield failed(Line.PEER_GATEWAYS, f"{cluster} does not answer at {', '.join(down)}", fix)
        elif down:
            yield note(Line.PEER_GATEWAYS, f"{cluster} answers, but not at {', '.join(down)}", fix)
        else:
            well.append(cluster)
    if well:
        yield ok(Line.PEER_GATEWAYS, f"{_some(well)} answers" if len(well) == 1 else f"{_some(well)} answer")


def presence_of(records: Sequence[Record]) -> Presence:
    """What a member says of its addresses; workloads' are told of headless services only."""
    gateway = next((record for record in records if isinstance(record, GatewayRecord)), None)
    workloads = (
        address
        for record in records
        if isinstance(record, EndpointsRecord)
        for endpoint in record.addresses
        for address in endpoint.addresses
    )
    return Presence(
        "" if gateway is None else gateway.network,
        frozenset(() if gateway is None else (HostPort(at.host, at.port) for at in gateway.addresses)),
        frozenset(workloads),
    )


def own_presence(network: str, gateways: Sequence[HostPort], state: ClusterState) -> Presence:
    """What the own settings and manifests say."""
    workloads = (
        address
        for service in state.services.values()
        for item in service.slices
        for endpoint in item.endpoints
        for address in endpoint.addresses
    )
    return Presence(network, frozenset(gateways), frozenset(workloads))


def judge_addresses(members: Mapping[ClusterId, Presence]) -> Iterator[Check]:
    """Who has an address that is another's: one line for each pair, one if there is none.

    On one network, a workload's address is reached without a gateway, and so must be one workload's. Loopback is each
    host's own: members that share it are on one host, where ports tell their workloads apart.
    """
    found = False
    for (one, ones), (other, others) in combinations(sorted(members.items()), 2):
        if gateways := sorted(ones.gateways & others.gateways):
            found = True
            yield failed(
                Line.ADDRESSES,
                f"{one} and {other} both publish the gateway {_some(list(map(str, gateways)))}",
                "give each its own gateway.addresses: calls for one would end at the other",
            )
        flat = ones.network == others.network != ""
        shared = sorted(at for at in ones.workloads & others.workloads if not ip_address(at).is_loopback)
        if flat and shared:
            found = True
            yield failed(
                Line.ADDRESSES,
                f"{one} and {other} are on network {ones.network} and both have workloads at {_some(shared)}",
                "give the clusters ranges of their own, or set another network for one: then calls take its gateway",
            )
    if not found:
        yield ok(Line.ADDRESSES, "no two members have the same")


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MANY
    return ", ".join(names[:_MANY]) + (f" and {more} more" if more > 0 else "")
