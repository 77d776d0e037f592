"""The session's wiring, on an in-process exchange that can be switched off: start, stop, members, counters."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from federation.exchange.disk import ReplicaDisk
from federation.exchange.memory import MemoryExchange
from federation.exchange.session import ExchangeSession
from federation.exchange.timing import Timing
from federation.model.names import BUNDLE_KEY, ClusterId, RecordKey
from federation.model.records import Member, Version
from federation.model.wire import Reason
from support.exchange import (
    CLUSTERSET,
    FlakyExchange,
    bundle,
    by_key,
    endpoints,
    gateway,
    key_of,
    member_of,
    until,
)

EAST = ClusterId("east")
TIMING = Timing(hold_off=0.001, beat=0.01, lease=5.0, compaction=0.01, retry=0.001, retry_max=0.005)


class Heard:
    """What ``on_change`` was called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[ClusterId, frozenset[RecordKey]]] = []

    def __call__(self, cluster: ClusterId, keys: frozenset[RecordKey]) -> None:
        self.calls.append((cluster, keys))

    @property
    def keys(self) -> list[RecordKey]:
        return sorted(key for _, keys in self.calls for key in keys)


@pytest.fixture
def exchange() -> FlakyExchange:
    return FlakyExchange(MemoryExchange(time.monotonic))


