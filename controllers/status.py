"""StatusReport: the one answer to "how is it", for the CLI and for readiness. Values only, no secret.

Built from what the other parts hold; nothing here flows back into a build.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from controllers.drain_report import DrainReport
from controllers.liveness import Verdict
from controllers.policy_status import PolicyReport
from federation.exchange.base import MemberSnapshot, Rejected
from federation.model.merge import conflict_condition
from federation.model.names import GATEWAY_KEY, ClusterId, service_of
from federation.model.records import GatewayRecord, Record
from federation.model.traffic_policy import TrafficPolicy
from federation.model.view import MergedService
from gateway.ir.model import ImportedPort

if TYPE_CHECKING:
    # Trust comes with it, which a command that only prints a report has no use for.
    from controllers.projection import ServiceResult


class RejectionStatus(msgspec.Struct, frozen=True, rename="camel"):
    """Something of a peer that was refused."""

    reason: str
    message: str
    record: str = ""


class PeerStatus(msgspec.Struct, frozen=True, rename="camel"):
    """One other member, as this cluster sees it."""

    cluster: str
    state: str
    """A controllers.liveness.State: ``Live``, ``Unreachable`` (called last), ``Blind`` and ``Unheard`` (kept), ``Dead``
    (its endpoints are withdrawn), ``Absent``, ``Unknown``."""
    trusted: bool
    """Its bundle is accepted; without it, it gets no traffic."""
    services: int
    version: str = ""
    """``<epoch>-<sequence>`` of the last accepted batch."""
    saved_at: datetime | None = None
    """Set while its records come from disk."""
    rejected: dict[str, int] = {}
    last_rejections: tuple[RejectionStatus, ...] = ()
    reason: str = ""
    """Why it is in this state; empty for ``Live``."""
    share: int = 100
    """Percent that it takes of the calls that are its turn: less while it is drained, 0 in the end."""


class NackStatus(msgspec.Struct, frozen=True, rename="camel"):
    """Configuration that a node refused, in Envoy's words."""

    type: str
    name: str
    error: str


class NodeStatus(msgspec.Struct, frozen=True, rename="camel"):
    """One connected Envoy."""

    node: str
    identity: str
    since: datetime
    nacks: tuple[NackStatus, ...] = ()


class AuthorityStatus(msgspec.Struct, frozen=True, rename="camel"):
    """The own CA."""

    trust_domain: str
    sequence: int
    authorities: int
    next_change: datetime


class DnsStatus(msgspec.Struct, frozen=True, rename="camel"):
    """The DNS server of ``clusterset.local``."""

    listen: str
    services: int | None
    """Services that have names; None before the first whole pass, while questions are answered with SERVFAIL."""
    queries: int
    dropped: dict[str, int] = {}
    """What was not answered, by reason."""


class MembershipStatus(msgspec.Struct, frozen=True, rename="camel"):
    """This cluster's place in the clusterset."""

    serial: int
    """Of the newest roster that is believed."""
    members: int
    seat: str
    """The cluster whose controller answers for the clusterset's authority."""
    authority: str
    """Beginning of the authority's public key, hex."""
    member_key: str
    """Beginning of the own public key, hex."""
    rekeying: bool = False
    """Whether another member key is on its way."""
    rekey_refused: str = ""
    """Why the last one was refused."""
    rejected: dict[str, int] = {}
    """Rosters in the exchange that were not believed, by reason."""
    lost: bool = False
    """Whether this cluster has lost its place, or another key has it: it neither speaks nor has peers."""


class MeshStatus(msgspec.Struct, frozen=True, rename="camel"):
    """The mesh of a cluster that is backed by Kubernetes, which is not ours."""

    kind: str
    """``istio`` or ``linkerd``."""
    version: str
    """Empty where it is not told."""
    namespace: str
    """Of its control plane."""
    trust_domain: str
    settings: str = ""
    """What its own configuration must hold for this clusterset, as YAML: for its administrator, nobody writes it."""


class KubernetesStatus(msgspec.Struct, frozen=True, rename="camel"):
    """This controller's part in a cluster that is backed by Kubernetes."""

    leader: str
    """Pod of the controller that leads; empty while none is elected."""
    leads: bool
    """Whether it is this one."""
    in_order: bool
    """Whether this one leads, and the objects are as they are to be as far as it has seen them."""
    mesh: MeshStatus | None = None
    """None while none is found."""


