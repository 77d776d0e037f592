"""Sessions whose member changes its key while it publishes, in process and on a real server."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from federation.exchange.base import Exchange
from federation.exchange.disk import ReplicaDisk
from federation.exchange.memory import MemoryExchange
from federation.exchange.redis import RedisExchange
from federation.exchange.server import EmbeddedRedis
from federation.exchange.session import ExchangeSession
from federation.exchange.timing import Timing
from federation.model.names import ClusterId, RecordKey
from federation.model.records import EndpointsRecord, Member, Record
from support.exchange import CLUSTERSET, bundle, by_key, endpoints, gateway, key_of, member_of, until
from support.redis_server import access_to, running_redis

EAST, WEST = ClusterId("east"), ClusterId("west")
COUNTED = RecordKey("endpoints/demo/s7")
CHANGES = 400
TIMING = Timing(hold_off=0.0, beat=0.05, lease=5.0, compaction=0.03, retry=0.005, retry_max=0.02)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with running_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(params=["memory", "redis"])
async def exchange(request: pytest.FixtureRequest, server: EmbeddedRedis) -> AsyncIterator[Exchange]:
    if request.param == "memory":
        yield MemoryExchange(time.monotonic)
        return
    redis = RedisExchange(access_to(server.url), CLUSTERSET)
    yield redis
    await redis.aclose()


class Reader:
    """West, and what it saw of east at each change it was told of."""

    def __init__(self, exchange: Exchange, directory: Path) -> None:
        self.counts: list[int] = []
        self.changed: set[RecordKey] = set()
        self.fewest = CHANGES
        self.session = session(exchange, member_of("west"), [member_of("east")], directory, self)

    def __call__(self, cluster: ClusterId, keys: frozenset[RecordKey]) -> None:
        seen = self.session.snapshot().members[EAST].records
        self.changed |= keys
        self.fewest = min(self.fewest, len(seen))
        if COUNTED in keys and isinstance(record := seen[COUNTED], EndpointsRecord):
            self.counts.append(record.ready)


def session(
    exchange: Exchange, member: Member, peers: list[Member], directory: Path, reader: Reader | None = None
) -> ExchangeSession:
    return ExchangeSession(
        exchange,
        clusterset=CLUSTERSET,
        member=member,
        key=key_of(member.cluster),
        peers=peers,
        disk=ReplicaDisk(directory / member.cluster),
        clock=lambda: datetime.now(UTC),
        monotonic=time.monotonic,
        rng=random.Random(1),
        on_change=reader or (lambda cluster, keys: None),
        timing=TIMING,
    )


@asynccontextmanager
async def running(*sessions: ExchangeSession) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(each.run()) for each in sessions]
        try:
            yield
        finally:
            for task in started:
                task.cancel()


def records(ready: int) -> dict[RecordKey, Record]:
    return by_key(*(endpoints(f"s{i}", 1) for i in range(60) if i != 7), endpoints("s7", ready), gateway(), bundle(1))


async def test_new_keys_under_a_stream_of_changes(exchange: Exchange, tmp_path: Path) -> None:
    """A member that changes its key twice while it publishes without pause: the peer is told of each change in order,
    sees no record vanish and none change that did not, refuses nothing, and restarts with the last key only."""
    east, west = session(exchange, member_of("east"), [], tmp_path), Reader(exchange, tmp_path)
    east.publish(records(0))
    async with running(east, west.session):
        await until(lambda: west.session.snapshot().members[EAST].records == records(0))
        whole = len(records(0))
        west.fewest = whole
        west.counts.clear()
        west.changed.clear()
        known = member_of("east")
        for ready in range(1, CHANGES + 1):
            east.publish(records(ready))
            if ready % 5 == 0:
                await until(lambda: east.settled)
            if ready in (CHANGES // 4, CHANGES // 2):
                key = key_of(f"east-{ready}")
                known = replace(known, public_key=key.public, retiring_key=known.public_key)
                west.session.set_members([known])
                east.rekey(known, key)
                await asyncio.sleep(0)
        await until(lambda: west.session.snapshot().members[EAST].records == records(CHANGES) and east.settled)
        await until(lambda: west.session.snapshot().members[EAST].version == east.published)
        known = replace(known, retiring_key=None)
        west.session.set_members([known])
        assert west.session.snapshot().members[EAST].records == records(CHANGES)
    assert west.counts == sorted(set(west.counts))
    assert west.counts[-1] == CHANGES
    assert len(west.counts) > CHANGES // 10
    assert (west.changed, west.fewest) == ({COUNTED}, whole)
    assert dict(west.session.rejections) == {}
    assert (east.publications, east.losses) == (3, 0)
    again = session(exchange, member_of("west"), [known], tmp_path)
    assert again.snapshot().members[EAST].records == records(CHANGES)
