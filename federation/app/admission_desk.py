"""AdmissionDesk: the part of one controller that answers for the clusterset's authority while it runs.

An edge with a loop: requests are answered when they come, and from time to time everything is looked at again, because
notices may be lost and the exchange may have forgotten its users and its roster. Anybody may call out any name as often
as Redis bears it, and put anything in the place of its own request: whose turn it is says ``federation.app.callers``.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import datetime

import structlog

from federation.app.authority import Authority
from federation.app.callers import LOOK_SECONDS, Callers
from federation.app.complaints import Complaints
from federation.exchange.board import Board
from federation.exchange.timing import Backoff, Timing
from federation.membership.admission import FAREWELL
from federation.membership.requests import Wish
from federation.model.errors import ExchangeUnavailableError, FederationError, TrustError
from federation.model.names import ClusterId
from federation.model.problems import Problem

_log = structlog.get_logger(__name__)

_SWEEP_SECONDS = 5.0
# Notices are heard in bursts, so that a flood of them takes a small part of the loop; the server drops the rest.
_BURST, _PAUSE_SECONDS = 32, 0.02


class AdmissionDesk:
    """Answers requests on ``board`` as ``authority`` judges them."""

    def __init__(
        self, authority: Authority, board: Board, *, clock: Callable[[], datetime], rng: random.Random
    ) -> None:
        self.problems: tuple[Problem, ...] = ()
        """Why the exchange could not be brought in step with the ledger the last time, and what was left as it is."""
        self._authority = authority
        self._board = board
        self._clock = clock
        self._rng = rng
        self._callers = Callers()
        self._complaints = Complaints(clock)
        self._called = asyncio.Event()

    async def run(self) -> None:
        """Answer until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._sweep())
            tasks.create_task(self._serve(tasks))

    async def _listen(self) -> None:
        backoff = Backoff(Timing(), self._rng)
        heard = 0
        while True:
            try:
                async with self._board.watch_requests() as clusters:
                    backoff.reset()
                    async for cluster in clusters:
                        if self._callers.call(cluster):
                            self._called.set()
                        heard += 1
                        if heard % _BURST == 0:
                            await asyncio.sleep(_PAUSE_SECONDS)
            except ExchangeUnavailableError:
                await asyncio.sleep(backoff.next())

    async def _sweep(self) -> None:
        while True:
            try:
                ledger = self._authority.ledger()
                pending = {token.cluster for token in ledger.tokens if token.state(self._clock()) == "Pending"}
                self._callers.expect(pending | {member.cluster for member in ledger.roster.members})
                self.problems = await self._authority.reconcile()
            except FederationError as error:
                self._note(error)
            else:
                self._callers.call_expected()
                self._called.set()
            await asyncio.sleep(_SWEEP_SECONDS)

    def _note(self, error: FederationError) -> None:
        reason = error.reason if isinstance(error, TrustError) else "NotInStep"
        problem = Problem("authority", reason, f"{error}; {error.hint}" if error.hint else str(error))
        if problem not in self.problems:
            _log.error("authority is not in step with the exchange", problem=str(problem))
        self.problems = (problem,)

    async def _serve(self, tasks: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        failed: ClusterId | None = None
        while True:
            cluster, wait = self._callers.next(loop.time())
            if cluster is None:
                await self._rest(wait)
                continue
            try:
                if await self._authority.answer(cluster) is Wish.LEAVE:
                    tasks.create_task(self._farewell())
            except ExchangeUnavailableError as error:
                self._complaints.warn("request is not answered", cluster=cluster, error=str(error))
                if failed not in {None, cluster}:
                    # Two in a row are the exchange, one may be what a cluster has put in the place of its request. The
                    # others would wait as long for nothing; all are looked at again with the next sweep.
                    self._callers.dismiss()
                    failed = None
                    await asyncio.sleep(LOOK_SECONDS)
                else:
                    failed = cluster
                continue
            except FederationError as error:
                self._complaints.warn("request is not answered", cluster=cluster, error=str(error))
            failed = None

    async def _rest(self, seconds: float | None) -> None:
        """Until somebody calls, or for these seconds."""
        self._called.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._called.wait()
        except TimeoutError:
            return

    async def _farewell(self) -> None:
        await asyncio.sleep(FAREWELL.total_seconds())
        try:
            await self._authority.part()
        except FederationError as error:
            # The ledger remembers it: it is done with a later sweep.
            _log.warning("a member that left is not removed from the exchange yet", error=str(error))
