"""Reports: gathers what the running parts say of themselves, for status, readiness and metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from controllers.controller import Controller
from controllers.dataplane import DataPlane
from controllers.dns.server import DnsServer
from controllers.drain_report import DrainReport
from controllers.engine import Engine
from controllers.gateway_names import GatewayNames
from controllers.http.metrics import Numbers
from controllers.journal import Journal
from controllers.liveness import UNJUDGED
from controllers.policy_status import policy_reports
from controllers.probes import GatewayProbes
from controllers.status import (
    AuthorityStatus,
    DnsStatus,
    KubernetesStatus,
    MembershipStatus,
    NackStatus,
    NodeStatus,
    ServiceStatus,
    StatusReport,
    peer_status,
    service_status,
)
from controllers.trust_report import own_seconds_left, peers_acknowledged, peers_seconds_left
from federation import __version__
from federation.app.bundles import OwnAuthority, bundle_problems
from federation.app.readiness import waited_for, waited_for_place
from federation.app.trust import TrustKeeper
from federation.exchange.session import ExchangeSession
from federation.model.configuration import ClusterSettings
from federation.model.problems import Problem
from federation.model.traffic_resolution import counting
from gateway.xds.server import XdsServer
from gateway.xds.status import StreamStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Reports:
    """Reads, never writes."""

    settings: ClusterSettings
    controller: Controller
    engine: Engine
    session: ExchangeSession
    membership: Callable[[], MembershipStatus]
    roster_problems: Callable[[], tuple[Problem, ...]]
    probes: GatewayProbes
    gateway_names: GatewayNames
    authority: OwnAuthority
    dataplane: DataPlane
    journal: Journal
    cluster_problems: Callable[[], tuple[Problem, ...]]
    """What is wrong where the cluster's nodes and objects are."""
    xds: XdsServer
    keeper: TrustKeeper
    clock: Callable[[], datetime]
    dns: DnsServer | None = None
    kubernetes: Callable[[], KubernetesStatus] | None = None
    """None where the cluster is not backed by Kubernetes."""
    drains: Callable[[], DrainReport] | None = None

    def ready(self) -> tuple[bool, str]:
        """Whether nodes are answered as a member's, and if not, what is waited for."""
        if self.membership().lost:
            return False, waited_for_place(self.settings.clusterset)
        if self.controller.ready:
            return True, "ok"
        members = self.session.snapshot().members
        what = waited_for(
            source_synced=self.controller.source_synced,
            exchange_connected=self.session.connected,
            unknown_peers=[cluster for cluster, member in sorted(members.items()) if not member.synced],
        )
        return False, f"waiting for {what}"

    def status(self) -> StatusReport:
        snapshot = self.session.snapshot()
        membership = self.membership()
        rejections = self.session.rejections
        verdicts = self.controller.verdicts
        results = self.controller.projection.results.values()
        problems = (
            *self.controller.source_problems,
            *self.cluster_problems(),
            *self.controller.trust_problems,
            *self.gateway_names.problems,
            *self.controller.held_back,
            *bundle_problems(self.authority, self.clock()),
            *self.controller.refused,
            *self.controller.unsaved,
            *(problem for result in results for problem in result.exported.problems),
        )
        return StatusReport(
            clusterset=self.settings.clusterset,
            cluster=self.settings.cluster,
            region=self.settings.region,
            version=__version__,
            ready=self.controller.ready and not membership.lost,
            source_synced=self.controller.source_synced,
            exchange_connected=self.session.connected and not membership.lost,
            exchange_synced=self.session.synced,
            exported=self.controller.projection.exported,
            imported=self.controller.projection.imported,
            authority=AuthorityStatus(
                trust_domain=self.settings.trust_domain,
                sequence=self.authority.bundle().sequence,
                authorities=len(self.authority.bundle().authorities),
                next_change=self.authority.next_wakeup(self.clock()),
            ),
            peers=tuple(
                peer_status(
                    member,
                    verdict=verdicts.get(cluster, UNJUDGED),
                    trusted=cluster in self.controller.trusted,
                    rejected={reason: count for (peer, reason), count in rejections.items() if peer == cluster},
                    recent=self.session.recent_rejections,
                )
                for cluster, member in sorted(snapshot.members.items())
            ),
            nodes=tuple(_node(stream) for stream in self.xds.streams()),
            problems=tuple(str(problem) for problem in sorted(problems)),
            warnings=tuple(map(str, (*self.roster_problems(), *self.keeper.problems))),
            republished=self.session.losses,
            membership=membership,
            dns=self._dns(),
            kubernetes=None if self.kubernetes is None else self.kubernetes(),
            drains=self._drains(),
            policies=policy_reports(self.controller.state.policies, self.controller.projection.imports),
        )

    def services(self) -> tuple[ServiceStatus, ...]:
        vips = self.journal.vips
        found = (
            service_status(result, str(vips.get(key, "")), counting(self.controller.state.policies, key))
            for key, result in sorted(self.controller.projection.results.items())
        )
        return tuple(status for status in found if status is not None)

    def numbers(self) -> Numbers:
        members = self.session.snapshot().members
        trust = self.keeper.report()
        membership = self.membership()
        counters = self.xds.counters
        reach = {cluster: self.probes.reach(cluster) for cluster in members}
        answers = {cluster: self.probes.answer_seconds(cluster) for cluster in members}
        ends = [svid.not_after for svid in self.dataplane.svids()]
        return Numbers(
            ready=self.controller.ready and not membership.lost,
            exchange_connected=self.session.connected and not membership.lost,
            roster_serial=membership.serial,
            roster_rejected=membership.rejected,
            members=membership.members,
            exported=self.controller.projection.exported,
            imported=self.controller.projection.imported,
            passes=self.engine.passes,
            failed_passes=self.engine.failures,
            publications=self.session.publications,
            peers_fresh={cluster: member.fresh for cluster, member in members.items()},
            peers_up={cluster: up for cluster, up in reach.items() if up is not None},
            peers_answer_seconds={cluster: took for cluster, took in answers.items() if took is not None},
            peers_failed_probes={cluster: self.probes.failed[cluster] for cluster in members},
            peers_state={cluster: verdict.state for cluster, verdict in self.controller.verdicts.items()},
            peers_trusted={cluster: cluster in self.controller.trusted for cluster in members},
            rejected={(str(peer), reason): count for (peer, reason), count in self.session.rejections.items()},
            xds_streams=counters.streams_connected,
            xds_responses=counters.responses_sent,
            xds_resources=counters.resources_sent,
            xds_nacks=counters.nacks,
            xds_refused=counters.auth_refused,
            xds_denied_secrets=counters.denied_secrets,
            bundle_sequence=self.authority.bundle().sequence,
            ca_seconds_left=own_seconds_left(trust),
            peers_bundle_seconds_left=peers_seconds_left(trust),
            peers_acknowledged=peers_acknowledged(trust),
            svid_seconds_left=(min(ends) - self.clock()).total_seconds() if ends else None,
            dns=None if self.dns is None else self.dns.counters,
        )

    def _drains(self) -> DrainReport | None:
        report = None if self.drains is None else self.drains()
        return report if report is not None and (report.is_drained or report.leaves) else None

    def _dns(self) -> DnsStatus | None:
        if self.dns is None:
            return None
        zone, counters = self.controller.zone, self.dns.counters
        return DnsStatus(
            listen=str(self.dns.listen),
            services=None if zone is None else len(zone.services),
            queries=counters.queries.total(),
            dropped=dict(counters.dropped),
        )


def _node(stream: StreamStatus) -> NodeStatus:
    return NodeStatus(
        node=stream.node,
        identity=stream.subject,
        since=stream.since,
        nacks=tuple(
            NackStatus(nack.type_url.rpartition(".")[2], nack.name, nack.message)
            for kind in stream.types
            for nack in kind.nacks
        ),
    )
