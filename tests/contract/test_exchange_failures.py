"""Sessions on a real server: what they do when it dies, forgets, lies, or when they were away themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from federation.exchange.base import Keys
from federation.exchange.payloads import Changes, encode_batch
from federation.exchange.redis import RedisExchange
from federation.exchange.server import EmbeddedRedis
from federation.exchange.signing import BlobKind, Envelope, open_envelope, sign
from federation.exchange.timing import Timing
from federation.model.names import ClusterId, RecordKey
from federation.model.records import Record, Version
from federation.model.wire import Reason, encode_record
from support.exchange import CLUSTERSET, bundle, by_key, endpoints, export, gateway, key_of, member_of, until
from support.exchange_site import Site, publish, site
from support.redis_server import access_to, running_redis

EAST = ClusterId("east")
EAST_KEYS = Keys(CLUSTERSET, EAST)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with running_redis(tmp_path / "redis") as running:
        yield running


def services(count: int, ready: int = 1) -> dict[RecordKey, Record]:
    return by_key(*(endpoints(f"s{i}", ready) for i in range(count)), gateway(), bundle(1))


async def compacted(east: Site) -> None:
    """Wait until the snapshot is as new as the log."""
    async with asyncio.timeout(20):
        while True:
            stored = await east.exchange.read_snapshot(EAST)
            assert stored is not None
            manifest = open_envelope(stored.manifest, BlobKind.MANIFEST, member_of("east"), CLUSTERSET)
            if manifest.version == east.session.published:
                return


async def test_records_and_changes_reach_a_peer(server: EmbeddedRedis, tmp_path: Path) -> None:
    """What one member publishes, changes and withdraws, the other sees, and hears only of what changed."""
    async with (
        site(access_to(server.url), "east", "west", tmp_path) as east,
        site(access_to(server.url), "west", "east", tmp_path) as west,
    ):
        wanted = by_key(export("echo"), endpoints("echo", 1), endpoints("other", 1), gateway())
        await publish(east, wanted)
        await until(lambda: west.of("east") == wanted)
        assert set(wanted) == set(west.changed)
        west.changed.clear()
        wanted = by_key(export("echo"), endpoints("echo", 2), gateway())
        await publish(east, wanted)
        await until(lambda: west.of("east") == wanted)
        assert {"endpoints/demo/echo", "endpoints/demo/other"} == set(west.changed)
        await until(lambda: west.session.snapshot().members[EAST].fresh)
        assert west.session.connected
        assert dict(west.session.rejections) == {}


async def test_a_member_that_never_published_is_known_to_be_absent(server: EmbeddedRedis, tmp_path: Path) -> None:
    """Synced means every peer was asked; before a desired set was given, nothing is published."""
    async with site(access_to(server.url), "west", "east", tmp_path) as west:
        await west.session.wait_synced()
        assert west.of("east") == {}
        assert west.session.published is None
        assert await west.exchange.read_snapshot(ClusterId("west")) is None


async def test_an_empty_desired_set_is_published(server: EmbeddedRedis, tmp_path: Path) -> None:
    """To have nothing is a statement that peers hear."""
    async with (
        site(access_to(server.url), "east", "west", tmp_path) as east,
        site(access_to(server.url), "west", "east", tmp_path) as west,
    ):
        await publish(east, {})
        await until(lambda: west.session.snapshot().members[EAST].version is not None)
        assert west.of("east") == {}


async def test_a_server_that_comes_back_empty_is_filled_again(server: EmbeddedRedis, tmp_path: Path) -> None:
    """After a crash with loss of data the member re-publishes, and the peer hears only of what differs."""
    async with (
        site(access_to(server.url), "east", "west", tmp_path) as east,
        site(access_to(server.url), "west", "east", tmp_path) as west,
    ):
        await publish(east, services(300))
        await until(lambda: west.of("east") == services(300))
        server.kill()
        await until(lambda: not west.session.connected)
        assert services(300) == west.of("east")
        west.changed.clear()
        newer = services(300) | by_key(endpoints("s7", 9), endpoints("new", 1))
        del newer[RecordKey("endpoints/demo/s8")]
        east.session.publish(newer)
        server.start()
        await until(lambda: west.of("east") == newer)
        expected = ["endpoints/demo/new", "endpoints/demo/s7", "endpoints/demo/s8"]
        assert expected == sorted(west.changed)
        await until(lambda: east.session.publications == 2)
        assert dict(west.session.rejections) == {}


async def test_flushall_under_live_connections_is_noticed(server: EmbeddedRedis, tmp_path: Path) -> None:
    """A beat finds that the data are gone; re-published, they change nothing for the peer."""
    async with (
        site(access_to(server.url), "east", "west", tmp_path) as east,
        site(access_to(server.url), "west", "east", tmp_path) as west,
    ):
        await publish(east, services(50))
        await until(lambda: west.of("east") == services(50))
        first = west.session.snapshot().members[EAST].version
        west.changed.clear()
        async with Redis.from_url(server.url) as redis:
            await redis.flushall()
        await until(lambda: west.session.snapshot().members[EAST].version != first)
        assert services(50) == west.of("east")
        assert west.changed == []
        assert await east.exchange.read_snapshot(EAST) is not None


async def test_a_peer_that_was_away_resumes_by_the_log(server: EmbeddedRedis, tmp_path: Path) -> None:
    """A restarted session starts from disk and reads from the log only what it missed."""
    async with site(access_to(server.url), "east", "west", tmp_path) as east:
        await publish(east, services(100))
        async with site(access_to(server.url), "west", "east", tmp_path) as west:
            await until(lambda: west.of("east") == services(100))
        for ready in (2, 3, 4):
            await publish(east, services(100) | by_key(endpoints("s5", ready)))
        # The snapshot is as old as the publication: only the log can tell.
        async with site(access_to(server.url), "west", "east", tmp_path) as west:
            assert services(100) == west.of("east")
            await until(lambda: west.of("east")[RecordKey("endpoints/demo/s5")] == endpoints("s5", 4))
            assert {"endpoints/demo/s5"} == set(west.changed)


async def test_a_trimmed_log_leads_to_the_snapshot(server: EmbeddedRedis, tmp_path: Path) -> None:
    """Where the log no longer reaches back, the snapshot is read, and applied as a difference."""
    compacting = Timing(hold_off=0.001, beat=0.05, lease=1.0, compaction=0.05, retry=0.005, retry_max=0.02)
    async with site(access_to(server.url), "east", "west", tmp_path, compacting) as east:
        await publish(east, services(100))
        async with site(access_to(server.url), "west", "east", tmp_path) as west:
            await until(lambda: west.of("east") == services(100))
        for ready in (2, 3, 4):
            await publish(east, services(100) | by_key(endpoints("s5", ready)))
        await compacted(east)
        async with Redis.from_url(server.url) as redis:
            await redis.xtrim(EAST_KEYS.log, maxlen=1, approximate=False)
        async with site(access_to(server.url), "west", "east", tmp_path) as west:
            await until(lambda: west.of("east")[RecordKey("endpoints/demo/s5")] == endpoints("s5", 4))
            assert west.changed == ["endpoints/demo/s5"]
            assert east.session.publications == 1


async def test_a_restart_without_the_exchange_serves_the_last_good(server: EmbeddedRedis, tmp_path: Path) -> None:
    """With the server down, a new session shows at once what the old one knew, batches included, and its age."""
    async with (
        site(access_to(server.url), "east", "west", tmp_path) as east,
        site(access_to(server.url), "west", "east", tmp_path) as west,
    ):
        await publish(east, services(20))
        await publish(east, services(20) | by_key(endpoints("s3", 7)))
        await until(lambda: west.of("east").get(RecordKey("endpoints/demo/s3")) == endpoints("s3", 7))
    server.kill()
    async with site(access_to(server.url), "west", "east", tmp_path) as west:
        member = west.session.snapshot().members[EAST]
        assert services(20) | by_key(endpoints("s3", 7)) == member.records
        assert member.saved_at is not None
        assert member.synced
        assert not member.fresh
        assert west.session.synced


async def test_a_restarted_member_speaks_under_a_newer_epoch(server: EmbeddedRedis, tmp_path: Path) -> None:
    """After a restart the peer takes the new publication, and hears of nothing that stayed the same."""
    async with site(access_to(server.url), "west", "east", tmp_path) as west:
        async with site(access_to(server.url), "east", "west", tmp_path) as east:
            await publish(east, services(20))
            await until(lambda: west.of("east") == services(20))
        west.changed.clear()
        async with site(access_to(server.url), "east", "west", tmp_path) as east:
            await publish(east, services(20) | by_key(endpoints("s1", 5)))
            await until(lambda: west.of("east").get(RecordKey("endpoints/demo/s1")) == endpoints("s1", 5))
        assert west.changed == ["endpoints/demo/s1"]


async def test_a_dead_member_loses_its_freshness_and_keeps_its_records(server: EmbeddedRedis, tmp_path: Path) -> None:
    """Without beats a member is no longer fresh; its records stay, and the change is told."""
    brief = Timing(hold_off=0.001, beat=0.05, lease=0.3, compaction=3600.0, retry=0.005, retry_max=0.02)
    async with site(access_to(server.url), "west", "east", tmp_path, brief) as west:
        async with site(access_to(server.url), "east", "west", tmp_path) as east:
            await publish(east, services(3))
            await until(lambda: west.session.snapshot().members[EAST].fresh)
        await until(lambda: not west.session.snapshot().members[EAST].fresh)
        assert services(3) == west.of("east")


async def test_a_follower_of_many_needs_few_connections(server: EmbeddedRedis) -> None:
    """Whoever starts to read hundreds of members at once shares some connections among them."""
    exchange = RedisExchange(access_to(server.url), CLUSTERSET)
    async with Redis.from_url(server.url) as redis:
        before = len(await redis.client_list())
        reads = (exchange.read_snapshot(ClusterId(f"c{number}")) for number in range(200))
        assert set(await asyncio.gather(*reads)) == {None}
        assert len(await redis.client_list()) - before == 8
    await exchange.aclose()


# What a hostile server, or a hostile member, may try.


@asynccontextmanager
async def two_sites(server: EmbeddedRedis, tmp_path: Path) -> AsyncIterator[tuple[Site, Site, Redis]]:
    """East has published, west has heard it; and a hand on the server itself."""
    async with (
        site(access_to(server.url), "east", "west", tmp_path) as east,
        site(access_to(server.url), "west", "east", tmp_path) as west,
        Redis.from_url(server.url) as redis,
    ):
        await publish(east, services(5))
        await until(lambda: west.session.snapshot().members[EAST].fresh and west.of("east") == services(5))
        yield east, west, redis


def forged(name: str, speaker: str, version: Version, *records: Record) -> bytes:
    """A batch in the name of ``name``, signed by ``speaker``."""
    encoded = {record.record_key: encode_record(record, member_of(speaker)) for record in records}
    payload = encode_batch(Changes(encoded, ()))
    return sign(Envelope(BlobKind.BATCH, ClusterId(name), version, payload), CLUSTERSET, key_of(speaker))


async def test_a_batch_signed_by_another_member_is_refused(server: EmbeddedRedis, tmp_path: Path) -> None:
    """A member can't speak for another; the attempt is counted and the rest goes on."""
    async with two_sites(server, tmp_path) as (east, west, redis):
        head = east.session.published
        assert head is not None
        fake = forged("east", "west", Version(head.epoch, head.seq + 1), endpoints("s1", 99))
        await redis.publish(EAST_KEYS.channel, fake)
        await until(lambda: west.rejected(Reason.BAD_SIGNATURE) == 1)
        assert services(5) == west.of("east")
        await publish(east, services(5, ready=2))
        await until(lambda: west.of("east") == services(5, ready=2))


