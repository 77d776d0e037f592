"""DrainDesk: takes orders to drain, and the word of gateways and sidecars that end; and tells the peers what of theirs
the own Envoys have taken over.

Between the owner's face, the controller and the streams. What follows from an order is decided elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from controllers.controller import Controller
from controllers.drain_report import DrainReport, drain_report, served_only_here
from controllers.drains import WHOLE, Drains
from controllers.journal import Journal
from controllers.leaving import Workload
from federation.exchange.session import ExchangeSession
from federation.model.addresses import HostPort, parse_host_port
from federation.model.configuration import ClusterSettings
from federation.model.errors import OrderError
from federation.model.names import ServiceKey
from gateway.xds.server import XdsServer

_log = structlog.get_logger(__name__)

_LOOK_SECONDS = 0.1
_BOUND_SECONDS = 15.0
"""A node that does not accept its endpoints holds up the word of its cluster no longer than this."""
_LONGEST = timedelta(days=1)


class DrainDesk:
    """Whoever leads its cluster takes orders, and keeps them in the journal."""

    def __init__(
        self,
        settings: ClusterSettings,
        *,
        controller: Controller,
        journal: Journal,
        session: ExchangeSession,
        xds: XdsServer,
        mark: Callable[[], None],
        clock: Callable[[], datetime],
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        """``mark`` asks for a pass of the control loop."""
        self._settings = settings
        self._controller = controller
        self._journal = journal
        self._session = session
        self._xds = xds
        self._mark = mark
        self._clock = clock
        self._leads = leads
        self._leaving: frozenset[Workload] = frozenset()
        self._hurry = asyncio.Event()
        self._passed = True
        """Whether the control loop has done a pass since the last order."""

    def report(self) -> DrainReport:
        """What is drained, and how far it has got."""
        controller, own = self._controller, self._controller.own_gateways
        told = own.told
        return drain_report(
            self._settings.cluster,
            own.addresses,
            self._journal.drains,
            revision=0 if told is None else told.revision,
            published=self._passed and told is not None and not own.changed and self._session.settled,
            peers=self._session.snapshot(),
            verdicts=controller.verdicts,
            trusted=controller.trusted,
            settled=self._passed and self._settled(),
            leaving=self._leaving,
            only_here=self._only_here(),
            now=self._clock(),
        )

    def drain(self, target: str, over: timedelta, *, force: bool) -> None:
        """Take the calls of others off the cluster or one of its gateways; raises OrderError where that can't be done,
        and without ``force`` where services would be served by nobody."""
        address = self._target(target)
        if over > _LONGEST:
            raise OrderError("a drain takes a day at the most", hint="give a shorter --over")
        lost = self._only_here() if self._is_last(address) else []
        if lost and not force:
            names = ", ".join(map(str, lost[:5])) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
            raise OrderError(
                f"nobody else serves {names}: calls of other clusters would fail",
                hint="export them from another cluster first, or drain with --force",
            )
        self._order(self._journal.drains.order(address, 0, self._clock(), over))
        _log.info("drain begins", target=target, over_seconds=over.total_seconds())

    def undrain(self, target: str, over: timedelta) -> None:
        """Bring the calls back; raises OrderError."""
        address = self._target(target)
        drains = self._journal.drains
        if (drains.cluster if address is None else drains.gateways.get(address)) is None:
            raise OrderError(f"{target} is not drained", hint="`federation status` tells what is")
        self._order(drains.order(address, WHOLE, self._clock(), over))
        _log.info("drain is undone", target=target)

    def gateway_leaves(self, address: str) -> None:
        """A gateway is about to end. Raises OrderError where the others don't know it by this address."""
        gateway = self._known(address)
        self._order(replace(self._journal.drains, leaving=self._journal.drains.leaving | {gateway}))

    def gateway_serves(self, address: str) -> None:
        """A gateway takes calls; raises OrderError as ``gateway_leaves``."""
        gateway = self._known(address)
        if gateway in self._journal.drains.leaving:
            self._order(replace(self._journal.drains, leaving=self._journal.drains.leaving - {gateway}))

    def sidecar_leaves(self, address: str) -> None:
        """A sidecar, by its inbound address, is about to end."""
        self._leave(self._leaving | {_workload(address)})

    def sidecar_serves(self, address: str) -> None:
        """A sidecar takes calls."""
        self._leave(self._leaving - {_workload(address)})

    def on_pass(self) -> None:
        """The control loop has done a pass."""
        self._passed = True
        if self._controller.to_route:
            self._hurry.set()

    async def run(self) -> None:
        """Acknowledge what the peers have drained, as soon as the own Envoys have taken it, until cancelled."""
        while True:
            await self._hurry.wait()
            self._hurry.clear()
            for _ in range(int(_BOUND_SECONDS / _LOOK_SECONDS)):
                if self._settled():
                    break
                await asyncio.sleep(_LOOK_SECONDS)
            else:
                lagging = sorted({stream.node for stream in self._xds.streams() if not stream.settled})
                _log.warning("drain acknowledged though nodes have not taken it", nodes=lagging)
            if self._controller.to_route:
                self._controller.on_routed()
                self._mark()

    def _settled(self) -> bool:
        return all(stream.settled for stream in self._xds.streams())

    def _leave(self, workloads: frozenset[Workload]) -> None:
        if workloads != self._leaving:
            self._leaving, self._passed = workloads, False
            self._controller.on_leaving(workloads)
            self._mark()

    def _order(self, drains: Drains) -> None:
        if not self._leads():
            raise OrderError(
                "this controller does not lead its cluster, and drains nothing",
                hint="ask the one that leads: `federation status` names it",
            )
        self._passed = False
        self._journal.drain(drains)
        try:
            # Before anybody is told: a restart must not bring the calls back.
            self._journal.save()
        except OSError as error:
            raise OrderError(
                f"the order is carried out, but a restart would forget it: {error.strerror or error}",
                hint="make room on the disk of stateDirectory",
            ) from error
        finally:
            self._mark()

    def _target(self, target: str) -> HostPort | None:
        if target in {"", self._settings.cluster}:
            return None
        if any(target == member.cluster for member in self._controller.members):
            raise OrderError(
                f"{target} is another cluster, and only it can say that it is drained",
                hint=f"run it on the directory or the context of {target}",
            )
        return self._known(target)

    def _known(self, told: str) -> HostPort:
        addresses = self._controller.own_gateways.addresses
        found = [address for address in addresses if told in {str(address), address.host}]
        if len(found) != 1:
            names = ", ".join(map(str, addresses)) or "none"
            raise OrderError(
                f"{told} is neither this cluster ({self._settings.cluster}) nor one of its gateways",
                hint=f"its gateways are: {names}",
            )
        return found[0]

    def _is_last(self, address: HostPort | None) -> bool:
        """Whether nothing of this cluster is called any more when this is drained."""
        drains = self._journal.drains
        gone = {one for one, slope in drains.gateways.items() if slope.goal == 0} | drains.leaving
        return address is None or not set(self._controller.own_gateways.addresses) - gone - {address}

    def _only_here(self) -> list[ServiceKey]:
        around = self._controller.surroundings
        results = self._controller.projection.results
        return served_only_here(results, self._settings.cluster, around.sites.keys() - around.withdrawn)


def _workload(address: str) -> Workload:
    try:
        found = parse_host_port(address)
    except ValueError as error:
        raise OrderError(str(error)) from error
    return found.host, found.port
