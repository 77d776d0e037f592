"""The publisher: differences in signed batches, snapshots of what changed, a new epoch after a loss."""

from __future__ import annotations

from dataclasses import replace

import pytest

from federation.exchange import publisher as publisher_module
from federation.exchange.base import StoredSnapshot
from federation.exchange.payloads import Changes, decode_batch, decode_manifest, shard_of
from federation.exchange.publisher import Publisher
from federation.exchange.signing import BlobKind, open_envelope
from federation.model.names import BUNDLE_KEY, GATEWAY_KEY, RecordKey
from federation.model.records import Record, Version
from federation.model.wire import MAX_BATCH_BYTES, MAX_BATCH_RECORDS, Reason, encode_record
from support.exchange import CLUSTERSET, bundle, by_key, endpoints, export, gateway, key_of, member_of

EAST = member_of("east")


def publisher(*records: Record) -> Publisher:
    """A publisher that published ``records`` under epoch 100."""
    made = Publisher(EAST, key_of("east"), CLUSTERSET)
    made.desire(by_key(*records))
    made.replaced(made.replacement(100, 0))
    return made


def changes_of(made: Publisher) -> tuple[Version, Changes] | None:
    """What the batch on offer says."""
    batch = made.batch()
    if batch is None:
        return None
    envelope = open_envelope(batch.blob, BlobKind.BATCH, EAST, CLUSTERSET)
    return envelope.version, decode_batch(envelope.payload)


def test_nothing_is_said_before_there_is_something_to_say() -> None:
    """Without a desired set there is no batch, no snapshot, no lease: empty is not unknown."""
    made = Publisher(EAST, key_of("east"), CLUSTERSET)
    assert not made.ready
    assert made.batch() is None
    assert made.compaction() is None
    assert made.lease(0) is None
    made.desire({})
    assert made.ready


def test_the_first_publication_is_whole() -> None:
    """A replacement carries all records in shards under a manifest, at sequence 0."""
    made = Publisher(EAST, key_of("east"), CLUSTERSET)
    made.desire(by_key(gateway(), bundle(1)))
    whole = made.replacement(100, 0)
    assert Version(100, 0) == whole.version
    assert {shard_of(GATEWAY_KEY), shard_of(BUNDLE_KEY)} == set(whole.snapshot.shards)
    made.replaced(whole)
    assert made.batch() is None
    assert made.compaction() is None


def test_a_batch_is_the_difference() -> None:
    """Only what is new, different or gone is in the next batch, one sequence later."""
    made = publisher(gateway(), endpoints("a", 1), endpoints("b", 1))
    newer = endpoints("a", 2)
    made.desire(by_key(gateway(), newer))
    expected = Changes({newer.record_key: encode_record(newer, EAST)}, (RecordKey("endpoints/demo/b"),))
    assert changes_of(made) == (Version(100, 1), expected)
    made.appended()
    assert made.batch() is None


def test_equal_records_say_nothing() -> None:
    """The same desired set, built anew, makes no batch."""
    made = publisher(gateway(), endpoints("a", 1))
    made.desire(by_key(gateway(), endpoints("a", 1)))
    assert made.batch() is None


def test_a_batch_is_offered_until_it_is_taken() -> None:
    """An append of unknown outcome is repeated byte for byte; later changes wait for the next batch."""
    made = publisher(endpoints("a", 1))
    made.desire(by_key(endpoints("a", 2)))
    first = made.batch()
    made.desire(by_key(endpoints("a", 3)))
    assert made.batch() is first
    made.appended()
    second = made.batch()
    assert second is not None
    assert Version(100, 2) == second.version


def test_large_differences_are_cut_into_batches() -> None:
    """No batch exceeds the limits in records or in bytes, and together they say all."""
    made = publisher()
    notes = tuple((f"example.com/{i}", "x" * 1000) for i in range(100))
    many = by_key(*(endpoints(f"s{i}", 1) for i in range(3000)))
    heavy = by_key(*(replace(export(f"h{i}"), annotations=notes) for i in range(30)))
    made.desire(many | heavy)
    said: set[str] = set()
    batches = 0
    while (batch := made.batch()) is not None:
        envelope = open_envelope(batch.blob, BlobKind.BATCH, EAST, CLUSTERSET)
        assert len(envelope.payload) <= MAX_BATCH_BYTES
        upserts = decode_batch(envelope.payload).upserts
        assert len(upserts) <= MAX_BATCH_RECORDS
        said |= upserts.keys()
        batches += 1
        made.appended()
    assert set(many | heavy) == said
    assert batches > 5
    made.desire({})
    while made.batch() is not None:
        made.appended()
        batches += 1
    assert made.batch() is None


