"""Controller: one cluster's control loop. Own state and peers' records in; own records, trust and xDS out.

Everything arrives as a mark (``on_…``); everything happens in ``step``, from the newest pictures. Before the own source
and every peer are known, nothing goes out: empty is not unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import IPv4Address

import structlog

from controllers.dataplane import DataPlane
from controllers.dns.zone import NO_VIPS, Ipv6Vips, Zone, ZoneView
from controllers.journal import Journal
from controllers.leaving import Workload, served_by, without
from controllers.liveness import Signals, State, Verdict, judge, places
from controllers.own_gateways import OwnGateways
from controllers.peers import Gateways, Peers, exported_by, gateway_records, probed, routes, unread
from controllers.projection import Changes, Projection, ServiceResult, Surroundings, meet, moved, own_site
from controllers.revocations import held_back, revise
from controllers.sources.base import SourceUpdate
from controllers.trust import accept_bundles, held_sequences
from federation.exchange.base import ExchangeSnapshot
from federation.model.configuration import ClusterSettings
from federation.model.names import BUNDLE_KEY, TRUST_KEY, ClusterId, RecordKey, ServiceKey, service_of
from federation.model.problems import Problem
from federation.model.records import BundleRecord, Member, Record, TrustRecord
from federation.model.state import ClusterState
from federation.model.traffic_resolution import concerned
from federation.model.vips import assign_vips
from trustbundle.bundle import BundleSource, TrustView, normalised_validator_domains
from trustbundle.generation import ended
from trustbundle.identity import TrustDomain

_log = structlog.get_logger(__name__)

_SAVE_AGAIN_SECONDS = 5.0
"""A disk that can't be written is not tried more often: a failing one keeps the loop for as long as it likes."""


@dataclass(slots=True)
class _Dirty:
    """What was marked since the last pass."""

    services: set[ServiceKey]
    own: set[ServiceKey]
    moved: set[ServiceKey]
    """Services whose clusterset IP was given or taken by others."""
    members: bool = True

    @staticmethod
    def nothing() -> _Dirty:
        return _Dirty(set(), set(), set(), members=False)


