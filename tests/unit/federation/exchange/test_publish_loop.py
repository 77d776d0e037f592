"""The publisher's edge on a store that fails in between: nothing is said twice, nothing is lost."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from federation.exchange.base import Rejected, StoredSnapshot, Written
from federation.exchange.disk import ReplicaDisk
from federation.exchange.memory import MemoryExchange
from federation.exchange.publish_loop import PublishLoop
from federation.exchange.publisher import Publisher
from federation.exchange.signing import BlobKind, open_envelope
from federation.exchange.timing import Timing
from federation.model.errors import ExchangeUnavailableError, WireError
from federation.model.names import ClusterId
from federation.model.records import Version
from support.exchange import CLUSTERSET, FlakyExchange, by_key, endpoints, gateway, key_of, member_of, until

EAST = member_of("east")
TIMING = Timing(hold_off=0.001, beat=0.01, compaction=0.01, retry=0.001, retry_max=0.002)


class NoAnswer(FlakyExchange):
    """Takes every second append and every second update, and answers none of these."""

    def __init__(self, inner: MemoryExchange) -> None:
        super().__init__(inner)
        self.calls = 0

    async def append(self, cluster: ClusterId, written: Written, version: Version, batch: bytes) -> bool:
        taken = await super().append(cluster, written, version, batch)
        self.calls += 1
        if self.calls % 2:
            raise ExchangeUnavailableError("no answer")
        return taken


class Watched(FlakyExchange):
    """Counts how often a snapshot was read."""

    looks = 0

    async def read_snapshot(self, cluster: ClusterId) -> StoredSnapshot | None:
        self.looks += 1
        return await super().read_snapshot(cluster)


class FullDisk(ReplicaDisk):
    """Takes nothing until it is told to."""

    full = True

    def save_epoch(self, epoch: int) -> None:
        if self.full:
            raise OSError("no space left on device")
        super().save_epoch(epoch)


def loop_on(
    exchange: FlakyExchange,
    rejected: list[Rejected],
    disk: ReplicaDisk | None = None,
    timing: Timing = TIMING,
    leads: Callable[[], bool] = lambda: True,
) -> PublishLoop:
    return PublishLoop(
        Publisher(EAST, key_of("east"), CLUSTERSET),
        exchange,
        disk,
        timing=timing,
        clock=lambda: datetime.now(UTC),
        monotonic=time.monotonic,
        rng=random.Random(1),
        on_rejected=rejected.extend,
        leads=leads,
    )


async def test_an_append_without_answer_is_repeated_not_doubled() -> None:
    """A batch whose outcome is unknown is offered again and stands in the log once."""
    exchange = NoAnswer(MemoryExchange(time.monotonic))
    publishing = loop_on(exchange, [])
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(publishing.run())
        publishing.desire({})
        await until(lambda: publishing.published is not None)
        for ready in range(1, 6):
            publishing.desire(by_key(endpoints("a", ready)))
            await until(lambda ready=ready: publishing.published is not None and publishing.published.seq == ready)
        task.cancel()
    assert publishing.publications == 1
    assert publishing.published is not None
    assert len(await exchange.read_log(EAST.cluster, Version(publishing.published.epoch, 0))) == 5
    assert exchange.calls == 10


async def test_the_snapshot_follows_the_log() -> None:
    """While there are changes the snapshot is brought up to date, and a cold reader needs no log."""
    exchange = FlakyExchange(MemoryExchange(time.monotonic))
    publishing = loop_on(exchange, [])
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(publishing.run())
        publishing.desire(by_key(gateway()))
        await until(lambda: publishing.published is not None)
        first = await exchange.read_snapshot(EAST.cluster)
        publishing.desire(by_key(gateway(port=2)))
        async with asyncio.timeout(20):
            while await exchange.read_snapshot(EAST.cluster) == first:
                await asyncio.sleep(0.002)
        task.cancel()


async def test_an_altered_shard_is_noticed_and_everything_published_again() -> None:
    """Under the true manifest only a look at the content shows it; what is well is left alone."""
    exchange = Watched(MemoryExchange(time.monotonic))
    publishing = loop_on(exchange, [], timing=replace(TIMING, confirm=0.01))
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(publishing.run())
        publishing.desire(by_key(gateway()))
        await until(lambda: publishing.published is not None)
        whole = await exchange.read_snapshot(EAST.cluster)
        assert whole is not None
        looks = exchange.looks
        await until(lambda: exchange.looks > looks + 3)
        assert publishing.publications == 1
        lease = await exchange.read_lease(EAST.cluster)
        altered = StoredSnapshot(whole.manifest, dict.fromkeys(whole.shards, b"junk"))
        await exchange.replace(EAST.cluster, altered, lease or b"", 60)
        await until(lambda: publishing.publications == 2)
        task.cancel()
    assert publishing.losses == 1


async def test_a_full_disk_defers_the_publication(tmp_path: Path) -> None:
    """Nothing is published under an epoch that could not be saved; once there is room, it goes on."""
    exchange = FlakyExchange(MemoryExchange(time.monotonic))
    disk = FullDisk(tmp_path)
    publishing = loop_on(exchange, [], disk)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(publishing.run())
        with capture_logs() as logs:
            publishing.desire(by_key(gateway()))
            await until(lambda: len(logs) > 1)
        assert publishing.published is None
        assert await exchange.read_snapshot(EAST.cluster) is None
        disk.full = False
        await until(lambda: publishing.settled)
        task.cancel()
    assert publishing.published == Version(disk.load_epoch(), 0)


async def test_nothing_is_published_before_the_first_desired_set() -> None:
    """A hint that the exchange is back does not make an unknown state an empty one."""
    exchange = FlakyExchange(MemoryExchange(time.monotonic))
    publishing = loop_on(exchange, [])
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(publishing.run())
        for _ in range(5):
            publishing.hurry()
            await asyncio.sleep(0)
        task.cancel()
    assert publishing.published is None
    assert await exchange.read_snapshot(EAST.cluster) is None


NEW_KEY = key_of("east-2")
NEW = replace(EAST, public_key=NEW_KEY.public, retiring_key=EAST.public_key)


async def holds_for_the_new_key(exchange: FlakyExchange) -> bool:
    """Whether all that is stored of the member is signed with its new key."""
    only = replace(NEW, retiring_key=None)
    stored, lease = await exchange.read_snapshot(EAST.cluster), await exchange.read_lease(EAST.cluster)
    assert stored is not None
    assert lease is not None
    try:
        open_envelope(stored.manifest, BlobKind.MANIFEST, only, CLUSTERSET)
        open_envelope(lease, BlobKind.LEASE, only, CLUSTERSET)
        for shard in stored.shards.values():
            open_envelope(shard, BlobKind.SHARD, only, CLUSTERSET)
    except WireError:
        return False
    return True


class Rekeying(FlakyExchange):
    """Its writer gets a new key while the call ``during`` is under way."""

    def __init__(self, inner: MemoryExchange, during: str) -> None:
        super().__init__(inner)
        self.during = during
        self.publishing: PublishLoop | None = None

    def _rekey(self, call: str) -> None:
        if self.publishing is not None and call == self.during:
            self.publishing.rekey(NEW, NEW_KEY)
            self.publishing = None
            if not call.startswith("answered"):
                raise ExchangeUnavailableError("no answer")

    async def replace(self, cluster: ClusterId, snapshot: StoredSnapshot, lease: bytes, lease_seconds: float) -> None:
        await super().replace(cluster, snapshot, lease, lease_seconds)
        self._rekey("replace")
        self._rekey("answered replace")

    async def append(self, cluster: ClusterId, written: Written, version: Version, batch: bytes) -> bool:
        taken = await super().append(cluster, written, version, batch)
        self._rekey("append")
        self._rekey("answered append")
        return taken

    async def update(
        self, cluster: ClusterId, written: Written, snapshot: StoredSnapshot, removed: frozenset[int]
    ) -> bool:
        taken = await super().update(cluster, written, snapshot, removed)
        self._rekey("update")
        self._rekey("answered update")
        return taken


@pytest.mark.parametrize("answered", ["", "answered "])
@pytest.mark.parametrize("call", ["replace", "append", "update"])
async def test_a_new_key_in_the_middle_of_a_write(answered: str, call: str) -> None:
    """Whatever is under way when the key changes, with or without an answer: everything is soon signed with the new
    key, and no loss is counted."""
    exchange = Rekeying(MemoryExchange(time.monotonic), answered + call)
    publishing = loop_on(exchange, [])
    exchange.publishing = publishing
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(publishing.run())
        publishing.desire(by_key(gateway()))
        await until(lambda: publishing.published is not None)
        publishing.desire(by_key(gateway(), endpoints("a", 1)))
        await until(lambda: exchange.publishing is None and publishing.settled)
        assert await holds_for_the_new_key(exchange)
        task.cancel()
    assert publishing.losses == 0


async def test_a_new_key_is_answered_after_an_outage() -> None:
    """A key that changes while the exchange is away is used as soon as it is back."""
    exchange = FlakyExchange(MemoryExchange(time.monotonic))
    publishing = loop_on(exchange, [])
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(publishing.run())
        publishing.desire(by_key(gateway()))
        await until(lambda: publishing.settled)
        exchange.switch(on=False)
        publishing.rekey(NEW, NEW_KEY)
        await until(lambda: exchange.refused > 2)
        exchange.switch(on=True)
        await until(lambda: publishing.settled)
        assert await holds_for_the_new_key(exchange)
        task.cancel()
    assert (publishing.publications, publishing.losses) == (2, 0)


async def test_with_a_full_disk_what_stands_is_kept_alive(tmp_path: Path) -> None:
    """Where no epoch can be saved for the new key's publication, beats and changes go on, signed with that key."""
    exchange = FlakyExchange(MemoryExchange(time.monotonic))
    disk = FullDisk(tmp_path)
    disk.full = False
    publishing = loop_on(exchange, [], disk)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(publishing.run())
        publishing.desire(by_key(gateway()))
        await until(lambda: publishing.settled)
        disk.full = True
        publishing.rekey(NEW, NEW_KEY)
        publishing.desire(by_key(gateway(), endpoints("a", 1)))
        await until(lambda: publishing.published is not None and publishing.published.seq == 1)
        before = await exchange.read_lease(EAST.cluster)
        async with asyncio.timeout(20):
            while await exchange.read_lease(EAST.cluster) == before:
                await asyncio.sleep(0.002)
        assert not publishing.settled
        disk.full = False
        await until(lambda: publishing.settled)
        assert await holds_for_the_new_key(exchange)
        task.cancel()
    assert (publishing.publications, publishing.losses) == (2, 0)