def test_a_compaction_writes_dirty_shards_only() -> None:
    """The snapshot's update holds the shards that changed, and removes those that became empty."""
    made = publisher(gateway(), bundle(1), endpoints("a", 1))
    assert made.compaction() is None
    made.desire(by_key(gateway(port=1), bundle(1)))
    made.batch()
    assert made.compaction() is None
    made.appended()
    update = made.compaction()
    assert update is not None
    assert {shard_of(GATEWAY_KEY)} == set(update.snapshot.shards)
    assert frozenset({shard_of(RecordKey("endpoints/demo/a"))}) == update.removed
    manifest = open_envelope(update.snapshot.manifest, BlobKind.MANIFEST, EAST, CLUSTERSET)
    assert Version(100, 1) == manifest.version
    assert {shard_of(GATEWAY_KEY), shard_of(BUNDLE_KEY)} == set(decode_manifest(manifest.payload))
    assert made.compaction() is update
    made.compacted()
    assert made.compaction() is None
    assert made.written is not None
    assert update.snapshot.manifest == made.written.manifest


def test_it_knows_its_own_snapshot() -> None:
    """Before and after a compaction what was written is told from what is altered, added or missing."""
    made = publisher(gateway(), endpoints("a", 1))
    stored = made.replacement(100, 0).snapshot
    made.desire(by_key(gateway(), endpoints("a", 2)))
    assert made.batch() is not None
    made.appended()
    assert made.holds(stored)
    compaction = made.compaction()
    assert compaction is not None
    made.compacted()
    newer = StoredSnapshot(compaction.snapshot.manifest, stored.shards | compaction.snapshot.shards)
    assert (made.holds(stored), made.holds(newer), made.holds(None)) == (False, True, False)
    one = min(newer.shards)
    missing = {number: blob for number, blob in newer.shards.items() if number != one}
    for shards in (newer.shards | {one: b"junk"}, newer.shards | {63: b"junk"}, missing):
        assert not made.holds(replace(newer, shards=shards))
    made.lost()
    assert not made.holds(newer)


def test_after_a_loss_everything_is_said_again() -> None:
    """A batch that was on offer when the data were lost is part of the new whole."""
    made = publisher(endpoints("a", 1))
    made.desire(by_key(endpoints("a", 2)))
    made.batch()
    made.lost()
    made.replaced(made.replacement(101, 0))
    assert made.batch() is None
    assert made.written is not None
    assert Version(101, 0) == made.written.head


def test_epochs_grow_though_the_clock_goes_back() -> None:
    """The next epoch is now, or later than any known one; a foreign blob under our name counts for nothing."""
    made = publisher()
    other = Publisher(member_of("west"), key_of("west"), CLUSTERSET)
    other.desire({})
    theirs = other.replacement(9_999, 0)
    ours = made.replacement(700, 0)
    assert made.next_epoch(500, [100, 200]) == 500
    assert made.next_epoch(500, [800, 0]) == 801
    assert made.epoch_of(BlobKind.MANIFEST, ours.snapshot.manifest) == 700
    assert made.epoch_of(BlobKind.LEASE, ours.lease) == 700
    assert made.epoch_of(BlobKind.LEASE, theirs.lease) == 0
    assert made.epoch_of(BlobKind.LEASE, None) == 0


def test_own_records_that_peers_would_refuse_are_left_out() -> None:
    """A bad record of our own harms itself only: it is named, and what was published of it stays."""
    made = publisher(gateway(), endpoints("a", 1))
    bad = endpoints("a", -1)
    rejected = made.desire(by_key(gateway(port=2), bad, endpoints("b", -1)))
    assert [(one.reason, one.record_key) for one in rejected] == [
        (Reason.INVALID, "endpoints/demo/a"),
        (Reason.INVALID, "endpoints/demo/b"),
    ]
    said = changes_of(made)
    assert said is not None
    assert {GATEWAY_KEY} == set(said[1].upserts)
    assert said[1].deletes == ()


