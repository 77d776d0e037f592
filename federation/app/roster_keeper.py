"""RosterKeeper: keeps a member's roster up to date from the exchange's board, on disk and in the running controller.

An edge. What is believed is decided in ``federation.membership.roster``; without the exchange, or with a forged roster
in it, the last one that was believed stays.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from federation.app.undivided import undivided
from federation.exchange.board import Board
from federation.exchange.timing import Backoff, Timing
from federation.membership.roster import KnownRoster, RosterMember, accept_roster
from federation.membership.roster_file import RosterFile
from federation.model.errors import ConfigError, ExchangeDeniedError, ExchangeUnavailableError, WireError
from federation.model.names import ClusterId
from federation.model.problems import Problem
from federation.model.records import Member

_log = structlog.get_logger(__name__)

# Notices may be lost: the board is read this often without one, so that an eviction is known everywhere in 10 s.
_POLL_SECONDS = 4.0
# Whoever may write to the board may also ring without end: a megabyte is read and verified so often and no more.
_PAUSE_SECONDS = 0.1
# A password that is just being replaced is denied for moments.
_DENIED = timedelta(seconds=10)


class RosterKeeper:
    """The roster as ``cluster`` believes it. ``on_change`` is called in the event loop after it, or what it says at
    this time, has changed."""

    def __init__(
        self,
        board: Board,
        file: RosterFile,
        cluster: ClusterId,
        *,
        clock: Callable[[], datetime],
        rng: random.Random,
    ) -> None:
        """Raises ConfigError where the cluster has not joined yet, TrustError where the roster on its disk can't be
        believed."""
        known = file.load()
        if known is None:
            raise ConfigError(
                f"cluster {cluster} is no member of a clusterset yet",
                hint="`federation join --token TOKEN` joins one, `federation init` founds one",
            )
        self.known: KnownRoster = known
        self.rejections: Counter[str] = Counter()
        """How often a roster of the board was refused, by reason."""
        self._board = board
        self._file = file
        self._cluster = cluster
        self._clock = clock
        self._rng = rng
        self._read_due = asyncio.Event()
        self._refused: tuple[bytes, Problem] | None = None
        self._unsaved = False
        self._unwritable = False
        """Whether writing it has failed: before it was tried nothing is wrong."""
        self._seen = False
        """Whether the exchange had a roster when it was last read."""
        self._denied_since: datetime | None = None
        # Whoever asks for the peers now is told of every change since.
        self._shown = known.blob, self.peers

    @property
    def own(self) -> RosterMember | None:
        """What the roster says of this cluster; None once it has left or was evicted."""
        return self.known.roster.member(self._cluster)

    @property
    def peers(self) -> tuple[Member, ...]:
        """The other members at this time; none for whoever is no member itself."""
        if self.own is None:
            return ()
        return tuple(member for member in self.known.roster.at(self._clock()) if member.cluster != self._cluster)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Why the roster in the exchange can't be read or is not believed, and that the newest one is not on the
        disk."""
        found = []
        since = self._denied_since
        if since is not None and self._clock() - since >= _DENIED:
            found.append(_denied(since))
        if self._refused is not None:
            found.append(self._refused[1])
        if self._unwritable:
            found.append(
                Problem("roster", "NotSaved", f"{self._file.path} can't be written: a restart begins with an older one")
            )
        return tuple(found)

    async def run(self, on_change: Callable[[], None]) -> None:
        """Follow the board until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            tasks.create_task(self._follow(on_change))

    async def _watch(self) -> None:
        backoff = Backoff(Timing(), self._rng)
        while True:
            try:
                async with self._board.watch_roster() as notices:
                    self._read_due.set()
                    backoff.reset()
                    async for _ in notices:
                        self._read_due.set()
            except ExchangeUnavailableError:
                await asyncio.sleep(backoff.next())

    async def _follow(self, on_change: Callable[[], None]) -> None:
        while True:
            await self._wait()
            self._read_due.clear()
            await self._read()
            before, self._shown = self._shown, (self.known.blob, self.peers)
            if before != self._shown:
                on_change()
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _wait(self) -> None:
        due = _POLL_SECONDS
        if (change := self.known.roster.next_change(self._clock())) is not None:
            due = min(due, max((change - self._clock()).total_seconds(), 0.1))
        try:
            async with asyncio.timeout(due):
                await self._read_due.wait()
        except TimeoutError:
            return

    async def _read(self) -> None:
        try:
            blob = await self._board.read_roster()
        except ExchangeDeniedError:
            self._denied_since = self._denied_since or self._clock()
            return
        except ExchangeUnavailableError:
            return
        except WireError as error:
            self._denied_since = None
            self._refuse(b"", error)
            return
        self._denied_since = None
        # That there is none changes nothing here: the exchange has lost its data, or somebody has removed it.
        if blob is None:
            self._refused = None
            if self._seen:
                self.rejections["Removed"] += 1
                _log.warning("roster is gone from the exchange")
            self._seen = False
        else:
            self._seen = True
            self._judge(blob)
        if self._unsaved:
            await self._save()

    def _judge(self, blob: bytes) -> None:
        try:
            known = accept_roster(blob, self.known)
        except WireError as error:
            self._refuse(blob, error)
            return
        self._refused = None
        if known is not self.known:
            _note(self.known, known)
            self.known, self._unsaved = known, True

    def _refuse(self, blob: bytes, error: WireError) -> None:
        if self._refused is not None and self._refused[0] == blob:
            return
        self._refused = (blob, Problem("roster in the exchange", error.reason, str(error)))
        self.rejections[error.reason] += 1
        _log.warning("roster rejected", reason=error.reason, error=str(error))

    async def _save(self) -> None:
        try:
            await undivided(self._file.save, self.known)
        except OSError as error:
            _log.error("roster is not saved", path=str(self._file.path), error=str(error))
            self._unwritable = True
            return
        self._unsaved = self._unwritable = False


def _denied(since: datetime) -> Problem:
    """An evicted member loses its user of the exchange with its place, and can't read that it was evicted."""
    return Problem(
        "membership",
        "ExchangeDenied",
        f"the exchange has not let this cluster in since {since:%Y-%m-%d %H:%M:%S} UTC: it was evicted, or its "
        "password was replaced; `federation members` where the authority is tells which. Until then all goes on",
    )


def _note(before: KnownRoster, after: KnownRoster) -> None:
    names = {member.cluster for member in before.roster.members}, {member.cluster for member in after.roster.members}
    _log.info(
        "roster accepted",
        serial=after.roster.serial,
        joined=sorted(names[1] - names[0]),
        gone=sorted(names[0] - names[1]),
        authority_replaced=before.authority_key != after.authority_key,
    )
