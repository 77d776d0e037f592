"""DrainReport: what is drained, how far it has got, and who has taken it over. Values only, and pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from controllers.drains import WHOLE, Drains
from controllers.leaving import Workload
from controllers.liveness import State, Verdict
from federation.exchange.base import ExchangeSnapshot, MemberSnapshot
from federation.model.addresses import HostPort
from federation.model.names import TRUST_KEY, ClusterId, ServiceKey
from federation.model.records import TrustRecord

if TYPE_CHECKING:
    # Merging and translation come with it, which a command that only prints a report has no use for.
    from controllers.projection import ServiceResult

_SPEAKING = frozenset({State.LIVE, State.UNREACHABLE})


class TargetStatus(msgspec.Struct, frozen=True, rename="camel"):
    """The cluster or one of its gateways, as far as it is drained."""

    share: int
    """Percent of its calls that it takes now."""
    goal: int
    ends: datetime | None = None
    """When it is there; None where nothing was ordered."""


class GatewayStatus(msgspec.Struct, frozen=True, rename="camel"):
    address: str
    drain: TargetStatus
    leaving: bool = False
    """It said that it is about to end, and is not called until it is back."""


class DrainReport(msgspec.Struct, frozen=True, rename="camel"):
    """What one cluster has drained."""

    cluster: str
    drain: TargetStatus
    gateways: tuple[GatewayStatus, ...]
    revision: int
    """By which the others acknowledge it; 0: nothing was drained since the controller's start."""
    published: bool
    """Whether the exchange has it."""
    acknowledged: tuple[str, ...]
    """Peers that call by it."""
    waiting_for: tuple[str, ...]
    """Peers that are heard, and do not say yet that they call by it. Older programs never do."""
    silent: tuple[str, ...]
    """Peers that can't be heard now, and may call as before."""
    dead: tuple[str, ...]
    """Peers of which nothing is heard, and which do not answer: nobody waits for them."""
    settled: bool
    """Whether the own Envoys call by it too."""
    leaving_workloads: tuple[str, ...] = ()
    """Sidecars, by inbound address, that said that they are about to end, and are not called until they are back."""
    only_here: tuple[str, ...] = ()
    """Services that nobody else serves: without this cluster, calls of them from others fail."""

    @property
    def is_drained(self) -> bool:
        """Whether anything is, or is on its way from or to it."""
        targets = (self.drain, *(gateway.drain for gateway in self.gateways))
        return any((one.share, one.goal) != (WHOLE, WHOLE) for one in targets)

    @property
    def leaves(self) -> bool:
        """Whether a gateway or a sidecar said that it is about to end."""
        return bool(self.leaving_workloads) or any(gateway.leaving for gateway in self.gateways)

    @property
    def arrived(self) -> bool:
        """Whether every share is what was ordered, and published."""
        targets = (self.drain, *(gateway.drain for gateway in self.gateways))
        return self.published and all(one.share == one.goal for one in targets)


def drain_report(
    cluster: ClusterId,
    addresses: Iterable[HostPort],
    drains: Drains,
    *,
    revision: int,
    published: bool,
    peers: ExchangeSnapshot,
    verdicts: Mapping[ClusterId, Verdict],
    trusted: Collection[ClusterId],
    settled: bool,
    leaving: Iterable[Workload] = (),
    only_here: Iterable[ServiceKey],
    now: datetime,
) -> DrainReport:
    """The report, from what was ordered and what the peers say."""
    acknowledged: list[str] = []
    waiting: list[str] = []
    silent: list[str] = []
    dead: list[str] = []
    for peer, member in sorted(peers.members.items()):
        if peer not in trusted:
            continue
        state = verdicts[peer].state if peer in verdicts else State.UNKNOWN
        if state in {State.DEAD, State.ABSENT}:
            dead.append(peer)
        elif _routed(cluster, member) == revision:
            acknowledged.append(peer)
        elif state in _SPEAKING:
            waiting.append(peer)
        else:
            silent.append(peer)
    return DrainReport(
        cluster,
        _target(drains, None, now),
        tuple(
            GatewayStatus(str(address), _target(drains, address, now), address in drains.leaving)
            for address in addresses
        ),
        revision,
        published,
        tuple(acknowledged),
        tuple(waiting),
        tuple(silent),
        tuple(dead),
        settled,
        tuple(str(HostPort(*workload)) for workload in sorted(leaving)),
        tuple(map(str, only_here)),
    )


def served_only_here(
    results: Mapping[ServiceKey, ServiceResult], own: ClusterId, callable_peers: Collection[ClusterId]
) -> list[ServiceKey]:
    """The own exports that have nobody ready anywhere else, sorted."""
    return sorted(
        key
        for key, result in results.items()
        if result.exported.export is not None
        and result.merged is not None
        and not any(
            backend.ready and backend.cluster in callable_peers
            for backend in result.merged.backends
            if backend.cluster != own
        )
    )


def _routed(cluster: ClusterId, member: MemberSnapshot) -> int:
    record = member.records.get(TRUST_KEY)
    return dict(record.routed).get(cluster, 0) if isinstance(record, TrustRecord) else 0


def _target(drains: Drains, address: HostPort | None, now: datetime) -> TargetStatus:
    slope = drains.cluster if address is None else drains.gateways.get(address)
    if slope is None:
        return TargetStatus(WHOLE, WHOLE)
    return TargetStatus(slope.share(now), slope.goal, slope.ends)
