"""AdmissionDesk: the part of one controller that answers for the clusterset's authority while it runs.

An edge with a loop: requests are answered when they come, and from time to time everything is looked at again, because
notices may be lost and the exchange may have forgotten its users and its roster.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from datetime import datetime

import structlog

from federation.app.authority import Authority
from federation.exchange.board import Board
from federation.exchange.timing import Backoff, Timing
from federation.membership.requests import Wish
from federation.model.errors import ExchangeUnavailableError, FederationError
from federation.model.names import ClusterId

_log = structlog.get_logger(__name__)

_SWEEP_SECONDS = 5.0
# Whoever leaves hears from the roster that it has, before it loses its user of the exchange.
_FAREWELL_SECONDS = 2.0
_MAX_WAITING = 1024


class AdmissionDesk:
    """Answers requests on ``board`` as ``authority`` judges them."""

    def __init__(
        self, authority: Authority, board: Board, *, clock: Callable[[], datetime], rng: random.Random
    ) -> None:
        self._authority = authority
        self._board = board
        self._clock = clock
        self._rng = rng
        self._waiting: deque[ClusterId] = deque(maxlen=_MAX_WAITING)
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
                await self._authority.reconcile()
                for cluster in self._expected():
                    self._call(cluster)
            except FederationError as error:
                _log.warning("authority is not in step with the exchange", error=str(error))
            await asyncio.sleep(_SWEEP_SECONDS)

    def _expected(self) -> list[ClusterId]:
        """Who may have asked for something without being heard."""
        ledger = self._authority.ledger()
        pending = {token.cluster for token in ledger.tokens if token.state(self._clock()) == "Pending"}
        return sorted(pending | {member.cluster for member in ledger.roster.members})

    def _call(self, cluster: ClusterId) -> None:
        if cluster not in self._waiting:
            self._waiting.append(cluster)
        self._called.set()

    async def _serve(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            await self._called.wait()
            self._called.clear()
            while self._waiting:
                cluster = self._waiting.popleft()
                try:
                    if await self._authority.answer(cluster) is Wish.LEAVE:
                        tasks.create_task(self._farewell(cluster))
                except FederationError as error:
                    # It is asked again with the next sweep.
                    _log.warning("request is not answered", cluster=cluster, error=str(error))

    async def _farewell(self, cluster: ClusterId) -> None:
        await asyncio.sleep(_FAREWELL_SECONDS)
        try:
            await self._authority.remove(cluster)
        except FederationError as error:
            _log.warning("a member that left is not removed from the exchange", cluster=cluster, error=str(error))
