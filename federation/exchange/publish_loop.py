"""The edge of the publisher: carries its blobs to the exchange, in order, and tells it what became of them.

One task does one write at a time, so that the channel shows batches and beats in the order of their versions.
Decides nothing but when: first change at once, then a hold-off; a beat each second; a compaction while there
are changes; everything again when the exchange turns out not to hold what was written, or when the member's
key was changed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from datetime import datetime

import structlog

from federation.exchange.base import Exchange, Rejected, StoredSnapshot
from federation.exchange.disk import ReplicaDisk
from federation.exchange.publisher import Publisher
from federation.exchange.signing import BlobKind, MemberKey
from federation.exchange.timing import Backoff, Timing
from federation.model.errors import ExchangeUnavailableError, WireError
from federation.model.names import RecordKey
from federation.model.records import Member, Record, Version

_log = structlog.get_logger()


class PublishLoop:
    """Publishes the desired records of one member as long as it runs."""

    def __init__(
        self,
        publisher: Publisher,
        exchange: Exchange,
        disk: ReplicaDisk | None,
        *,
        timing: Timing,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        rng: random.Random,
        on_rejected: Callable[[tuple[Rejected, ...]], None],
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        """``leads``: whether this process may take over from another one that publishes as the same member."""
        self._publisher = publisher
        self._exchange = exchange
        self._disk = disk
        self._timing = timing
        self._clock = clock
        self._monotonic = monotonic
        self._backoff = Backoff(timing, rng)
        self._on_rejected = on_rejected
        self._leads = leads
        self._desired: Mapping[RecordKey, Record] | None = None
        self._wake = asyncio.Event()
        self._epoch = 0
        self._overtaken = False
        """Whether another process is known to have published since this one did, or led."""
        self._replace_at = self._beat_at = self._compact_at = monotonic()
        self._check_at = self._replace_at + timing.confirm
        self._is_lost = False
        self.publications = 0
        """How often everything was published: at the start, after each loss of data, with each new key."""
        self.losses = 0
        """How many of these were because the exchange had lost or changed what was there."""

    @property
    def published(self) -> Version | None:
        """What the exchange is known to hold of us."""
        written = self._publisher.written
        return None if written is None else written.head

    @property
    def settled(self) -> bool:
        """Whether the exchange is known to hold all that was desired last, signed with the present key."""
        return self._desired is None and self._publisher.settled

    def desire(self, records: Mapping[RecordKey, Record]) -> None:
        """Publish ``records``, and withdraw what else was published. The last call counts."""
        self._desired = records
        self._wake.set()

    def rekey(self, member: Member, key: MemberKey) -> None:
        """Sign with ``key`` from now on, and publish everything again with it; until the exchange took that, what
        stands is kept alive."""
        self._publisher.rekey(member, key)
        self._wake.set()

    def hurry(self) -> None:
        """The exchange may have come back: look now what it still holds."""
        self._beat_at = self._monotonic()
        self._wake.set()

    async def run(self) -> None:
        """Publish until cancelled; an exchange that can't be reached is tried again and again."""
        while True:
            self._wake.clear()
            try:
                spoke = await self._pass()
            except ExchangeUnavailableError:
                await asyncio.sleep(self._backoff.next())
                self._beat_at = self._monotonic()
                continue
            self._backoff.reset()
            if spoke:
                await asyncio.sleep(self._timing.hold_off)
            await self._idle()

    async def _idle(self) -> None:
        publisher = self._publisher
        if not publisher.ready:
            await self._wake.wait()
            return
        due = self._replace_at if publisher.written is None else self._beat_at
        if publisher.rekeyed:
            due = min(due, self._replace_at)
        try:
            async with asyncio.timeout(max(0.0, due - self._monotonic())):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _pass(self) -> bool:
        """Say all that is to be said now; returns whether records were published."""
        publisher = self._publisher
        if self._desired is not None:
            desired, self._desired = self._desired, None
            self._on_rejected(publisher.desire(desired))
        if not publisher.ready:
            return False
        if publisher.written is None:
            return await self._replace()
        if publisher.rekeyed and await self._replace():
            return True
        if self.published is None:
            return False
        if publisher.compacting and not await self._compact():
            return await self._lost()
        spoke = False
        while (batch := publisher.batch()) is not None:
            written = publisher.written
            if not await self._exchange.append(publisher.member.cluster, written, batch.version, batch.blob):
                return await self._lost()
            publisher.appended()
            spoke = True
        now = self._monotonic()
        if now >= self._compact_at:
            self._compact_at = now + self._timing.compaction
            if not await self._compact():
                return await self._lost()
        if now >= self._check_at:
            self._check_at = now + self._timing.confirm
            # A beat finds out what is missing, and a changed manifest or log; a shard's content only its readers would.
            if not publisher.holds(await self._stored()):
                return await self._lost()
        if now >= self._beat_at and not await self._renew():
            return await self._lost()
        return spoke

    async def _renew(self) -> bool:
        publisher = self._publisher
        lease = publisher.lease(self._wall_ms())
        if publisher.written is None or lease is None:
            return False
        cluster = publisher.member.cluster
        if not await self._exchange.renew(cluster, publisher.written, lease, self._timing.lease):
            return False
        self._beat_at = self._monotonic() + self._timing.beat
        return True

    async def _compact(self) -> bool:
        publisher = self._publisher
        compaction = publisher.compaction()
        if compaction is None or publisher.written is None:
            return True
        cluster = publisher.member.cluster
        if not await self._exchange.update(cluster, publisher.written, compaction.snapshot, compaction.removed):
            return False
        publisher.compacted()
        return True

    async def _lost(self) -> bool:
        _log.warning("exchange lost our records", cluster=self._publisher.member.cluster)
        self._is_lost = True
        self._publisher.lost()
        return await self._replace()

    async def _replace(self) -> bool:
        publisher = self._publisher
        cluster = publisher.member.cluster
        now = self._monotonic()
        if now < self._replace_at:
            # Whoever keeps overwriting us (a second controller of the same cluster) gets one answer per beat.
            return False
        stored = await self._stored()
        lease = await self._stored_lease()
        claimed = [
            publisher.epoch_of(BlobKind.MANIFEST, None if stored is None else stored.manifest),
            publisher.epoch_of(BlobKind.LEASE, lease),
        ]
        leads = self._leads()
        self._overtaken = not leads and (self._overtaken or max(claimed) > self._epoch)
        if not leads and (self._overtaken or not self._epoch):
            # Another process speaks for this member, also once the exchange has lost what it said. Had nobody overtaken
            # us, that would be ours to say again, whoever may lead by now: where nobody can be elected, somebody must
            # go on speaking.
            publisher.lost()
            self._replace_at = now + self._timing.beat
            return False
        try:
            await self._take_epoch(claimed)
        except OSError as error:
            # After a restart the same epoch could be given to other words: better none than two of one version.
            self._replace_at = now + self._timing.beat
            _log.warning("nothing is published: epoch is not saved", cluster=cluster, error=str(error))
            return False
        replacement = publisher.replacement(self._epoch, self._wall_ms())
        # Without an answer nobody knows what stands there: it must not pass for what was written before.
        publisher.lost()
        await self._exchange.replace(cluster, replacement.snapshot, replacement.lease, self._timing.lease)
        publisher.replaced(replacement)
        self.publications += 1
        self.losses += self._is_lost
        self._is_lost = False
        self._replace_at = self._beat_at = now + self._timing.beat
        self._compact_at = now + self._timing.compaction
        self._check_at = now + self._timing.confirm
        _log.info("published everything", cluster=cluster, epoch=self._epoch)
        return True

    async def _stored(self) -> StoredSnapshot | None:
        """The snapshot in our name; none where it can't be read, for then it is not ours."""
        try:
            return await self._exchange.read_snapshot(self._publisher.member.cluster)
        except WireError:
            return None

    async def _stored_lease(self) -> bytes | None:
        try:
            return await self._exchange.read_lease(self._publisher.member.cluster)
        except WireError:
            return None

    async def _take_epoch(self, claimed: list[int]) -> None:
        """Go on to an epoch that was never used, and is on disk; raises OSError where that can't be had."""
        saved = 0 if self._disk is None else self._disk.load_epoch()
        epoch = self._publisher.next_epoch(self._wall_ms(), [self._epoch, saved, *claimed])
        if self._disk is not None:
            await asyncio.to_thread(self._disk.save_epoch, epoch)
        self._epoch = epoch

    def _wall_ms(self) -> int:
        return int(self._clock().timestamp() * 1000)