async def test_a_member_whose_blobs_stand_under_anothers_name_is_refused(server: EmbeddedRedis, tmp_path: Path) -> None:
    """A genuine batch of one member, sent on another's channel, is refused."""
    async with two_sites(server, tmp_path) as (_, west, redis):
        await redis.publish(EAST_KEYS.channel, forged("west", "west", Version(1, 1), gateway()))
        await until(lambda: west.rejected(Reason.WRONG_MEMBER) == 1)
        assert services(5) == west.of("east")


async def test_a_replayed_batch_is_refused(server: EmbeddedRedis, tmp_path: Path) -> None:
    """An old batch, sent again on the channel, is counted as replayed and changes nothing."""
    async with two_sites(server, tmp_path) as (east, west, redis):
        await publish(east, services(5, ready=2))
        await publish(east, services(5, ready=3))
        await until(lambda: west.of("east") == services(5, ready=3))
        old = (await redis.xrange(EAST_KEYS.log))[0][1][b"b"]
        assert west.rejected(Reason.REPLAYED) == 0
        await redis.publish(EAST_KEYS.channel, old)
        await until(lambda: west.rejected(Reason.REPLAYED) == 1)
        assert services(5, ready=3) == west.of("east")


async def test_an_old_snapshot_put_back_is_refused(server: EmbeddedRedis, tmp_path: Path) -> None:
    """A whole older state of the store, put back with its lease, is refused by a reader that knows better."""
    async with site(access_to(server.url), "west", "east", tmp_path) as west, Redis.from_url(server.url) as redis:
        async with site(access_to(server.url), "east", "west", tmp_path) as east:
            await publish(east, services(5))
            names = [key async for key in redis.scan_iter(f"{EAST_KEYS.prefix}*")]
            old = {key: await redis.dump(key) for key in names}
        async with site(access_to(server.url), "east", "west", tmp_path) as east:
            await publish(east, services(5, ready=4))
            await until(lambda: west.of("east") == services(5, ready=4))
        await redis.flushall()
        for key, value in old.items():
            await redis.restore(key, 0, value)
        await redis.client_kill_filter(_type="pubsub")
        await until(lambda: west.rejected(Reason.REPLAYED) > 0)
        assert services(5, ready=4) == west.of("east")


