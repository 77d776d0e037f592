"""LeaseElection: takes part in the election of the one replica that writes, by a Lease (coordination.k8s.io).

Edge: it carries requests between ``leadership.Candidacy`` and the API server. Whether this replica leads is asked
rather than told: ``leading`` and ``seconds_left`` are right at any time, also while a request hangs.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from datetime import datetime
from http import HTTPStatus
from typing import Final, Protocol

import structlog

from controllers.kube.client import KubeError
from controllers.kube.leadership import API_VERSION, Candidacy, LeaseTiming
from controllers.kube.locations import location, missing_rule
from controllers.mcs.objects import Document
from controllers.sources.manifests import ObjectId
from federation.model.problems import Problem

_log = structlog.get_logger(__name__)

_OVERTAKEN: Final = frozenset({HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND})


class LeasingApi(Protocol):
    """What is needed of a client of the API server; see ``controllers.kube.client.KubeClient``."""

    async def get(self, path: str, query: Mapping[str, str], *, timeout_seconds: float) -> Document: ...

    async def create(self, document: Document, *, timeout_seconds: float) -> Document: ...

    async def replace(self, document: Document, *, timeout_seconds: float) -> Document: ...


class LeaseElection:
    """One replica's part in the election for the Lease ``name``.

    ``identity`` names the replica and must be unique, also among the lives of a pod. ``monotonic`` must go on while the
    machine sleeps as a clock does; ``now`` only stamps the Lease. ``on_change`` is called when this replica began or
    ceased to lead, and only marks.
    """

    def __init__(
        self,
        opened: Callable[[], AbstractAsyncContextManager[LeasingApi]],
        namespace: str,
        name: str,
        identity: str,
        *,
        monotonic: Callable[[], float],
        now: Callable[[], datetime],
        on_change: Callable[[], None] = lambda: None,
        timing: LeaseTiming | None = None,
    ) -> None:
        self._opened = opened
        self._lease = ObjectId("Lease", namespace, name)
        self._path = location(self._lease, API_VERSION)
        self._monotonic = monotonic
        self._now = now
        self._on_change = on_change
        self._timing = timing or LeaseTiming()
        self._candidacy = Candidacy(self._lease, identity, self._timing)
        self._unanswered = False
        """Whether a write was sent and nobody knows what became of it."""
        self._told = False
        self._ending: asyncio.TimerHandle | None = None
        self._trouble: tuple[Problem, ...] = ()

    @property
    def leading(self) -> bool:
        """Whether this replica, and certainly no other, may write now."""
        return self.seconds_left > 0

    @property
    def seconds_left(self) -> float:
        """In how many seconds every write must have ended, unless the Lease is renewed by then; 0 while not leading."""
        return self._candidacy.seconds_left(self._monotonic())

    @property
    def leader(self) -> str:
        """The identity in the Lease as it was last read; empty where there was none."""
        return self._candidacy.leader

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Why the Lease can't be read or written at the moment."""
        return self._trouble

    async def run(self) -> None:
        """Take part until cancelled. Who leads then gives the Lease back at once: cancel it after all that writes."""
        try:
            while True:
                wait = 0.0
                try:
                    async with self._opened() as client:
                        while True:
                            await self._attempt(client)
                            await asyncio.sleep(self._pause_seconds)
                except KubeError as error:
                    self._tell_trouble(error)
                    wait = error.retry_after_seconds
                # By another client: this one's token may have expired.
                await asyncio.sleep(max(self._pause_seconds, wait))
        finally:
            await self._leave()

    async def _attempt(self, client: LeasingApi) -> None:
        """Look at the Lease, and win or renew it if that may be; raises KubeError."""
        if self._candidacy.must_read:
            await self._read(client)
        asked_at = self._monotonic()
        if (bid := self._candidacy.bid(asked_at, self._now())) is not None:
            write = client.create if bid.creates else client.replace
            self._unanswered = True
            # Until the answer is here: who doesn't get it must read what came of it.
            self._candidacy.lost_sight()
            try:
                written = await write(bid.document, timeout_seconds=self._timing.request_seconds)
            except KubeError as error:
                self._unanswered = error.status == 0
                if error.status in _OVERTAKEN and not (bid.creates and error.not_served):
                    return
                raise
            self._unanswered = False
            self._candidacy.won(written, asked_at, self._monotonic())
        self._trouble = ()
        self._heed()

    async def _read(self, client: LeasingApi) -> None:
        try:
            found = await client.get(self._path, {}, timeout_seconds=self._timing.request_seconds)
        except KubeError as error:
            if not error.not_served:
                raise
            self._candidacy.read(None, self._monotonic())
        else:
            self._candidacy.read(found, self._monotonic())
        self._heed()

    @property
    def _pause_seconds(self) -> float:
        spread = 0.0 if self.leading else self._timing.jitter
        return self._timing.retry_seconds * (1 + random.uniform(0, spread))  # noqa: S311

    def _heed(self) -> None:
        """Tell of a change, and be called again when the time of who leads is over: nothing else might wake then."""
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        left = self.seconds_left
        if left > 0:
            self._ending = asyncio.get_running_loop().call_later(left, self._heed)
        if self._told != (left > 0):
            self._told = left > 0
            _log.info("leadership changed", lease=str(self._lease), leading=self._told, leader=self.leader)
            self._on_change()

    async def _leave(self) -> None:
        """Lead no longer, and give the Lease back if that can be done soon."""
        self._candidacy.resign()
        self._heed()
        if not (self._candidacy.holds or self._unanswered):
            return
        with suppress(KubeError, TimeoutError):
            async with asyncio.timeout(self._timing.request_seconds), self._opened() as client:
                if self._candidacy.must_read:
                    await self._read(client)
                if (released := self._candidacy.release(self._now())) is not None:
                    written = await client.replace(released, timeout_seconds=self._timing.request_seconds)
                    self._candidacy.read(written, self._monotonic())

    def _tell_trouble(self, error: KubeError) -> None:
        if error.status == HTTPStatus.FORBIDDEN:
            rule = missing_rule(self._lease, API_VERSION, "", "get, create, update")
            problem = Problem(str(self._lease), "Forbidden", f"{error}; the role must have the rule {rule}")
        else:
            cause = f"{error}; {error.hint}" if error.hint else str(error)
            told = f"{cause}; until it can be had this replica does not lead, once its time as the leader is over"
            problem = Problem(str(self._lease), "LeaseUnavailable", told)
        if self._trouble != (problem,):
            _log.warning("lease can't be had", lease=str(self._lease), reason=str(error), hint=error.hint)
        self._trouble = (problem,)
        self._heed()