async def test_a_loss_is_counted_as_one() -> None:
    """When the exchange has lost everything it is published again, and counted as a loss."""
    exchange = FlakyExchange(MemoryExchange(time.monotonic))
    publishing = loop_on(exchange, [])
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(publishing.run())
        publishing.desire(by_key(gateway()))
        await until(lambda: publishing.settled)
        assert (publishing.publications, publishing.losses) == (1, 0)
        exchange.inner._members.clear()
        await until(lambda: publishing.losses == 1)
        task.cancel()
    assert publishing.publications == 2


async def test_of_two_processes_of_one_member_the_one_that_leads_speaks() -> None:
    """The other waits, takes over when it leads, and whoever was overtaken says nothing more."""
    store = MemoryExchange(time.monotonic)
    leader = ["first"]
    watched = Watched(store)
    first = loop_on(watched, [], leads=lambda: leader[0] == "first")
    second = loop_on(FlakyExchange(store), [], leads=lambda: leader[0] == "second")
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(loop.run()) for loop in (first, second)]
        second.desire(by_key(gateway(port=2)))
        first.desire(by_key(gateway(port=1)))
        await until(lambda: first.published is not None)
        waited_for, silent = first.published, second.published
        leader[0] = "second"
        second.hurry()
        await until(lambda: second.published is not None and first.published is None)
        first.desire(by_key(gateway(port=3)))
        looks, publications = watched.looks, second.publications
        await until(lambda: watched.looks > looks + 3)
        for task in running:
            task.cancel()

    assert silent is None
    assert second.published is not None
    assert waited_for is not None
    assert second.published.epoch > waited_for.epoch
    assert (first.publications, second.publications) == (1, publications)


