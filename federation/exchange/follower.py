"""The edge of one replica: brings it the channel's messages, meets its needs, and keeps its last good on
disk.

One task per peer handles one event at a time; messages that come meanwhile wait in a queue, which is the
order that the replica asks for. Decides nothing about what is accepted.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

import structlog

from federation.exchange.base import Exchange, MemberSnapshot, Rejected, StoredSnapshot
from federation.exchange.disk import ReplicaDisk, SavedReplica
from federation.exchange.inbox import Inbox
from federation.exchange.replica import LoadLog, LoadSnapshot, Need, Replica, Step
from federation.exchange.timing import Backoff, Timing
from federation.model.errors import ExchangeUnavailableError, WireError
from federation.model.names import RecordKey
from federation.model.records import Member, Version
from federation.model.wire import Reason

T = TypeVar("T")

_log = structlog.get_logger()

_REBASE_BYTES = 1024 * 1024
_PATIENCE_LEASES = 2
"""How long reads may fail while the channel stands until nobody waits for the peer any more."""


class Follower:
    """Follows one peer. ``on_step`` hears of changed keys (also of none: freshness) and of what was
    rejected."""

    def __init__(
        self,
        member: Member,
        clusterset: str,
        exchange: Exchange,
        disk: ReplicaDisk | None,
        *,
        timing: Timing,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        rng: random.Random,
        on_step: Callable[[Follower, frozenset[RecordKey], tuple[Rejected, ...]], None],
    ) -> None:
        self._clusterset = clusterset
        self._exchange = exchange
        self._disk = disk
        self._timing = timing
        self._clock = clock
        self._monotonic = monotonic
        self._backoff = Backoff(timing, rng)
        self._on_step = on_step
        self._replica = self._new_replica(member)
        self._inbox = Inbox()
        self._standing = False
        """Whether the channel is heard."""
        self._failing_since: float | None = None
        self._catch_up_due = False
        self._saved_at: datetime | None = None
        self._confirmed_at = monotonic()
        self._rebase_at = 0
        self._unsaved: dict[Version, bytes] = {}
        """Applied batches that the disk did not take yet."""
        self._whole = True
        """Whether the disk and the unsaved batches together give what is shown."""
        self._verified = False
        """Whether all that the disk holds was verified, so that it may stay beside what is saved next."""
        self._shown = (False, False)
        self._read = False
        """Whether everything that was needed was read once, whatever came of it, or can't be read for now."""
        self._disk_refused = False
        """Whether the disk held something of the peer that was not believed."""

    @property
    def member(self) -> Member:
        """Who is followed, as its word is verified now."""
        return self._replica.member

    @property
    def judged(self) -> bool:
        """Whether all that is to be known of the peer is known: a whole picture, or that what the exchange
        (or the disk) holds of it is refused. Nobody waits for a peer whose word is forged: it harms itself only.
        """
        return self._replica.synced or self._read

    def snapshot(self) -> MemberSnapshot:
        """What is known of the peer now."""
        replica = self._replica
        return MemberSnapshot(
            cluster=self.member.cluster,
            version=replica.version,
            records=replica.records,
            synced=replica.synced,
            fresh=replica.fresh(self._monotonic()),
            saved_at=self._saved_at,
        )

    def restore(self) -> None:
        """Start from the last good on disk, if its signatures still hold."""
        if (saved := self._load(lambda disk: disk.load(self.member.cluster))) is not None:
            self._restore_records(saved)
        if (lease := self._load(lambda disk: disk.load_lease(self.member.cluster))) is not None:
            self._report(Step(rejected=_from_disk(self._replica.on_saved_lease(lease).rejected)))

    def _load(self, load: Callable[[ReplicaDisk], T | None]) -> T | None:
        if self._disk is None:
            return None
        try:
            return load(self._disk)
        except OSError as error:
            _log.warning("replica is unreadable", peer=self.member.cluster, error=str(error))
            return None

    def _restore_records(self, saved: SavedReplica) -> None:
        base = self._replica.on_snapshot(saved.snapshot)
        if self._replica.version is None:
            self._replica = self._new_replica(self.member)
            self._disk_refused = True
            self._on_step(self, frozenset(), _from_disk(base.rejected))
            return
        tail = self._replica.on_log(saved.batches)
        applied = len(tail.applied)
        self._verified = applied == len(saved.batches) or self._try(
            lambda disk: disk.keep(self.member.cluster, applied)
        )
        self._whole = self._verified
        self._saved_at = saved.saved_at
        self._rebase_at = _size(saved.snapshot) * 2 + _REBASE_BYTES
        self._on_step(self, base.changed | tail.changed, _from_disk(base.rejected + tail.rejected))

    def take(self, member: Member) -> None:
        """The same peer, with other keys: what was accepted stays, what comes is verified against these."""
        self._replica.member = member
        # What was refused under the keys before may be good now.
        self.connected()

    def deliver(self, blob: bytes) -> None:
        """A message of the peer's channel. Where too many wait it is dropped: the log has it."""
        try:
            self._inbox.put(blob)
        except WireError as error:
            self._refuse(error)

    def connected(self) -> None:
        """The channel stands: messages from now on arrive, what came before has to be read."""
        self._catch_up_due = self._standing = True
        self._failing_since = None
        self._inbox.wake()

    def disconnected(self) -> None:
        """The exchange is out of reach."""
        self._standing = False
        self._replica.on_disconnected(self._monotonic())
        self._give_up()

    async def run(self) -> None:
        """Follow until cancelled; what can't be read is tried again."""
        try:
            await self._follow()
        finally:
            self._keep_lease()

    async def _follow(self) -> None:
        while True:
            try:
                if self._catch_up_due:
                    lease = await self._read_lease()
                    self._catch_up_due = False
                    step = self._replica.on_connected(lease, self._monotonic())
                    self._report(step)
                    await self._meet(step.need)
                    self._read = True
                    self._failing_since = None
                    self._backoff.reset()
                    await self._take_note()
                blob = await self._next()
                if blob is not None:
                    await self._message(blob)
                await self._take_note()
            except ExchangeUnavailableError as error:
                self._catch_up_due = True
                self._give_up()
                self._lose_patience(error)
                await asyncio.sleep(self._backoff.next())

    async def _next(self) -> bytes | None:
        """The next message; None where there is none to handle but the time, or the connection, has
        changed."""
        until = self._replica.stale_at() if self._shown[1] else None
        seconds = None if until is None else max(0.0, until - self._monotonic()) + 0.001
        try:
            async with asyncio.timeout(seconds):
                return await self._inbox.get()
        except TimeoutError:
            return None

    async def _message(self, blob: bytes) -> None:
        before = self._replica.version
        step = self._replica.on_message(blob, self._monotonic())
        self._report(step)
        if self._replica.version != before:
            await self._keep_batches(step.applied, before)
        await self._meet(step.need)

    async def _meet(self, need: Need | None) -> None:
        """Read what the replica needs until it needs no more; disk comes after whoever waits for the news."""
        cluster = self.member.cluster
        while need is not None:
            before = self._replica.version
            match need:
                case LoadLog(after):
                    batches = await self._read_log(after)
                    step = self._replica.on_log(batches)
                    self._report(step)
                    if self._replica.version != before:
                        await self._keep_batches(step.applied, before)
                case LoadSnapshot():
                    try:
                        stored = await self._exchange.read_snapshot(cluster)
                    except WireError as error:
                        self._refuse(error)
                        # Each of its beats may ask for this again.
                        await asyncio.sleep(self._backoff.next())
                        return
                    step = self._replica.on_absent() if stored is None else self._replica.on_snapshot(stored)
                    self._report(step)
                    if stored is not None and self._replica.version != before:
                        await self._keep_snapshot(stored, self._replica.version)
            need = step.need

    async def _read_lease(self) -> bytes | None:
        """The stored lease; one that can't be read is none."""
        try:
            return await self._exchange.read_lease(self.member.cluster)
        except WireError as error:
            self._refuse(error)
            return None

    async def _read_log(self, after: Version) -> tuple[bytes, ...]:
        """What the log has after a version; one that can't be read has nothing."""
        try:
            return await self._exchange.read_log(self.member.cluster, after)
        except WireError as error:
            self._refuse(error)
            return ()

    def _refuse(self, error: WireError) -> None:
        self._on_step(self, frozenset(), (Rejected(self.member.cluster, error.reason, str(error)),))

    def _lose_patience(self, error: ExchangeUnavailableError) -> None:
        """Nobody waits for a peer whose word can't be read for long while the channel, and so the exchange, stands."""
        now = self._monotonic()
        if self._failing_since is None:
            self._failing_since = now
        if self._standing and not self._read and now >= self._failing_since + _PATIENCE_LEASES * self._timing.lease:
            self._read = True
            self._refuse(WireError(Reason.UNREADABLE, f"stored records give no answer: {error}"))
            self._on_step(self, frozenset(), ())

    def _give_up(self) -> None:
        """Nobody waits for a peer whose saved word is not believed, and whose word of today can't be read."""
        if self._disk_refused and not self._read:
            self._read = True
            self._on_step(self, frozenset(), ())

    def _report(self, step: Step) -> None:
        if step.changed or step.rejected:
            self._on_step(self, step.changed, step.rejected)

    async def _take_note(self) -> None:
        """Tell of a change of freshness or knowledge, and of what the disk may count as current."""
        now = self._monotonic()
        shown = (self.judged, self._replica.fresh(now))
        if shown != self._shown:
            self._shown = shown
            self._on_step(self, frozenset(), ())
        if not (shown[1] and self._replica.current):
            return
        self._saved_at = None
        if self._disk is not None and now >= self._confirmed_at + self._timing.confirm:
            self._confirmed_at = now
            self._keep_lease()
            if not self._whole:
                await self._rebase()
            elif not self._unsaved:
                self._try(lambda disk: disk.confirm(self.member.cluster, self._clock()))

    def _keep_lease(self) -> None:
        """After a restart it is no sign of life."""
        if (lease := self._replica.lease) is not None:
            self._try(lambda disk: disk.save_lease(self.member.cluster, lease))

    async def _keep_snapshot(self, stored: StoredSnapshot, version: Version | None) -> None:
        if self._disk is None or version is None:
            return
        cluster, verified = self.member.cluster, self._verified

        def save(disk: ReplicaDisk) -> None:
            (disk.rebase if verified else disk.save)(cluster, version, stored)

        saving = asyncio.ensure_future(asyncio.to_thread(self._try, save))
        try:
            await asyncio.shield(saving)
        finally:
            # Also when we are cancelled: whoever comes after us may write the same file, or we ourselves go on later.
            self._saved(stored, version, done=await saving)

    def _saved(self, stored: StoredSnapshot, version: Version, *, done: bool) -> None:
        if not done:
            self._whole = self._whole and version != self._replica.version
            return
        self._verified = True
        self._whole = self._whole or version == self._replica.version
        self._unsaved = {at: blob for at, blob in self._unsaved.items() if at.epoch == version.epoch and at > version}
        self._saved_at = None
        self._rebase_at = _size(stored) * 2 + _REBASE_BYTES

    async def _keep_batches(self, batches: tuple[bytes, ...], before: Version | None) -> None:
        if self._disk is None or before is None or not self._whole:
            return
        self._unsaved |= {Version(before.epoch, before.seq + 1 + i): blob for i, blob in enumerate(batches)}
        size = 0

        def append(disk: ReplicaDisk) -> None:
            nonlocal size
            size = disk.append(self.member.cluster, self._unsaved)
            self._unsaved.clear()

        if not self._try(append) and sum(map(len, self._unsaved.values())) > _REBASE_BYTES:
            # A disk that takes nothing for long gets a whole snapshot when it does again.
            self._unsaved.clear()
            self._whole = False
        if size > self._rebase_at:
            self._rebase_at = size * 2
            await self._rebase()

    async def _rebase(self) -> None:
        """Put a newer snapshot under the saved batches, so that the file does not grow without end."""
        try:
            stored = await self._exchange.read_snapshot(self.member.cluster)
            if stored is None:
                return
            version = self._replica.verify(stored)
        except WireError as error:
            self._refuse(error)
            return
        current = self._replica.version
        if current is not None and version.epoch == current.epoch and version <= current:
            await self._keep_snapshot(stored, version)

    def _try(self, write: Callable[[ReplicaDisk], object]) -> bool:
        """Whether the disk took it."""
        if self._disk is None:
            return False
        try:
            write(self._disk)
        except OSError as error:
            _log.warning("replica is not saved", peer=self.member.cluster, error=str(error))
            return False
        return True

    def _new_replica(self, member: Member) -> Replica:
        return Replica(member, self._clusterset, lease_seconds=self._timing.lease)


def _size(snapshot: StoredSnapshot) -> int:
    return len(snapshot.manifest) + sum(map(len, snapshot.shards.values()))


def _from_disk(rejected: tuple[Rejected, ...]) -> tuple[Rejected, ...]:
    return tuple(Rejected(at.cluster, at.reason, f"saved on disk: {at.message}", at.record_key) for at in rejected)
