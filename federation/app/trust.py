"""TrustKeeper: carries out what is due in the CA's life, and sees to it that everybody verifies by the same bundles.

Between the authority, the nodes and the peers: it hears who has which bundle, tells the peers what our own Envoys have
taken, has certificates renewed, and wakes the control loop when an authority ends. What is due is decided elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from controllers.controller import Controller
from controllers.dataplane import DataPlane
from controllers.expiry import expiry_problems, next_expiry, taint_problems, unacknowledged_problems
from controllers.trust import Acknowledgement, acknowledged, lagging
from controllers.trust_report import Trust, TrustReport, trust_report
from federation.app.bundles import Authorities, source_name
from federation.app.nodes import NodeDesk
from federation.app.seat import at_once
from federation.exchange.session import ExchangeSession
from federation.model.configuration import ClusterSettings
from federation.model.errors import TrustError
from federation.model.names import TRUST_KEY, ClusterId, RecordKey
from federation.model.problems import Problem
from federation.storage.private_file import replace_private
from gateway.xds.cache import SnapshotCache
from gateway.xds.protos import SECRET
from gateway.xds.server import XdsServer
from trustbundle.rotation import NOTHING_KNOWN, CaSlot, CaState, Reach

_log = structlog.get_logger(__name__)

# Renewals and rotations are looked at this often at the least: a node that has just come is not in the wait for the
# next renewal yet. Their own times say when more is due.
_INTERVAL = timedelta(seconds=5)
_SOON = timedelta(seconds=0.2)
HANDOVER_BOUND = timedelta(seconds=15)
"""A node that does not accept a bundle keeps us from acknowledging it, and our own next CA from signing, no longer than
this: it must not hold up the rotation of every peer."""


@dataclass(frozen=True, slots=True)
class Published:
    """The newest own bundle that the exchange is known to hold."""

    sequence: int
    since: datetime


class TrustKeeper:
    """The one who ticks the built-in CA. ``bundle_file`` is where sidecars of this cluster find its bundle."""

    def __init__(
        self,
        settings: ClusterSettings,
        *,
        authorities: Authorities,
        session: ExchangeSession,
        controller: Controller,
        dataplane: DataPlane,
        desk: NodeDesk,
        cache: SnapshotCache,
        xds: XdsServer,
        bundle_file: Path,
        mark: Callable[[], None],
        clock: Callable[[], datetime],
        leads: Callable[[], bool] = lambda: True,
        saved: Callable[[], Awaitable[None]] = at_once,
        others_serve: bool = False,
        handed_out: Callable[[], bool] = lambda: True,
    ) -> None:
        """``mark`` asks for a pass of the control loop; the CA's life goes on while this process ``leads``. ``saved``
        returns once what is on the disk is also where the cluster's other controllers have it; before that nobody sees
        a bundle that the authority withholds. ``others_serve``: nodes may be connected to other controllers of this
        cluster, which tell nothing of them. ``handed_out``: whether those who verify the controllers were told of the
        built-in CA as it is."""
        self._settings = settings
        self._authority = authorities.own
        self._built_in = authorities.built_in
        self._handed_out = handed_out
        self._session = session
        self._controller = controller
        self._dataplane = dataplane
        self._desk = desk
        self._cache = cache
        self._xds = xds
        self._bundle_file = bundle_file
        self._mark = mark
        self._clock = clock
        self._leads = leads
        self._saved = saved
        self._others_serve = others_serve
        self._bundle = authorities.own.bundle()
        self._changed_at = clock()
        """When the CA was seen to change last, or this process began to look."""
        self._hurry = asyncio.Event()
        self._withheld = asyncio.Event()
        self._lagging_since: dict[str, datetime] = {}
        """By node that lagged at the last look."""
        self._lacking_since: dict[ClusterId, datetime] = {}
        """By peer: since when it is seen without the bundle that is published."""
        self._expiry: datetime | None = None
        self.published: Published | None = None
        self.problems: tuple[Problem, ...] = ()
        """What will break if nobody acts."""

    def rotate(self, *, urgent: bool) -> None:
        """Begin a rotation of the CA; ``urgent``: it waits for the peers' word, and not for time. Raises TrustError
        where it is not this process's to rotate."""
        self._refuse_standby()
        self._authority.request_rotation(self._clock(), urgent=urgent)
        self._hurry.set()

    def taint(self, name: str | None) -> str:
        """Have a CA replaced and then distrusted; returns its id. Raises TrustError where ``name`` is none of ours, or
        it is not this process's to replace."""
        self._refuse_standby()
        tainted = self._authority.taint(name, self._clock())
        _log.warning("CA is tainted", authority=tainted)
        self._hurry.set()
        return tainted

    def _refuse_standby(self) -> None:
        if not self._leads():
            raise TrustError(
                "this controller does not lead its cluster, and must not change its CA",
                reason="NotLeader",
                hint="ask the one that leads: `federation status` names it",
            )

    def report(self) -> TrustReport:
        """Whose authorities are in force, and who verifies by ours."""
        return trust_report(
            Trust(
                cluster=self._settings.cluster,
                own=self._authority.bundle(),
                source=source_name(self._settings),
                state=self.state,
                view=self._controller.trust,
                members=self._controller.members,
                peers=self._session.snapshot(),
                verdicts=self._controller.verdicts,
                trusted=self._controller.trusted,
                problems=self._controller.trust_problems,
                services=self._controller.projection.results,
                awaited=self.awaited(),
                lagging=self.lagging(),
                published=None if self.published is None else self.published.sequence,
                published_at=None if self.published is None else self.published.since,
                soonest_leaf=min((svid.not_after for svid in self._dataplane.svids()), default=None),
                now=self._clock(),
            )
        )

    def wake(self) -> None:
        """Something changed that is to be looked at now."""
        self._hurry.set()

    def on_peer(self, keys: frozenset[RecordKey]) -> None:
        """Records of a peer changed."""
        if TRUST_KEY in keys:
            self._hurry.set()

    def on_pass(self) -> None:
        """The control loop has done a pass."""
        if self._controller.to_acknowledge:
            self._hurry.set()

    def write_bundle(self) -> None:
        """Have the bundle's file hold what the controllers are verified by."""
        pem = self._built_in.bundle().pem
        if self._bundle_file.exists() and self._bundle_file.read_text() == pem:
            return
        replace_private(self._bundle_file, pem.encode())

    async def run(self) -> None:
        """Keep trust until cancelled. A disk that can't be written ends no controller: what is in use stays, and all
        that is due is tried again."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep(), name="keeping trust")
            tasks.create_task(self._show_saved(), name="saved bundles")

    async def _keep(self) -> None:
        while True:
            self._hurry.clear()
            wait = self.step()
            try:
                async with asyncio.timeout(wait.total_seconds()):
                    await self._hurry.wait()
                    # Passes and acknowledgements come in bursts.
                    await asyncio.sleep(_SOON.total_seconds() / 4)
            except TimeoutError:
                continue

    async def _show_saved(self) -> None:
        """Have a new bundle seen once it can't go with this process: whoever leads next would make another one of the
        same sequence, which peers that have the first refuse."""
        while True:
            await self._withheld.wait()
            self._withheld.clear()
            if await self._is_saved():
                # Nothing comes between this and the look at what is saved: no other slots are meant.
                self._built_in.show()
                self._hurry.set()
                self._mark()

    async def _is_saved(self) -> bool:
        try:
            await self._saved()
        except OSError as error:
            _log.warning("new bundle waits", reason=f"the state directory can't be read: {error.strerror or error}")
            return False
        return True

    def step(self) -> timedelta:
        """Do all that is due; returns how long to wait for the next time at the most."""
        now = self._clock()
        # Once for all that follows: there may be thousands of nodes.
        self._lagging_since = {node: self._lagging_since.get(node, now) for node in self.lagging()}
        self._note_change(now)
        outcomes = [_carried_out(step) for step in (self._rotate, self.write_bundle, self._renew)]
        expired = self._expiry is not None and now > self._expiry
        self._note_change(now)
        if self._authority.bundle() != self._bundle or expired:
            self._bundle = self._authority.bundle()
            self._controller.on_trust()
            self._mark()
        self._expiry = next_expiry(self._controller.trust, self._settings.trust_domain, now)
        self._acknowledge()
        self._desk.forget_absent(now, (stream.node for stream in self._xds.streams()))
        self._xds.refuse_from_now_on(self._desk.withdrawn())
        self._warn(now)
        return self._wait(now) if all(outcomes) else _INTERVAL

    def acknowledgement(self, sequence: int) -> Acknowledgement:
        """Who has the own bundle of this sequence."""
        return acknowledged(
            self._settings.trust_domain,
            sequence,
            self._session.snapshot(),
            self._controller.verdicts,
            self._controller.trusted,
        )

    def awaited(self) -> Acknowledgement:
        """Who has the bundle that holds the next CA."""
        state = self.state
        if state is None or state.next is None:
            return Acknowledgement()
        return self.acknowledgement(state.next.sequence)

    @property
    def state(self) -> CaState | None:
        """The slots of the built-in CA; None where the own CA is elsewhere."""
        return self._built_in.state if self._authority is self._built_in else None

    def lagging(self) -> tuple[str, ...]:
        """The connected nodes that have not accepted their newest certificate, or the newest bundles."""
        known = self._cache.nodes()
        streams = self._xds.streams()
        wanted = {stream.node: self._secrets(stream.node) for stream in streams if stream.node in known}
        return lagging(streams, wanted)

    def _secrets(self, node: str) -> dict[str, str]:
        view = self._cache.view(node)
        found = {name: view.get(SECRET, name) for name in view.names(SECRET)}
        return {name: resource.version for name, resource in found.items() if resource is not None}

    def _rotate(self) -> None:
        now = self._clock()
        sequence = self._authority.bundle().sequence
        settled = self._session.settled and self._controller.offered_bundle == sequence
        if settled and (self.published is None or self.published.sequence != sequence):
            self.published = Published(sequence, now)
        if not self._leads():
            return
        if self._authority is not self._built_in:
            self._rotate_unpublished(now)
            return
        if settled:
            self._built_in.mark_published(sequence, now)
        before = self._built_in.state
        reach = self._reach(before)
        self._built_in.tick(now, reach)
        after = self._built_in.state
        if before.next is not None and after.current is not None and after.current.id == before.next.id:
            self._note_activation(after.current, reach)
        for slot in before.old:
            if slot.revoked_at is not None and slot not in after.old:
                self._note_removal(slot, reach)
        self._note_withheld()

    def _rotate_unpublished(self, now: datetime) -> None:
        """Rotate the built-in CA where peers have another bundle of us: only this cluster's own proxies and API server
        verify by it, who don't say what they have, so that time alone can tell."""
        if self._handed_out():
            self._built_in.mark_published(self._built_in.bundle().sequence, now)
        if self._built_in.tick(now):
            self._mark()
        self._note_withheld()

    def _note_withheld(self) -> None:
        if self._built_in.withheld:
            self._withheld.set()

    def _reach(self, state: CaState) -> Reach:
        awaited = self.awaited()
        held = {svid.slot_id for svid in self._dataplane.svids()}
        replaced = frozenset(slot.id for slot in state.old if slot.id not in held)
        return Reach(
            # The own nodes verify one another by the same bundle.
            lacking=bool(awaited.lacking or self._behind() or self._is_new_to_others()),
            unknown=bool(awaited.unknown),
            reissued=frozenset() if self._lagging_since or self._is_new_to_others() else replaced,
        )

    def _note_change(self, now: datetime) -> None:
        if self._authority.bundle() != self._bundle:
            self._changed_at = now

    def _is_new_to_others(self) -> bool:
        """Whether nodes of other controllers may lag, as far as those are waited for: they are told of a change within
        seconds, and nobody tells us what their nodes have."""
        return self._others_serve and self._clock() - self._changed_at < HANDOVER_BOUND

    def _behind(self) -> bool:
        """Whether a node lags, for so short a time that it is waited for."""
        now = self._clock()
        return any(now - since < HANDOVER_BOUND for since in self._lagging_since.values())

    def _note_activation(self, slot: CaSlot, reach: Reach) -> None:
        if reach.lacking:
            lacking = self.acknowledgement(slot.sequence).lacking
            _log.warning("CA signs though peers lack it", authority=slot.short_id, peers=lacking)
        else:
            _log.info("CA signs", authority=slot.short_id)

    def _note_removal(self, slot: CaSlot, reach: Reach) -> None:
        if slot.id in reach.reissued:
            _log.info("tainted CA is gone", authority=slot.short_id)
        else:
            nodes = tuple(self._lagging_since)
            _log.warning("tainted CA is gone though nodes use it", authority=slot.short_id, nodes=nodes)

    def _renew(self) -> None:
        self._desk.renew(self._clock())

    def _acknowledge(self) -> None:
        if not self._controller.to_acknowledge or self._behind():
            return
        if self._lagging_since:
            stuck = tuple(self._lagging_since)
            _log.warning("bundles acknowledged though nodes have not accepted them", nodes=stuck)
        self._controller.on_handed_over()
        self._mark()

    def _warn(self, now: datetime) -> None:
        found = list(expiry_problems(self.state, self._controller.trust, self._settings.trust_domain, now))
        found += taint_problems(self.state, tuple(self._lagging_since))
        if self.published is not None:
            lacking = self.acknowledgement(self.published.sequence).lacking
            since = self.published.since
            # A peer that starts again says for a moment that it has none.
            self._lacking_since = {peer: max(self._lacking_since.get(peer, now), since) for peer in lacking}
            found += unacknowledged_problems(self.published.sequence, self._lacking_since, now)
        for problem in sorted(set(found) - set(self.problems)):
            _log.warning("trust needs attention", problem=str(problem))
        self.problems = tuple(sorted(found))

    def _wait(self, now: datetime) -> timedelta:
        state = self.state
        reach = NOTHING_KNOWN if state is None else self._reach(state)
        due = [now + _INTERVAL, self._built_in.next_wakeup(now, reach)]
        due += [moment for moment in (self._desk.next_renewal(), self._expiry) if moment is not None]
        if self._pressing():
            due.append(now + _SOON)
        return max(min(due) - now, _SOON)

    def _pressing(self) -> bool:
        """Whether something is under way that is seen only by looking again."""
        unconfirmed = self.published is None or self.published.sequence != self._authority.bundle().sequence
        if (self._session.connected and unconfirmed) or self._controller.to_acknowledge:
            return True
        state = self.state
        return state is not None and (state.urgent or any(slot.revoked_at is not None for slot in state.old))


def _carried_out(step: Callable[[], object]) -> bool:
    try:
        step()
    except (OSError, TrustError) as error:
        _log.error("certificates can't be kept up to date", reason=str(error), hint=getattr(error, "hint", ""))
        return False
    return True
