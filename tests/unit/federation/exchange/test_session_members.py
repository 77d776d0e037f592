"""Members and keys that change while the session runs: who goes leaves nothing, who changes its key loses nothing."""

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
from structlog.testing import capture_logs

from federation.exchange.disk import ReplicaDisk
from federation.exchange.memory import MemoryExchange
from federation.exchange.session import ExchangeSession
from federation.exchange.signing import MemberKey
from federation.exchange.timing import Timing
from federation.model.names import BUNDLE_KEY, GATEWAY_KEY, ClusterId, RecordKey
from federation.model.records import Member, Record, Version
from federation.model.wire import Reason
from support.exchange import CLUSTERSET, FlakyExchange, bundle, by_key, gateway, key_of, member_of, until

EAST, NORTH = ClusterId("east"), ClusterId("north")
TIMING = Timing(hold_off=0.001, beat=0.01, lease=5.0, compaction=0.01, retry=0.001, retry_max=0.005)

OLD = member_of("east")
NEW_KEY = key_of("east-2")
NEW = replace(OLD, public_key=NEW_KEY.public)
BOTH = replace(NEW, retiring_key=OLD.public_key)
RECORDS = by_key(gateway(), bundle(1))


class Site:
    """A session, and what it told of each peer: the changed keys and what was shown then."""

    def __init__(
        self,
        exchange: FlakyExchange,
        member: Member,
        peers: Iterable[Member] = (),
        disk: ReplicaDisk | None = None,
        key: MemberKey | None = None,
    ) -> None:
        self.told: list[tuple[ClusterId, frozenset[RecordKey]]] = []
        self.session = ExchangeSession(
            exchange,
            clusterset=CLUSTERSET,
            member=member,
            key=key or key_of(member.cluster),
            peers=peers,
            disk=disk,
            clock=lambda: datetime.now(UTC),
            monotonic=time.monotonic,
            rng=random.Random(1),
            on_change=lambda cluster, keys: self.told.append((cluster, keys)),
            timing=TIMING,
        )

    def of(self, cluster: ClusterId) -> dict[RecordKey, Record]:
        seen = self.session.snapshot().members.get(cluster)
        return {} if seen is None else dict(seen.records)

    def version(self) -> Version | None:
        return self.session.snapshot().members[EAST].version


@asynccontextmanager
async def running(*sites: Site) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(each.session.run()) for each in sites]
        try:
            yield
        finally:
            for task in started:
                task.cancel()


@pytest.fixture
def exchange() -> FlakyExchange:
    return FlakyExchange(MemoryExchange(time.monotonic))


@asynccontextmanager
async def east_and_west(
    exchange: FlakyExchange, disk: ReplicaDisk | None = None, *others: Member
) -> AsyncIterator[tuple[Site, Site]]:
    """East has published, west has it, and every other of west's peers too."""
    east, west = Site(exchange, OLD), Site(exchange, member_of("west"), [OLD, *others], disk)
    neighbours = [Site(exchange, member) for member in others]
    for site in (east, *neighbours):
        site.session.publish(RECORDS if site is east else by_key(gateway(port=2)))
    async with running(east, west, *neighbours):
        await until(lambda: all(at.fresh for at in west.session.snapshot().members.values()))
        west.told.clear()
        yield east, west


async def test_a_retiring_key_and_its_end_change_nothing_that_is_shown(exchange: FlakyExchange) -> None:
    """A peer whose roster entry gains a key, changes to it, and loses the old one never loses a record."""
    async with east_and_west(exchange) as (east, west):
        first = west.version()
        west.session.set_members([BOTH])
        assert (west.of(EAST), west.version()) == (RECORDS, first)
        east.session.rekey(BOTH, NEW_KEY)
        await until(lambda: west.version() == east.session.published != first)
        west.session.set_members([NEW])
        assert (west.of(EAST), west.version()) == (RECORDS, east.session.published)
        newer = RECORDS | by_key(gateway(port=2))
        east.session.publish(newer)
        await until(lambda: west.of(EAST) == newer)
        assert {key for _, keys in west.told for key in keys} == {GATEWAY_KEY}
        assert west.session.snapshot().members[EAST].fresh
        assert dict(west.session.rejections) == {}