async def test_where_nobody_can_be_elected_whoever_spoke_last_goes_on() -> None:
    """What the exchange has lost is said again, as long as nobody else has spoken."""
    store = MemoryExchange(time.monotonic)
    leads = [True]
    incumbent = loop_on(FlakyExchange(store), [], leads=lambda: leads[0])
    newcomer = loop_on(FlakyExchange(store), [], leads=lambda: False)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(loop.run()) for loop in (incumbent, newcomer)]
        incumbent.desire(by_key(gateway(port=1)))
        newcomer.desire(by_key(gateway(port=2)))
        await until(lambda: incumbent.published is not None)
        leads[0] = False
        store.forget()
        await until(lambda: incumbent.losses == 1 and incumbent.published is not None)
        for task in running:
            task.cancel()

    assert newcomer.publications == 0


async def test_whoever_was_overtaken_says_nothing_of_what_is_lost_later() -> None:
    """That is the other's to say again, until this one leads itself."""
    store = MemoryExchange(time.monotonic)
    leader = ["first"]
    watched = Watched(store)
    first = loop_on(watched, [], leads=lambda: leader[0] == "first")
    second = loop_on(FlakyExchange(store), [], leads=lambda: leader[0] == "second")
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(loop.run()) for loop in (first, second)]
        first.desire(by_key(gateway(port=1)))
        second.desire(by_key(gateway(port=2)))
        await until(lambda: first.published is not None)
        leader[0] = "second"
        second.hurry()
        await until(lambda: second.published is not None and first.published is None)
        running.pop().cancel()
        looks = watched.looks
        await until(lambda: watched.looks > looks + 3)
        store.forget()
        looks = watched.looks
        await until(lambda: watched.looks > looks + 3)
        assert first.publications == 1
        leader[0] = "first"
        first.hurry()
        await until(lambda: first.publications == 2)
        leader[0] = ""
        store.forget()
        await until(lambda: first.publications == 3)
        for task in running:
            task.cancel()
