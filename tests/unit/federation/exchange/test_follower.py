"""The follower's disk: it does not grow without end, and what it holds is whole."""

from __future__ import annotations

import asyncio
import os
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from federation.exchange import follower as follower_module
from federation.exchange import inbox
from federation.exchange.base import Rejected, StoredSnapshot
from federation.exchange.disk import ReplicaDisk
from federation.exchange.follower import Follower
from federation.exchange.inbox import MAX_MESSAGE_BYTES
from federation.exchange.memory import MemoryExchange
from federation.exchange.publisher import Publisher
from federation.exchange.timing import Timing
from federation.model.errors import ExchangeUnavailableError, FederationError, WireError
from federation.model.names import ClusterId, RecordKey
from federation.model.records import Version
from federation.model.wire import Reason
from support.exchange import CLUSTERSET, FlakyExchange, by_key, endpoints, gateway, key_of, member_of, until

EAST = member_of("east")


class Stage:
    """The member east on a store, and a follower with a clock of its own."""

    def __init__(self, directory: Path, exchange: FlakyExchange | None = None) -> None:
        self.now = 100.0
        self.exchange = exchange or FlakyExchange(MemoryExchange(lambda: self.now))
        self.publisher = Publisher(EAST, key_of("east"), CLUSTERSET)
        self.disk = ReplicaDisk(directory)
        self.steps: list[tuple[frozenset[RecordKey], tuple[Rejected, ...]]] = []
        self.follower = Follower(
            EAST,
            CLUSTERSET,
            self.exchange,
            self.disk,
            timing=Timing(lease=0.05, retry=0.001, retry_max=0.002),
            clock=lambda: datetime(2026, 1, 1, tzinfo=UTC),
            monotonic=lambda: self.now,
            rng=random.Random(1),
            on_step=lambda _, changed, rejected: self.steps.append((changed, rejected)),
        )

    async def begin(self) -> None:
        self.publisher.desire(by_key(gateway()))
        whole = self.publisher.replacement(100, 0)
        await self.exchange.replace(EAST.cluster, whole.snapshot, whole.lease, 60)
        self.publisher.replaced(whole)

    async def say(self, ready: int) -> bytes:
        self.publisher.desire(by_key(gateway(), endpoints("a", ready)))
        batch, written = self.publisher.batch(), self.publisher.written
        assert batch is not None
        assert written is not None
        assert await self.exchange.append(EAST.cluster, written, batch.version, batch.blob)
        self.publisher.appended()
        return batch.blob

    async def compact(self) -> None:
        update, written = self.publisher.compaction(), self.publisher.written
        assert update is not None
        assert written is not None
        assert await self.exchange.update(EAST.cluster, written, update.snapshot, update.removed)
        self.publisher.compacted()

    def beat(self) -> bytes:
        lease = self.publisher.lease(0)
        assert lease is not None
        return lease

    def version(self) -> Version | None:
        return self.follower.snapshot().version


