"""AdmissionDesk: the part of one controller that answers for the clusterset's authority while it runs.

An edge with a loop: requests are answered when they come, and from time to time everything is looked at again, because
notices may be lost and the exchange may have forgotten its users and its roster.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import datetime

import structlog

from federation.app.authority import Authority
from federation.exchange.board import Board
from federation.exchange.timing import Backoff, Timing
from federation.membership.admission import FAREWELL
from federation.membership.requests import Wish
from federation.model.errors import ExchangeUnavailableError, FederationError, TrustError
from federation.model.names import ClusterId
from federation.model.problems import Problem

_log = structlog.get_logger(__name__)

_SWEEP_SECONDS = 5.0
# Any member may call out any name. Those of the ledger are always heard.
_MAX_STRANGERS = 256


class AdmissionDesk:
    """Answers requests on ``board`` as ``authority`` judges them."""

    def __init__(
        self, authority: Authority, board: Board, *, clock: Callable[[], datetime], rng: random.Random
    ) -> None:
        self.problem: Problem | None = None
        """Why the exchange could not be brought in step with the ledger the last time."""
        self._authority = authority
        self._board = board
        self._clock = clock
        self._rng = rng
        self._waiting: dict[ClusterId, None] = {}
        """Whose request is to be read, first come first served."""
        self._expected: frozenset[ClusterId] = frozenset()
        """Who may have asked for something without being heard."""
        self._called = asyncio.Event()

    async def run(self) -> None:
        """Answer until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._sweep())
            tasks.create_task(self._serve(tasks))

    async def _listen(self) -> None:
        backoff = Backoff(Timing(), self._rng)
        while True:
            try:
                async with self._board.watch_requests() as clusters:
                    backoff.reset()
                    async for cluster in clusters:
                        self._call(cluster)
            except ExchangeUnavailableError:
                await asyncio.sleep(backoff.next())

    async def _sweep(self) -> None:
        while True:
            try:
                ledger = self._authority.ledger()
                pending = {token.cluster for token in ledger.tokens if token.state(self._clock()) == "Pending"}
                self._expected = frozenset(pending | {member.cluster for member in ledger.roster.members})
                await self._authority.reconcile()
            except FederationError as error:
                self._note(error)
            else:
                self.problem = None
                for cluster in sorted(self._expected):
                    self._call(cluster)
            await asyncio.sleep(_SWEEP_SECONDS)

    def _note(self, error: FederationError) -> None:
        reason = error.reason if isinstance(error, TrustError) else "NotInStep"
        problem = Problem("authority", reason, f"{error}; {error.hint}" if error.hint else str(error))
        if problem != self.problem:
            _log.error("authority is not in step with the exchange", problem=str(problem))
        self.problem = problem

    def _call(self, cluster: ClusterId) -> None:
        if cluster not in self._expected and len(self._waiting) >= len(self._expected) + _MAX_STRANGERS:
            return
        self._waiting[cluster] = None
        self._called.set()

    async def _serve(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            await self._called.wait()
            self._called.clear()
            while self._waiting:
                cluster = next(iter(self._waiting))
                del self._waiting[cluster]
                try:
                    if await self._authority.answer(cluster) is Wish.LEAVE:
                        tasks.create_task(self._farewell())
                except ExchangeUnavailableError as error:
                    # The others would wait as long for nothing. All are looked at again with the next sweep.
                    _log.warning("requests are not answered", error=str(error))
                    self._waiting.clear()
                except FederationError as error:
                    _log.warning("request is not answered", cluster=cluster, error=str(error))

    async def _farewell(self) -> None:
        await asyncio.sleep(FAREWELL.total_seconds())
        try:
            await self._authority.part()
        except FederationError as error:
            # The ledger remembers it: it is done with a later sweep.
            _log.warning("a member that left is not removed from the exchange yet", error=str(error))
