"""The publisher's edge on a store that fails in between: nothing is said twice, nothing is lost."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime
from pathlib import Path

from structlog.testing import capture_logs

from federation.exchange.base import Rejected, Written
from federation.exchange.disk import ReplicaDisk
from federation.exchange.memory import MemoryExchange
from federation.exchange.publish_loop import PublishLoop
from federation.exchange.publisher import Publisher
from federation.exchange.timing import Timing
from federation.model.errors import ExchangeUnavailableError
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


class FullDisk(ReplicaDisk):
    """Takes nothing until it is told to."""

    full = True

    def save_epoch(self, epoch: int) -> None:
        if self.full:
            raise OSError("no space left on device")
        super().save_epoch(epoch)


def loop_on(exchange: FlakyExchange, rejected: list[Rejected], disk: ReplicaDisk | None = None) -> PublishLoop:
    return PublishLoop(
        Publisher(EAST, key_of("east"), CLUSTERSET),
        exchange,
        disk,
        timing=TIMING,
        clock=lambda: datetime.now(UTC),
        monotonic=time.monotonic,
        rng=random.Random(1),
        on_rejected=rejected.extend,
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