def session(
    exchange: FlakyExchange,
    name: str,
    peers: Iterable[Member],
    heard: Heard | None = None,
    directory: Path | None = None,
    timing: Timing = TIMING,
) -> ExchangeSession:
    return ExchangeSession(
        exchange,
        clusterset=CLUSTERSET,
        member=member_of(name),
        key=key_of(name),
        peers=peers,
        disk=None if directory is None else ReplicaDisk(directory),
        clock=lambda: datetime.now(UTC),
        monotonic=time.monotonic,
        rng=random.Random(1),
        on_change=heard or Heard(),
        timing=timing,
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


async def test_a_peers_records_arrive_and_are_told(exchange: FlakyExchange) -> None:
    """After a change the callback has the keys, and the snapshot already has the records."""
    heard = Heard()
    east = session(exchange, "east", [])
    west = session(exchange, "west", [member_of("east")], heard)
    east.publish(by_key(gateway(), bundle(1)))
    assert not west.synced
    async with running(east, west):
        await until(lambda: heard.keys == ["bundle", "gateway"])
        assert by_key(gateway(), bundle(1)) == west.snapshot().members[EAST].records
        await west.wait_synced()
        await until(lambda: (EAST, frozenset()) in heard.calls)
    assert west.snapshot().members[EAST].fresh


async def test_the_own_entry_is_passed_over(exchange: FlakyExchange) -> None:
    """The list of all members may be given as it is: nobody follows itself."""
    west = session(exchange, "west", [member_of("west"), member_of("east")])
    assert list(west.snapshot().members) == [EAST]


async def test_an_exchange_that_is_off_at_the_start_is_waited_for(exchange: FlakyExchange) -> None:
    """Nothing is synced nor connected until it answers; then all goes its way."""
    exchange.switch(on=False)
    east, west = session(exchange, "east", []), session(exchange, "west", [member_of("east")])
    east.publish(by_key(gateway()))
    async with running(east, west):
        assert not west.connected
        assert not west.synced
        exchange.switch(on=True)
        await until(lambda: by_key(gateway()) == west.snapshot().members[EAST].records)
        assert west.connected


async def test_an_outage_keeps_everything_and_ends_by_itself(exchange: FlakyExchange) -> None:
    """During an outage records and freshness stay; what was published meanwhile arrives after it."""
    east, west = session(exchange, "east", []), session(exchange, "west", [member_of("east")])
    east.publish(by_key(gateway()))
    async with running(east, west):
        await until(lambda: west.snapshot().members[EAST].fresh)
        exchange.switch(on=False)
        await until(lambda: not west.connected)
        east.publish(by_key(gateway(port=2)))
        assert by_key(gateway()) == west.snapshot().members[EAST].records
        assert west.snapshot().members[EAST].fresh
        exchange.switch(on=True)
        await until(lambda: by_key(gateway(port=2)) == west.snapshot().members[EAST].records)
    assert east.publications == 1


async def test_changes_in_the_hold_off_go_together(exchange: FlakyExchange) -> None:
    """What changes in the hold-off after a publication goes in one batch, the last word of each record."""
    east = session(exchange, "east", [], timing=replace(TIMING, hold_off=0.5))
    east.publish({})
    async with running(east):
        await until(lambda: east.published is not None)
        for ready in range(5):
            east.publish(by_key(endpoints("a", ready)))
            await asyncio.sleep(0)
        await until(lambda: east.published is not None and east.published.seq > 0)
        assert east.published is not None
        assert east.published.seq == 1
        assert len(await exchange.read_log(EAST, Version(east.published.epoch, 0))) == 1


async def test_members_come_and_go(exchange: FlakyExchange) -> None:
    """A new member is followed, a removed one's records are told as changed, the others go on."""
    heard = Heard()
    east, north = session(exchange, "east", []), session(exchange, "north", [])
    west = session(exchange, "west", [member_of("east")], heard)
    east.publish(by_key(gateway()))
    north.publish(by_key(gateway(port=2)))
    async with running(east, north, west):
        await until(lambda: bool(west.snapshot().members[EAST].records))
        west.set_members([member_of("east"), member_of("north")])
        assert not west.synced
        await until(lambda: bool(west.snapshot().members[ClusterId("north")].records))
        heard.calls.clear()
        west.set_members([member_of("north")])
        assert (EAST, frozenset(by_key(gateway()))) in heard.calls
        assert list(west.snapshot().members) == ["north"]
        north.publish(by_key(gateway(port=3)))
        await until(lambda: by_key(gateway(port=3)) == west.snapshot().members[ClusterId("north")].records)


async def test_a_member_with_another_key_starts_anew(exchange: FlakyExchange) -> None:
    """What was proved with the old key is not kept under the new one."""
    east, west = session(exchange, "east", []), session(exchange, "west", [member_of("east")])
    east.publish(by_key(gateway()))
    async with running(east, west):
        await until(lambda: bool(west.snapshot().members[EAST].records))
        west.set_members([replace(member_of("east"), public_key=key_of("north").public)])
        assert dict(west.snapshot().members[EAST].records) == {}
        await until(lambda: west.rejections.get((EAST, Reason.BAD_SIGNATURE), 0) > 0)
        assert dict(west.snapshot().members[EAST].records) == {}


async def test_own_records_that_are_refused_are_counted(exchange: FlakyExchange) -> None:
    """A bad record of our own shows like a peer's, under our own name."""
    east = session(exchange, "east", [])
    east.publish(by_key(endpoints("a", -1), gateway()))
    async with running(east):
        await until(lambda: east.published is not None)
    assert dict(east.rejections) == {(EAST, Reason.INVALID): 1}
    assert [one.record_key for one in east.recent_rejections] == ["endpoints/demo/a"]


async def test_a_changed_file_is_refused(exchange: FlakyExchange, tmp_path: Path) -> None:
    """A saved replica that somebody changed is as good as none, and is named."""
    east = session(exchange, "east", [])
    east.publish(by_key(gateway(), bundle(1)))
    async with running(east):
        west = session(exchange, "west", [member_of("east")], directory=tmp_path)
        async with running(west):
            await until(lambda: bool(west.snapshot().members[EAST].records))
    assert (
        BUNDLE_KEY
        in session(exchange, "west", [member_of("east")], directory=tmp_path).snapshot().members[EAST].records
    )
    path = tmp_path / "east.replica"
    path.write_bytes(path.read_bytes().replace(b"east.example", b"evil.example"))
    again = session(exchange, "west", [member_of("east")], directory=tmp_path)
    assert dict(again.snapshot().members[EAST].records) == {}
    assert not again.synced
    assert len(again.recent_rejections) == 1
    assert again.recent_rejections[0].message.startswith("saved on disk: ")


async def test_a_file_of_another_key_is_refused(exchange: FlakyExchange, tmp_path: Path) -> None:
    """What is loaded, the snapshot and the last lease, is verified against the member's key of today."""
    east = session(exchange, "east", [])
    east.publish(by_key(gateway()))
    async with running(east):
        west = session(exchange, "west", [member_of("east")], directory=tmp_path)
        async with running(west):
            await until(lambda: bool(west.snapshot().members[EAST].records))
    other = replace(member_of("east"), public_key=key_of("north").public)
    again = session(exchange, "west", [other], directory=tmp_path)
    assert dict(again.rejections) == {(EAST, Reason.BAD_SIGNATURE): 2}
    assert dict(again.snapshot().members[EAST].records) == {}


async def test_an_epoch_on_disk_is_exceeded(exchange: FlakyExchange, tmp_path: Path) -> None:
    """A restarted member whose clock went back still speaks under a newer epoch."""
    future = int(time.time() * 1000) + 3_600_000
    ReplicaDisk(tmp_path).save_epoch(future)
    east = session(exchange, "east", [], directory=tmp_path)
    east.publish({})
    async with running(east):
        await until(lambda: east.published is not None)
    assert east.published is not None
    assert future + 1 == east.published.epoch
    assert future + 1 == ReplicaDisk(tmp_path).load_epoch()


async def test_an_epoch_in_the_store_is_exceeded(exchange: FlakyExchange) -> None:
    """Without a disk, what stands in the store under our own signature is exceeded all the same."""
    first = session(exchange, "east", [])
    first.publish({})
    async with running(first):
        await until(lambda: first.published is not None)
    second = session(exchange, "east", [])
    second.publish({})
    async with running(second):
        await until(lambda: second.published is not None)
    assert first.published is not None
    assert second.published is not None
    assert first.published.epoch < second.published.epoch


async def test_two_publishers_of_one_member_do_not_race(exchange: FlakyExchange) -> None:
    """Whoever is overwritten answers at most once per beat."""
    slow = replace(TIMING, beat=60.0)
    first, second = session(exchange, "east", [], timing=slow), session(exchange, "east", [], timing=slow)
    async with running(first, second):
        first.publish(by_key(gateway()))
        await until(lambda: first.publications == 1)
        second.publish(by_key(gateway(port=2)))
        await until(lambda: second.publications == 1)
        first.publish(by_key(gateway(port=3)))
        await until(lambda: first.published is None)
        second.publish(by_key(gateway(port=4)))
        await until(lambda: second.published is not None and second.published.seq == 1)
    assert (first.publications, second.publications) == (1, 1)


async def test_a_snapshot_in_hand_does_not_change(exchange: FlakyExchange) -> None:
    """A picture that was taken stays as it was while the session goes on."""
    east, west = session(exchange, "east", []), session(exchange, "west", [member_of("east")])
    east.publish(by_key(gateway()))
    async with running(east, west):
        await until(lambda: bool(west.snapshot().members[EAST].records))
        picture = west.snapshot()
        east.publish(by_key(gateway(port=2)))
        await until(lambda: west.snapshot() != picture)
    assert by_key(gateway()) == picture.members[EAST].records