async def test_what_a_retired_key_signs_anew_is_refused(exchange: FlakyExchange) -> None:
    """Once the old key is believed no longer, its word is refused; what it said before stays."""
    async with east_and_west(exchange) as (east, west):
        west.session.set_members([BOTH])
        west.session.set_members([NEW])
        east.session.publish({})
        await until(lambda: west.session.rejections.get((EAST, Reason.BAD_SIGNATURE), 0) > 1)
        assert west.of(EAST) == RECORDS
        assert west.session.synced


async def test_what_was_refused_under_the_old_roster_is_read_under_the_new(exchange: FlakyExchange) -> None:
    """A member that changes its key before a peer is told: it is believed as soon as the peer is told."""
    async with east_and_west(exchange) as (east, west):
        east.session.rekey(BOTH, NEW_KEY)
        await until(lambda: west.session.rejections.get((EAST, Reason.BAD_SIGNATURE), 0) > 0)
        assert west.of(EAST) == RECORDS
        west.session.set_members([BOTH])
        await until(lambda: west.version() == east.session.published)
        assert west.told.count((EAST, frozenset())) == len(west.told)


async def test_members_of_the_same_keys_are_not_disturbed(exchange: FlakyExchange) -> None:
    """To be told the same, or of other keys of the same peers, ends no subscription."""
    async with east_and_west(exchange) as (_, west):
        watches = 0
        watch = exchange.watch

        def counted(clusters: frozenset[ClusterId]) -> object:
            nonlocal watches
            watches += 1
            return watch(clusters)

        exchange.watch = counted  # type: ignore[method-assign, assignment]
        west.session.set_members([OLD, member_of("west")])
        west.session.set_members([BOTH])
        await until(lambda: west.session.connected)
        assert watches == 0
        west.session.set_members([BOTH, member_of("north")])
        await until(lambda: watches == 1)


@pytest.mark.parametrize("other", [NEW, replace(OLD, trust_domain="other.example")], ids=["key", "trust domain"])
async def test_another_member_of_the_same_id_starts_anew(
    exchange: FlakyExchange, tmp_path: Path, other: Member
) -> None:
    """No shared key, or another trust domain: nothing of the one before is shown, kept on disk, or held against it."""
    disk = ReplicaDisk(tmp_path)
    async with east_and_west(exchange, disk) as (_, west):
        await until(lambda: disk.load(EAST) is not None)
        exchange.switch(on=False)
        west.told.clear()
        west.session.set_members([other])
        assert west.of(EAST) == {}
        assert west.told == [(EAST, frozenset(RECORDS))]
        await until(lambda: disk.load(EAST) is None)
        assert dict(west.session.rejections) == {}


async def test_nothing_is_left_of_a_member_that_is_gone(exchange: FlakyExchange, tmp_path: Path) -> None:
    """Its records vanish at once, its file soon after, and what was rejected of it is forgotten; the others stay."""
    disk = ReplicaDisk(tmp_path)
    async with east_and_west(exchange, disk, member_of("north")) as (_, west):
        await until(lambda: disk.clusters() == {EAST, NORTH})
        for cluster in (EAST, NORTH):
            exchange.inner._send(cluster, b"junk")
        await until(lambda: {cluster for cluster, _ in west.session.rejections} == {EAST, NORTH})
        west.told.clear()
        west.session.set_members([member_of("north")])
        assert west.told == [(EAST, frozenset(RECORDS))]
        assert list(west.session.snapshot().members) == [NORTH]
        assert {cluster for cluster, _ in west.session.rejections} == {NORTH}
        assert {one.cluster for one in west.session.recent_rejections} == {NORTH}
        await until(lambda: disk.clusters() == {NORTH})
        assert west.of(NORTH) == by_key(gateway(port=2))


async def test_a_former_member_does_not_come_back_from_disk(exchange: FlakyExchange, tmp_path: Path) -> None:
    """Whoever goes and comes again, even before its file was deleted, starts from what the exchange says."""
    disk = ReplicaDisk(tmp_path)
    async with east_and_west(exchange, disk) as (_, west):
        await until(lambda: disk.load(EAST) is not None)
        exchange.switch(on=False)
        west.session.set_members([])
        west.session.set_members([OLD])
        assert west.of(EAST) == {}
        await until(lambda: disk.load(EAST) is None)


