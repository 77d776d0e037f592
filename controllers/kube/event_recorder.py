"""EventRecorder: tells users in Events what became of their objects. An edge, and in nobody's way.

What is recorded waits in a short queue of which warnings go first; what does not fit, or is refused, is dropped and
counted. Few are sent in a second: when a cluster joins, thousands of objects change, and they themselves come first.
That a thing is as it should be is told seldom: of thousands at once nobody reads it, and each is a write.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from datetime import datetime
from http import HTTPStatus
from typing import Final, Protocol

import structlog

from controllers.kube.client import KubeError
from controllers.kube.events import Correlator, Note
from controllers.kube.locations import missing_rule
from controllers.mcs.objects import Document
from controllers.sources.manifests import ObjectId
from federation.model.problems import Problem

_log = structlog.get_logger(__name__)

_WAITING: Final = 500
"""Notes of each type that may wait; later ones are dropped."""
_NORMAL_BURST: Final = 100
"""Notes of what is normal that are told at once; later ones are dropped, but for one a second."""
_PAUSE_SECONDS: Final = 0.05
"""Between two Events."""
_REQUEST_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 5.0
"""Before another client is opened; what comes meanwhile waits."""


class EventApi(Protocol):
    """What is needed of a client of the API server; see ``controllers.kube.client.KubeClient``."""

    async def apply(
        self, document: Document, subresource: str | None = None, *, timeout_seconds: float
    ) -> Document: ...


class EventRecorder:
    """Writes Events in one cluster, in whose name ``opened`` gives clients; ``instance`` names this replica."""

    def __init__(
        self,
        opened: Callable[[], AbstractAsyncContextManager[EventApi]],
        now: Callable[[], datetime],
        instance: str,
        *,
        pause_seconds: float = _PAUSE_SECONDS,
        retry_seconds: float = _RETRY_SECONDS,
        leading: Callable[[], bool] = lambda: True,
    ) -> None:
        self._opened = opened
        self._now = now
        self._correlator = Correlator(instance)
        self._pause_seconds = pause_seconds
        self._retry_seconds = retry_seconds
        self._leading = leading
        self._waiting: dict[str, deque[Note]] = {"Warning": deque(), "Normal": deque()}
        self._normal_left, self._normal_since = float(_NORMAL_BURST), -math.inf
        self._news = asyncio.Event()
        self._forbidden: tuple[Problem, ...] = ()
        self.dropped = 0
        """Notes that were not sent: too many at once, or refused; those about an object of which enough was told are
        not counted."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Why nothing can be told."""
        return self._forbidden

    def record(self, note: Note) -> None:
        """Have it told, if that can be done; returns at once."""
        waiting = self._waiting[note.type]
        if len(waiting) >= _WAITING or (note.type == "Normal" and not self._normal_allowed()):
            self.dropped += 1
            return
        waiting.append(note)
        self._news.set()

    def _normal_allowed(self) -> bool:
        now = asyncio.get_running_loop().time()
        self._normal_left = min(self._normal_left + now - self._normal_since, float(_NORMAL_BURST))
        self._normal_since = now
        if self._normal_left < 1:
            return False
        self._normal_left -= 1
        return True

    async def run(self) -> None:
        """Send what was recorded until cancelled."""
        while True:
            with suppress(KubeError):
                async with self._opened() as client:
                    while True:
                        await self._send(client, await self._next())
                        await asyncio.sleep(self._pause_seconds)
            # By another client: this one's token may have expired.
            await asyncio.sleep(self._retry_seconds)

    async def _next(self) -> Note:
        while True:
            for waiting in self._waiting.values():
                if waiting:
                    return waiting.popleft()
            self._news.clear()
            await self._news.wait()

    async def _send(self, client: EventApi, note: Note) -> None:
        """Raises KubeError where another client is needed, or a pause."""
        if not self._leading():
            return
        event = self._correlator.event(note, asyncio.get_running_loop().time(), self._now())
        if event is None:
            return
        try:
            await client.apply(event, timeout_seconds=_REQUEST_SECONDS)
            self._forbidden = ()
        except KubeError as error:
            self.dropped += 1
            if error.status == HTTPStatus.FORBIDDEN and not error.causes:
                self._tell_forbidden(error)
            elif not HTTPStatus.BAD_REQUEST <= error.status < HTTPStatus.INTERNAL_SERVER_ERROR or error.status in {
                HTTPStatus.UNAUTHORIZED,
                HTTPStatus.TOO_MANY_REQUESTS,
            }:
                raise

    def _tell_forbidden(self, error: KubeError) -> None:
        rule = missing_rule(ObjectId("Event", "", ""), "v1", "", "create, patch")
        problem = Problem("Event", "Forbidden", f"{error}; the role must have the rule {rule}")
        if not self._forbidden:
            _log.warning("events can't be written", reason=str(error))
        self._forbidden = (problem,)