async def test_a_forged_bundle_of_another_trust_domain_is_refused(server: EmbeddedRedis, tmp_path: Path) -> None:
    """A member that publishes a bundle for somebody else's trust domain harms that record only."""
    async with site(access_to(server.url), "west", "east", tmp_path) as west, Redis.from_url(server.url) as redis:
        async with site(access_to(server.url), "east", "west", tmp_path) as east:
            await publish(east, services(5))
            await until(lambda: west.of("east") == services(5))
            head = east.session.published
        assert head is not None
        victim = encode_record(bundle(9, "west"), member_of("west"))
        honest = encode_record(endpoints("s1", 4), member_of("east"))
        changes = Changes({RecordKey("bundle"): victim, RecordKey("endpoints/demo/s1"): honest}, ())
        version = Version(head.epoch, head.seq + 1)
        envelope = Envelope(BlobKind.BATCH, EAST, version, encode_batch(changes))
        await redis.publish(EAST_KEYS.channel, sign(envelope, CLUSTERSET, key_of("east")))
        await until(lambda: west.rejected(Reason.WRONG_TRUST_DOMAIN) == 1)
        assert services(5) | by_key(endpoints("s1", 4)) == west.of("east")
        assert [RecordKey("bundle")] == [one.record_key for one in west.session.recent_rejections]


async def test_junk_on_a_channel_harms_nobody(server: EmbeddedRedis, tmp_path: Path) -> None:
    """Bytes that are no blob are counted, and the next change arrives."""
    async with two_sites(server, tmp_path) as (east, west, redis):
        await redis.publish(EAST_KEYS.channel, b"junk")
        await until(lambda: west.rejected(Reason.MALFORMED) == 1)
        await publish(east, services(6))
        await until(lambda: west.of("east") == services(6))


async def test_evicted_shards_are_written_again(server: EmbeddedRedis, tmp_path: Path) -> None:
    """A server that drops single keys behind the manifest is noticed within a beat."""
    async with two_sites(server, tmp_path) as (east, west, redis):
        shard = next(iter([key async for key in redis.scan_iter(f"{EAST_KEYS.prefix}snap:*")]))
        await redis.delete(shard)
        await until(lambda: east.session.publications == 2)
        assert await redis.exists(shard) == 1
        assert services(5) == west.of("east")