async def test_files_of_former_members_are_deleted_at_the_start(exchange: FlakyExchange, tmp_path: Path) -> None:
    """Whoever was evicted while this member was down leaves nothing on its disk either."""
    disk = ReplicaDisk(tmp_path)
    async with east_and_west(exchange, disk):
        await until(lambda: disk.load(EAST) is not None)
    async with running(Site(exchange, member_of("west"), [], disk)):
        await until(lambda: disk.clusters() == frozenset())


class StubbornDisk(ReplicaDisk):
    """Deletes nothing."""

    def forget(self, cluster: ClusterId) -> None:
        raise OSError("read-only file system")


async def test_a_file_that_can_not_be_deleted_ends_nothing(exchange: FlakyExchange, tmp_path: Path) -> None:
    """The session goes on, the trouble is in the log, and the member does not come back from that file."""
    disk = StubbornDisk(tmp_path)
    async with east_and_west(exchange, disk) as (_, west):
        await until(lambda: disk.load(EAST) is not None)
        with capture_logs() as logs:
            west.session.set_members([])
            await until(lambda: "replica of a former member is not deleted" in [one["event"] for one in logs])
        exchange.switch(on=False)
        west.session.set_members([OLD])
        assert west.of(EAST) == {}
        await until(lambda: not west.session.connected)
        exchange.switch(on=True)
        await until(lambda: west.of(EAST) == RECORDS)


class UnlistedDisk(ReplicaDisk):
    """Its directory can't be listed."""

    def clusters(self) -> frozenset[ClusterId]:
        raise OSError("input/output error")


async def test_a_directory_that_can_not_be_listed_ends_nothing(exchange: FlakyExchange, tmp_path: Path) -> None:
    """Files of former members stay then; those that leave now are deleted all the same."""
    disk = UnlistedDisk(tmp_path)
    async with east_and_west(exchange, disk) as (_, west):
        await until(lambda: disk.load(EAST) is not None)
        west.session.set_members([])
        await until(lambda: disk.load(EAST) is None)


async def test_a_new_key_is_no_loss(exchange: FlakyExchange) -> None:
    """The publication with a new key is counted as one, and not as caused by the exchange; peers hear of no change."""
    async with east_and_west(exchange) as (east, west):
        west.session.set_members([BOTH])
        await until(lambda: bool(west.told) or west.session.synced)
        west.told.clear()
        with capture_logs() as logs:
            east.session.rekey(BOTH, NEW_KEY)
            assert not east.session.settled
            await until(lambda: east.session.settled)
        await until(lambda: west.version() == east.session.published)
        assert (east.session.publications, east.session.losses) == (2, 0)
        assert [one["event"] for one in logs if one["log_level"] == "warning"] == []
        assert {key for _, keys in west.told for key in keys} == set()
        exchange.inner._members.clear()
        await until(lambda: east.session.losses == 1 and east.session.settled)
        assert east.session.publications == 3


async def test_the_disk_is_of_the_new_key_soon(exchange: FlakyExchange, tmp_path: Path) -> None:
    """As soon as a peer's new publication was read, a restart that knows the new key only starts from disk."""
    disk = ReplicaDisk(tmp_path)
    async with east_and_west(exchange, disk) as (east, west):
        west.session.set_members([BOTH])
        east.session.rekey(BOTH, NEW_KEY)

        def restarted() -> Site:
            return Site(exchange, member_of("west"), [NEW], disk)

        await until(lambda: restarted().of(EAST) == RECORDS)


async def test_a_saved_picture_of_an_old_key_keeps_nobody_waiting(exchange: FlakyExchange, tmp_path: Path) -> None:
    """Without the exchange, a peer whose file holds only for a retired key is unknown, and the session goes on; with
    the exchange, it is what the exchange says."""
    disk = ReplicaDisk(tmp_path)
    async with east_and_west(exchange, disk) as (east, _):
        await until(lambda: disk.load(EAST) is not None)
        exchange.switch(on=False)
        again = Site(exchange, member_of("west"), [NEW], disk)
        assert not again.session.synced
        async with running(again):
            await until(lambda: again.session.synced)
            assert (again.of(EAST), again.version()) == ({}, None)
            assert not again.session.snapshot().members[EAST].synced
            east.session.rekey(NEW, NEW_KEY)
            exchange.switch(on=True)
            await until(lambda: again.of(EAST) == RECORDS)
    assert BUNDLE_KEY in Site(exchange, member_of("west"), [NEW], disk).of(EAST)