class Controller:
    """The state of one cluster's control loop; ``step`` is the only place where it moves."""

    def __init__(
        self,
        settings: ClusterSettings,
        *,
        members: Iterable[Member],
        peers: Peers,
        gateways: Gateways,
        authority: BundleSource,
        dataplane: DataPlane,
        journal: Journal,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._settings = settings
        self.members = tuple(members)
        """The other members: whose bundles may be believed."""
        self._peers = peers
        self._gateways = gateways
        self._authority = authority
        self._dataplane = dataplane
        self._journal = journal
        self._clock = clock
        self._monotonic = monotonic
        self._told: ClusterState | None = None
        self._state: ClusterState | None = None
        self._leaving: frozenset[Workload] = frozenset()
        self._dirty = _Dirty(set(), set(), set())
        self._projection = Projection()
        self._zone = None if settings.dns.listen is None else Zone()
        self._own = own_site(settings)
        self.own_gateways = OwnGateways(settings, journal, clock)
        self._given_vips: Mapping[ServiceKey, IPv4Address] | None = None
        self._ipv6_vips = NO_VIPS
        self._around = Surroundings(self._own, settings.trust_domain, settings.mesh.sidecar_port)
        self._trust = TrustView()
        self._routes: tuple[tuple[str, int], ...] = ()
        self._acknowledged = TrustRecord()
        self._verdicts: Mapping[ClusterId, Verdict] = {}
        """On who lives, as passes go by them."""
        self._records: dict[RecordKey, Record] = {}
        self._changed: dict[ServiceKey, tuple[ServiceResult | None, ServiceResult | None]] = {}
        """What was computed and not yet handed on: empty unless a pass failed half way."""
        self._started = False
        self.touched: frozenset[ServiceKey] = frozenset()
        """The services that the last pass was about."""
        self.trusted: frozenset[ClusterId] = frozenset()
        self.unread: frozenset[ClusterId] = frozenset()
        """The members of whom the last pass did not know what they export."""
        self.source_problems: tuple[Problem, ...] = ()
        self.trust_problems: tuple[Problem, ...] = ()
        self.refused: tuple[Problem, ...] = ()
        """Why the data plane refused the last change; empty is good."""
        self.unsaved: tuple[Problem, ...] = ()
        """Why the journal is not on disk; empty is good."""
        self._save_after = 0.0

    @property
    def ready(self) -> bool:
        """Whether the first whole pass is done: the own source and every peer are known, nodes are answered."""
        return self._started

    @property
    def source_synced(self) -> bool:
        return self._state is not None

    @property
    def offered_bundle(self) -> int | None:
        """Sequence of the own bundle that was last given to the exchange to publish."""
        record = self._records.get(BUNDLE_KEY)
        return record.sequence if isinstance(record, BundleRecord) else None

    @property
    def held_back(self) -> tuple[Problem, ...]:
        """The members that withdraw trust of their own more often than connections end for it."""
        return tuple(held_back(self._journal.revocations, self.members))

    @property
    def projection(self) -> Projection:
        return self._projection

    @property
    def surroundings(self) -> Surroundings:
        """What every service depends on."""
        return self._around

    @property
    def zone(self) -> ZoneView | None:
        """The names of the clusterset; None before the first whole pass, and where nobody asks for them."""
        return None if self._zone is None else self._zone.view

    @property
    def trust(self) -> TrustView:
        return self._trust

    @property
    def to_acknowledge(self) -> bool:
        """Whether bundles of peers were accepted that the peers were not told of: ``on_handed_over`` is waited for."""
        return held_sequences(self._trust, self._settings.trust_domain) != self._acknowledged.accepted

    @property
    def to_route(self) -> bool:
        """Whether peers have drained something, and were not told that it was seen to: ``on_routed`` is waited for."""
        return self._routes != self._acknowledged.routed

    @property
    def state(self) -> ClusterState:
        return self._state or ClusterState()

    @property
    def verdicts(self) -> Mapping[ClusterId, Verdict]:
        """What every peer is to us at this moment."""
        signals = {
            cluster: Signals(member.synced, member.version is not None, member.fresh, self._gateways.reach(cluster))
            for cluster, member in self._peers.snapshot().members.items()
        }
        return judge(signals, self._verdicts, connected=self._peers.connected, now=self._monotonic())

    def on_source(self, update: SourceUpdate) -> None:
        """The own manifests changed."""
        self._told = update.state
        # Whom a policy concerns, that may be a service that this cluster has nothing of but its import.
        known = {*self._projection.results, *update.state.services}
        ruled = concerned(self.state.policies, update.state.policies, known)
        self._state = without(update.state, self._leaving, self._settings.mesh.sidecar_port)
        self.source_problems = update.problems
        self._dirty.services |= update.changed | ruled
        self._dirty.own |= update.changed | ruled

    def on_leaving(self, workloads: frozenset[Workload]) -> None:
        """These sidecars are about to end: whatever the manifests say, they get no new calls."""
        moved_now, self._leaving = workloads ^ self._leaving, workloads
        if self._told is not None:
            port = self._settings.mesh.sidecar_port
            self._state = without(self._told, workloads, port)
            self._dirty.own |= (keys := served_by(self._told, moved_now, port))
            self._dirty.services |= keys

    def on_peer(self, _cluster: ClusterId, keys: frozenset[RecordKey]) -> None:
        """Records of a peer changed; no keys: what we know of it did."""
        for key in keys:
            service = service_of(key)
            if service is not None:
                self._dirty.services.add(service)
            elif key != TRUST_KEY:
                # What peers acknowledge changes nothing here but our CA's life, which asks for it.
                self._dirty.members = True

    def on_members(self, members: Iterable[Member]) -> None:
        """The roster changed: whoever is not among ``members`` is trusted no more."""
        self.members = tuple(members)
        self._dirty.members = True

    def on_trust(self) -> None:
        """The own CA changed, or time may have run out for an authority of a peer."""
        self._dirty.members = True

    def on_gateway_names(self, resolved: Mapping[str, tuple[str, ...]]) -> None:
        """The names of peers' gateways lead to these IP addresses from now on."""
        self._journal.resolve(resolved)
        self._dirty.members = True

    def on_vips(self, vips: Mapping[ServiceKey, IPv4Address], ipv6_vips: Ipv6Vips = NO_VIPS) -> None:
        """Somebody else allocates the clusterset IPs, and these are all there are now."""
        before, ipv6_before = self._given_vips or {}, self._ipv6_vips
        self._given_vips, self._ipv6_vips = vips, ipv6_vips
        self._dirty.moved |= {key for key, _ in before.items() ^ vips.items()}
        self._dirty.moved |= {key for key, _ in ipv6_before.items() ^ self._ipv6_vips.items()}

    def on_journal(self) -> None:
        """The journal was read again: another process of this cluster has written it."""
        self.own_gateways.reload()
        self._dirty.members = True

    def on_handed_over(self) -> None:
        """The Envoys verify by all bundles that are accepted: the next pass tells the peers."""
        held = held_sequences(self._trust, self._settings.trust_domain)
        self._acknowledged = replace(self._acknowledged, accepted=held)

    def on_routed(self) -> None:
        """The Envoys call by all gateway records that are taken over: the next pass tells the peers."""
        self._acknowledged = replace(self._acknowledged, routed=self._routes)

    def on_time(self) -> bool:
        """Judge anew who lives; returns whether a pass is due: for it, to end connections that a member had to wait
        for, to write what could not be written, or to tell the others of the next step of a drain."""
        before, self._verdicts = self._verdicts, self.verdicts
        for cluster, verdict in self._verdicts.items():
            _note(cluster, before.get(cluster), verdict)
        if places(before) == places(self._verdicts) and not self._journal.revocations.due(self._clock()):
            return self._to_save or self.own_gateways.changed
        self._dirty.members = True
        return True

    def step(self) -> None:
        """Bring records, trust and xDS in step with all that was marked."""
        if self._state is None or not self._peers.synced:
            return
        peers = self._peers.snapshot()
        dirty, self._dirty = self._dirty, _Dirty.nothing()
        try:
            self._pass(self._state, peers, dirty)
        except Exception:
            # Nothing that was marked may be forgotten: the next pass starts from the same.
            self._dirty.services |= dirty.services
            self._dirty.own |= dirty.own
            self._dirty.moved |= dirty.moved
            self._dirty.members |= dirty.members
            raise

    def _pass(self, state: ClusterState, peers: ExchangeSnapshot, dirty: _Dirty) -> None:
        now = self._clock()
        if dirty.members or self._around.own_gateways != self.own_gateways.ways:
            # Marked, for a peer moves once: were this pass to fail, the next one would not see it move.
            dirty.services |= self._meet(peers, now)
        keys = set(dirty.services)
        if not self._started:
            keys |= state.services.keys() | exported_by(peers) | self._journal.first_seen.keys()
        undated = {
            key
            for key in keys
            if (local := state.services.get(key)) is not None
            and local.export is not None
            and local.export.created is None
        }
        self._journal.see(undated, keys - undated, now)
        changed = self._projection.update(keys, state, peers, self._around, self._journal.first_seen, now)
        for key, (before, after) in changed.items():
            self._changed[key] = (self._changed.get(key, (before,))[0], after)
        self._assign_vips(self._changed)
        for key in dirty.moved:
            if (result := self._projection.results.get(key)) is not None:
                self._changed.setdefault(key, (result, result))
        self._save()
        # The others first: what our own Envoys are sent keeps the loop for milliseconds, in which the exchange works.
        self._publish(self._changed, first=not self._started)
        self.refused = self._dataplane.update_services(
            self._changed, dirty.own, state, self._journal.vips, self._ipv6_vips
        )
        if self._zone is not None:
            # After the Envoys: an address that is found is one that they were told of.
            results, seconds = self._projection.results, int(now.timestamp())
            self._zone.update(self._changed, results, self._journal.vips, seconds, self._ipv6_vips)
        for problem in self.refused:
            _log.error("data plane refused a change", problem=str(problem))
        self.touched, self.unread = frozenset({*self._changed, *dirty.own}), unread(peers)
        self._changed = {}
        self._started = True

    def _meet(self, peers: ExchangeSnapshot, now: datetime) -> set[ServiceKey]:
        """Judge trust anew; returns the services for which a peer came, went or moved."""
        accepted = accept_bundles(self._authority.bundle(), self.members, peers, self._trust, self._journal.claims, now)
        self._journal.claim(accepted.claims)
        for problem in set(accepted.problems) - set(self.trust_problems):
            _log.warning("bundle refused", problem=str(problem))
        self._trust, self.trusted, self.trust_problems = accepted.view, accepted.trusted, accepted.problems
        servers = self._projection.servers if self._started else None
        before = self._journal.revocations
        revocations = revise(before, self._trust, {TrustDomain(one.trust_domain) for one in self.members}, servers, now)
        if gone := ended(before.trust, revocations.trust, self._trust, now):
            _log.warning("trust was withdrawn: connections that rest on it end", trust_domains=sorted(gone))
        for domain in sorted(revocations.trust.owed - before.trust.owed):
            _log.warning("trust is withdrawn too often: connections end later", trust_domain=domain)
        self._journal.revoke(revocations)
        # Trust precedes traffic: nodes can verify a peer before they are sent to it.
        self._dataplane.update_trust(normalised_validator_domains(self._trust), revocations.generation)
        around = self._around
        demoted, withdrawn = places(self._verdicts)
        after = self._around = meet(
            self._own,
            around.trust_domain,
            around.sidecar_port,
            peers,
            self.trusted,
            demoted=demoted,
            withdrawn=withdrawn,
            revocations=revocations,
            own_gateways=self.own_gateways.ways,
            resolved=self._journal.gateway_names,
        )
        records = gateway_records(peers, self.trusted)
        self._routes = routes(records)
        self._gateways.follow(probed(records, self._journal.gateway_names))
        return self._projection.backed_by(moved(around, after)) | self._projection.outdated(revocations)

    def _assign_vips(self, changed: Changes) -> None:
        if self._given_vips is not None:
            self._journal.take_vips(self._given_vips)
            return
        held = self._journal.vips
        if self._started and all(_imported(after) == (key in held) for key, (_, after) in changed.items()):
            return
        imported = (key for key, result in self._projection.results.items() if _imported(result))
        self._journal.assign(assign_vips(held, imported, self._settings.vip_range))

    @property
    def _to_save(self) -> bool:
        return self._journal.unsaved and self._monotonic() >= self._save_after

    def _save(self) -> None:
        """Have the journal written, after trust was withdrawn: that must not wait for a disk, nor fail of it."""
        if not self._to_save:
            return
        try:
            self._journal.save()
        except OSError as error:
            self._save_after = self._monotonic() + _SAVE_AGAIN_SECONDS
            why = error.strerror or str(error)
            self.unsaved = (Problem("journal", "NotSaved", f"a restart would forget what is new in it: {why}"),)
            _log.error("journal is not saved", reason=why, hint="make room on the disk of stateDirectory")
        else:
            self.unsaved = ()

    def _publish(self, changed: Changes, *, first: bool) -> None:
        records = dict(self._records)
        for before, after in changed.values():
            for key in () if before is None else before.records:
                records.pop(key, None)
            records.update({} if after is None else after.records)
        gateway = self.own_gateways.tell()
        bundle = self._authority.bundle().record
        records |= {each.record_key: each for each in (gateway, bundle, self._acknowledged)}
        if first or records != self._records:
            self._peers.publish(records)
            self._records = records


def _note(cluster: ClusterId, before: Verdict | None, verdict: Verdict) -> None:
    if before is not None and before.state is verdict.state:
        return
    log = _log.warning if verdict.state in {State.UNREACHABLE, State.BLIND, State.DEAD} else _log.info
    log("peer is judged anew", peer=cluster, state=verdict.state, reason=verdict.reason)


def _imported(result: ServiceResult | None) -> bool:
    return result is not None and result.merged is not None