def test_a_record_under_another_key_is_left_out() -> None:
    """The key that a record is given must be its own."""
    made = Publisher(EAST, key_of("east"), CLUSTERSET)
    rejected = made.desire({BUNDLE_KEY: gateway()})
    assert [one.reason for one in rejected] == [Reason.WRONG_KEY]


def test_beats_are_counted() -> None:
    """Each lease differs from the one before."""
    made = publisher()
    assert made.lease(0) != made.lease(0)


NEW_KEY = key_of("east-2")
NEW = replace(EAST, public_key=NEW_KEY.public)


def test_with_a_new_key_a_whole_publication_is_owed() -> None:
    """After a change of the key nothing is settled until a replacement, all of it signed with that key, was taken."""
    made = publisher(gateway(), bundle(1))
    assert (made.rekeyed, made.settled) == (False, True)
    made.rekey(NEW, NEW_KEY)
    assert (made.rekeyed, made.settled) == (True, False)
    whole = made.replacement(101, 0)
    for kind, blob in (
        (BlobKind.MANIFEST, whole.snapshot.manifest),
        (BlobKind.LEASE, whole.lease),
        *((BlobKind.SHARD, blob) for blob in whole.snapshot.shards.values()),
    ):
        assert open_envelope(blob, kind, NEW, CLUSTERSET).version == Version(101, 0)
    made.replaced(whole)
    assert (made.rekeyed, made.settled) == (False, True)


def test_a_replacement_of_the_old_key_does_not_settle_the_new_one() -> None:
    """A replacement that was under way while the key changed is followed by another."""
    made = publisher(gateway())
    whole = made.replacement(101, 0)
    made.rekey(NEW, NEW_KEY)
    made.replaced(whole)
    assert (made.rekeyed, made.settled) == (True, False)


def test_what_is_on_offer_stays_as_it_was_signed() -> None:
    """A batch whose outcome is unknown while the key changes is offered byte for byte; the next has the new key."""
    made = publisher(gateway())
    made.desire(by_key(gateway(), endpoints("a", 1)))
    offered = made.batch()
    made.rekey(NEW, NEW_KEY)
    assert made.batch() is offered
    made.appended()
    made.desire(by_key(gateway(), endpoints("a", 2)))
    following = made.batch()
    assert following is not None
    assert open_envelope(following.blob, BlobKind.BATCH, NEW, CLUSTERSET).version == Version(100, 2)


def test_the_same_key_again_asks_for_nothing() -> None:
    """A member that only loses its retiring key has nothing to publish."""
    made = publisher(gateway())
    made.rekey(replace(EAST, retiring_key=NEW_KEY.public), key_of("east"))
    assert (made.rekeyed, made.settled) == (False, True)


def test_an_epoch_of_the_retiring_key_is_exceeded() -> None:
    """What stands in the store under the key before counts as our own word while that key is believed."""
    manifest = publisher(gateway()).replacement(500, 0).snapshot.manifest
    made = Publisher(replace(NEW, retiring_key=EAST.public_key), NEW_KEY, CLUSTERSET)
    assert made.epoch_of(BlobKind.MANIFEST, manifest) == 500
    made.rekey(NEW, NEW_KEY)
    assert made.epoch_of(BlobKind.MANIFEST, manifest) == 0


def test_all_records_together_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record that does not fit is named and left out; what is withdrawn makes room for it."""
    monkeypatch.setattr(publisher_module, "MAX_MEMBER_BYTES", 130)
    made = Publisher(EAST, key_of("east"), CLUSTERSET)
    names = [f"s{number}" for number in range(9)]
    (first, *_) = refused = made.desire(by_key(*(endpoints(name, 1) for name in names)))
    assert 0 < len(refused) < 9
    assert (first.reason, "does not fit" in first.message) == (Reason.OVERSIZED, True)
    made.desire({})
    assert made.desire(by_key(endpoints("new", 1))) == ()