def no_space(_: int) -> None:
    raise OSError("no space left on device")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def test_saved_batches_are_folded_into_a_newer_snapshot(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the file has grown, the stored snapshot becomes the new base, and nothing is lost."""
    monkeypatch.setattr(follower_module, "_REBASE_BYTES", 0)
    await stage.begin()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(stage.follower.run())
        stage.follower.connected()
        await until(lambda: stage.version() == Version(100, 0))
        for seq in range(1, 30):
            blob = await stage.say(seq)
            await stage.compact()
            stage.follower.deliver(blob)
            await until(lambda seq=seq: stage.version() == Version(100, seq))
        task.cancel()
    saved = stage.disk.load(EAST.cluster)
    assert saved is not None
    assert len(saved.batches) < 10
    again = Stage(tmp_path)
    again.follower.restore()
    assert by_key(gateway(), endpoints("a", 29)) == again.follower.snapshot().records


async def test_after_a_damaged_batch_on_disk_later_ones_are_saved(stage: Stage, tmp_path: Path) -> None:
    """A batch that was damaged on disk is replaced by what the exchange has, so that the next restart lacks nothing."""
    await stage.begin()
    whole = await stage.exchange.read_snapshot(EAST.cluster)
    assert whole is not None
    stage.disk.save(EAST.cluster, Version(100, 0), whole)
    stage.disk.append(EAST.cluster, {Version(100, 1): await stage.say(1), Version(100, 2): b"damaged"})
    await stage.say(2)
    stage.follower.restore()
    assert stage.version() == Version(100, 1)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(stage.follower.run())
        stage.follower.deliver(await stage.say(3))
        await until(lambda: stage.version() == Version(100, 3))
        task.cancel()
    again = Stage(tmp_path)
    again.follower.restore()
    assert again.version() == Version(100, 3)


async def test_nothing_stays_of_a_file_that_was_refused(stage: Stage, tmp_path: Path) -> None:
    """Batches behind a snapshot that was damaged on disk do not end up behind the good one that replaces it."""
    await stage.begin()
    whole = await stage.exchange.read_snapshot(EAST.cluster)
    assert whole is not None
    first = await stage.say(1)
    stage.disk.save(EAST.cluster, Version(100, 0), StoredSnapshot(b"damaged", whole.shards))
    stage.disk.append(EAST.cluster, {Version(100, 1): first})
    stage.follower.restore()
    assert stage.version() is None
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(stage.follower.run())
        stage.follower.connected()
        await until(lambda: stage.version() == Version(100, 1))
        task.cancel()
    saved = stage.disk.load(EAST.cluster)
    assert saved is not None
    assert saved.batches == (first,)


async def test_nothing_follows_a_refused_batch_that_could_not_be_removed(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk takes nothing at a restart, a later snapshot takes the place of all that it held."""
    await stage.begin()
    whole = await stage.exchange.read_snapshot(EAST.cluster)
    assert whole is not None
    stage.disk.save(EAST.cluster, Version(100, 0), whole)
    stage.disk.append(EAST.cluster, {Version(100, 1): b"damaged"})
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", no_space)
        stage.follower.restore()
    first = await stage.say(1)
    await stage.compact()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(stage.follower.run())
        stage.follower.connected()
        stage.follower.deliver(first)
        await until(lambda: stage.version() == Version(100, 1))
        stage.now += 31
        stage.follower.deliver(stage.beat())
        await until(lambda: (held := stage.disk.load(EAST.cluster)) is not None and held.snapshot != whole)
        task.cancel()
    again = Stage(tmp_path)
    again.follower.restore()
    assert again.version() == Version(100, 1)


class Repeating(FlakyExchange):
    """Its logs begin with an entry that was read before."""

    async def read_log(self, cluster: ClusterId, after: Version) -> tuple[bytes, ...]:
        return await super().read_log(cluster, Version(after.epoch, after.seq - 1))


async def test_an_entry_that_comes_again_is_not_saved_in_place_of_a_new_one(tmp_path: Path) -> None:
    """What a log repeats is neither applied nor saved; the new entry behind it is both."""
    stage = Stage(tmp_path, Repeating(MemoryExchange(lambda: 100.0)))
    await stage.begin()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(stage.follower.run())
        stage.follower.connected()
        await until(lambda: stage.version() == Version(100, 0))
        stage.follower.deliver(await stage.say(1))
        await until(lambda: stage.version() == Version(100, 1))
        await stage.say(2)
        stage.follower.deliver(stage.beat())
        await until(lambda: stage.version() == Version(100, 2))
        task.cancel()
    again = Stage(tmp_path)
    again.follower.restore()
    assert again.version() == Version(100, 2)


async def test_a_read_that_fails_is_tried_again(stage: Stage) -> None:
    """A store that does not answer is asked until it does, without another signal."""
    stage.exchange.switch(on=False)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(stage.follower.run())
        stage.follower.connected()
        await until(lambda: stage.exchange.refused > 2)
        stage.exchange.switch(on=True)
        await stage.begin()
        stage.follower.deliver(stage.beat())
        await until(lambda: stage.version() == Version(100, 0))
        task.cancel()


async def test_freshness_ends_without_any_message(stage: Stage) -> None:
    """When the lease runs out it is told, though nothing arrives that could tell it."""
    await stage.begin()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(stage.follower.run())
        stage.follower.connected()
        await until(lambda: stage.follower.snapshot().fresh)
        await until(lambda: (frozenset(), ()) in stage.steps)
        stage.steps.clear()
        stage.now += 10
        await until(lambda: (frozenset(), ()) in stage.steps)
        assert not stage.follower.snapshot().fresh
        task.cancel()


async def test_what_is_confirmed_is_no_longer_of_the_disk(stage: Stage, tmp_path: Path) -> None:
    """A restored replica shows its age until the member is heard to say just that."""
    await stage.begin()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(stage.follower.run())
        stage.follower.connected()
        await until(lambda: stage.follower.snapshot().fresh)
        task.cancel()
    again = Stage(tmp_path, stage.exchange).follower
    again.restore()
    assert again.snapshot().saved_at is not None
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(again.run())
        again.connected()
        again.deliver(stage.beat())
        await until(lambda: again.snapshot().saved_at is None)
        task.cancel()


async def test_whoever_died_during_a_restart_does_not_rise(stage: Stage, tmp_path: Path) -> None:
    """A lease that was heard before a clean end is no sign of life after it, though it still lies in the store."""
    await stage.begin()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(stage.follower.run())
        stage.follower.connected()
        await until(lambda: stage.follower.snapshot().fresh)
        task.cancel()
    restarted = Stage(tmp_path, stage.exchange)
    again = restarted.follower
    again.restore()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(again.run())
        again.connected()
        await until(lambda: (frozenset(), ()) in restarted.steps)
        assert not again.snapshot().fresh
        again.deliver(stage.beat())
        await until(lambda: again.snapshot().fresh)
        task.cancel()


async def test_the_last_lease_is_saved_now_and_then(stage: Stage) -> None:
    """A crash costs the knowledge of the leases since the last confirmation only."""
    await stage.begin()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(stage.follower.run())
        stage.follower.connected()
        await until(lambda: stage.follower.snapshot().fresh)
        assert stage.disk.load_lease(EAST.cluster) is None
        stage.now += 31
        beat = stage.beat()
        stage.follower.deliver(beat)
        await until(lambda: stage.disk.load_lease(EAST.cluster) == beat)
        task.cancel()


async def test_a_disk_that_can_not_be_read_stops_nobody(stage: Stage, tmp_path: Path) -> None:
    """A lease that can't be read counts as none; the records beside it are restored."""
    await stage.begin()
    whole = await stage.exchange.read_snapshot(EAST.cluster)
    assert whole is not None
    stage.disk.save(EAST.cluster, Version(100, 0), whole)
    (tmp_path / "east.lease").mkdir()
    stage.follower.restore()
    assert stage.version() == Version(100, 0)


async def test_a_flood_is_dropped_and_read_from_the_log(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More messages than the queue holds are dropped; a later beat shows that the log has more."""
    monkeypatch.setattr(inbox, "_MAX_MESSAGES", 2)
    stage = Stage(tmp_path)
    await stage.begin()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(stage.follower.run())
        stage.follower.connected()
        await until(lambda: stage.version() == Version(100, 0))
        for blob in [await stage.say(ready) for ready in range(1, 6)]:
            stage.follower.deliver(blob)
        async with asyncio.timeout(20):
            while stage.version() != Version(100, 5):
                stage.follower.deliver(stage.beat())
                await asyncio.sleep(0.002)
        task.cancel()


class Unreadable(FlakyExchange):
    """East's keys: each of ``broken`` can't be read, or is not answered for."""

    def __init__(self, inner: MemoryExchange, error: FederationError, *broken: str) -> None:
        super().__init__(inner)
        self.error = error
        self.broken = set(broken)

    def _look(self, what: str) -> None:
        if what in self.broken:
            raise self.error

    async def read_lease(self, cluster: ClusterId) -> bytes | None:
        self._look("lease")
        return await super().read_lease(cluster)

    async def read_log(self, cluster: ClusterId, after: Version) -> tuple[bytes, ...]:
        self._look("log")
        return await super().read_log(cluster, after)

    async def read_snapshot(self, cluster: ClusterId) -> StoredSnapshot | None:
        self._look("snapshot")
        return await super().read_snapshot(cluster)


def refused(stage: Stage) -> list[str]:
    return [one.reason for _, rejected in stage.steps for one in rejected]


@pytest.mark.parametrize("what", ["lease", "log", "snapshot"])
async def test_a_peer_whose_keys_can_not_be_read_is_judged(tmp_path: Path, what: str) -> None:
    """It is told as its own fault, nobody waits for it, and it is read again once it can be."""
    broken = Unreadable(MemoryExchange(lambda: 100.0), WireError(Reason.UNREADABLE, "another type"), what)
    stage = Stage(tmp_path, broken)
    await stage.begin()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(stage.follower.run())
        stage.follower.connected()
        await until(lambda: stage.follower.judged and refused(stage) != [])
        assert refused(stage)[0] == Reason.UNREADABLE
        assert (stage.version() is None) is (what == "snapshot")
        assert stage.follower.snapshot().synced is not (what == "snapshot")
        broken.broken.clear()
        stage.follower.deliver(stage.beat())
        await until(lambda: stage.version() == Version(100, 0))
        task.cancel()


async def test_nobody_waits_for_long_for_a_peer_that_is_not_answered_for(tmp_path: Path) -> None:
    """While the channel stands, reads that fail for two leases are the peer's fault; without a channel they are not."""
    error = ExchangeUnavailableError("gave no answer in time")
    broken = Unreadable(MemoryExchange(lambda: 100.0), error, "lease")
    stage = Stage(tmp_path, broken)
    await stage.begin()
    tried = asyncio.Event()
    broken._look = lambda what: (tried.set(), Unreadable._look(broken, what))  # type: ignore[method-assign]

    async def another_try() -> None:
        tried.clear()
        await tried.wait()
        await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(stage.follower.run())
        stage.follower.connected()
        await another_try()
        stage.follower.disconnected()
        stage.now += 10
        await another_try()
        await another_try()
        assert (stage.follower.judged, refused(stage)) == (False, [])
        stage.follower.connected()
        await another_try()
        await another_try()
        assert not stage.follower.judged
        stage.now += 10
        await until(lambda: stage.follower.judged)
        assert refused(stage) == [Reason.UNREADABLE]
        broken.broken.clear()
        await until(lambda: stage.version() == Version(100, 0))
        task.cancel()


async def test_an_oversized_message_is_refused_before_it_waits(stage: Stage) -> None:
    """It takes no room from others, and is counted."""
    stage.follower.deliver(b"x" * (MAX_MESSAGE_BYTES + 1))
    assert refused(stage) == [Reason.OVERSIZED]