class StatusReport(msgspec.Struct, frozen=True, rename="camel"):
    """The whole of one controller."""

    clusterset: str
    cluster: str
    region: str
    version: str
    ready: bool
    source_synced: bool
    exchange_connected: bool
    exchange_synced: bool
    exported: int
    imported: int
    authority: AuthorityStatus | None
    peers: tuple[PeerStatus, ...]
    nodes: tuple[NodeStatus, ...]
    problems: tuple[str, ...]
    """What is not used, and why."""
    warnings: tuple[str, ...] = ()
    """What will break if nobody acts."""
    republished: int = 0
    """How often the exchange was found to have lost or changed the own records, all of which were then published again,
    since the controller's start."""
    membership: MembershipStatus | None = None
    dns: DnsStatus | None = None
    """None where there is no DNS server."""
    kubernetes: KubernetesStatus | None = None
    """None where the cluster is not backed by Kubernetes."""
    drains: DrainReport | None = None
    """What of this cluster is drained; None where nothing is."""
    policies: tuple[PolicyReport, ...] = ()


class BackendStatus(msgspec.Struct, frozen=True, rename="camel"):
    cluster: str
    ready: int
    priority: int | None
    """0 is called first; None: not called (not trusted, no gateway, nothing ready, or dead)."""


class ServiceStatus(msgspec.Struct, frozen=True, rename="camel"):
    """One imported service."""

    namespace: str
    name: str
    host: str
    type: str
    vip: str
    ports: tuple[str, ...]
    backends: tuple[BackendStatus, ...]
    conflict: str
    """Why the exporters disagree; empty if they don't."""
    policies: tuple[str, ...] = ()
    """The TrafficPolicies that count for calls of it from here, the most specific first."""


def peer_status(
    member: MemberSnapshot,
    *,
    verdict: Verdict,
    trusted: bool,
    rejected: dict[str, int],
    recent: Iterable[Rejected],
) -> PeerStatus:
    """What is known of one member."""
    return PeerStatus(
        cluster=member.cluster,
        state=verdict.state,
        trusted=trusted,
        services=sum(1 for key in member.records if key.startswith("export/") and service_of(key) is not None),
        version="" if member.version is None else f"{member.version.epoch}-{member.version.seq}",
        saved_at=member.saved_at,
        rejected=rejected,
        last_rejections=tuple(
            RejectionStatus(one.reason, one.message, one.record_key or "")
            for one in recent
            if one.cluster == member.cluster
        )[-5:],
        reason=verdict.reason,
        share=_share(member.records.get(GATEWAY_KEY)),
    )


def _share(record: Record | None) -> int:
    if not isinstance(record, GatewayRecord):
        return 100
    return 0 if record.is_drained else record.share


def service_status(result: ServiceResult, vip: str, policies: Iterable[TrafficPolicy] = ()) -> ServiceStatus | None:
    """One imported service, for which these policies count; None where nobody exports it."""
    merged = result.merged
    if merged is None:
        return None
    conflict = conflict_condition(merged)
    return ServiceStatus(
        namespace=merged.key.namespace,
        name=merged.key.name,
        host=merged.key.host,
        type=merged.type,
        vip=vip,
        ports=tuple(f"{port.port}/{port.protocol}" + (f" ({port.name})" if port.name else "") for port in merged.ports),
        backends=_backends(merged, result.imports),
        conflict=conflict.message if conflict.status == "True" else "",
        policies=tuple(policy.name for policy in policies),
    )


def _backends(merged: MergedService, imports: Iterable[ImportedPort]) -> tuple[BackendStatus, ...]:
    priorities: dict[ClusterId, int] = {}
    for port in imports:
        for locality in port.localities:
            priorities[locality.cluster] = min(locality.priority, priorities.get(locality.cluster, locality.priority))
    return tuple(
        BackendStatus(backend.cluster, backend.ready, priorities.get(backend.cluster))
        for backend in sorted(merged.backends, key=lambda one: (priorities.get(one.cluster, 1_000), one.cluster))
    )
