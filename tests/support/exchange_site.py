"""One member's seat at a real exchange: its session, and what it heard of the others."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from federation.exchange.connection import ExchangeAccess
from federation.exchange.disk import ReplicaDisk
from federation.exchange.redis import RedisExchange
from federation.exchange.session import ExchangeSession
from federation.exchange.timing import Timing
from federation.model.names import ClusterId, RecordKey
from federation.model.records import Record
from federation.model.wire import Reason
from support.exchange import CLUSTERSET, key_of, member_of, until

TIMING = Timing(hold_off=0.001, beat=0.05, lease=1.0, compaction=3600.0, retry=0.005, retry_max=0.02)


class Site:
    """One member's session with what it heard of the others."""

    def __init__(self, access: ExchangeAccess, name: str, peer: str, directory: Path, timing: Timing) -> None:
        self.exchange = RedisExchange(access, CLUSTERSET, timeout_seconds=2.0)
        self.changed: list[RecordKey] = []
        self.session = ExchangeSession(
            self.exchange,
            clusterset=CLUSTERSET,
            member=member_of(name),
            key=key_of(name),
            peers=[member_of(name), member_of(peer)],
            disk=ReplicaDisk(directory / name),
            clock=lambda: datetime.now(UTC),
            monotonic=time.monotonic,
            rng=random.Random(1),
            on_change=lambda cluster, keys: self.changed.extend(keys),
            timing=timing,
        )

    def of(self, cluster: str) -> Mapping[RecordKey, Record]:
        return self.session.snapshot().members[ClusterId(cluster)].records

    def rejected(self, reason: Reason, cluster: str = "east") -> int:
        return self.session.rejections.get((ClusterId(cluster), reason), 0)


@asynccontextmanager
async def site(
    access: ExchangeAccess, name: str, peer: str, tmp_path: Path, timing: Timing = TIMING
) -> AsyncIterator[Site]:
    """A running session of ``name`` that follows ``peer``."""
    at = Site(access, name, peer, tmp_path, timing)
    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(at.session.run())
            try:
                yield at
            finally:
                running.cancel()
    finally:
        await at.exchange.aclose()


async def publish(east: Site, records: dict[RecordKey, Record]) -> None:
    """Publish and wait until the exchange took it."""
    before = east.session.published
    east.session.publish(records)
    await until(lambda: east.session.published not in {None, before})
