"""The replica, event by event: what it applies, what it asks for, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from federation.exchange import replica as replica_module
from federation.exchange.base import StoredSnapshot
from federation.exchange.payloads import Beat, Changes, encode_batch, encode_beat
from federation.exchange.publisher import Publisher, Replacement
from federation.exchange.replica import LoadLog, LoadSnapshot, Replica, Step
from federation.exchange.signing import BlobKind, Envelope, sign
from federation.model.names import BUNDLE_KEY, GATEWAY_KEY, RecordKey
from federation.model.records import Record, Version
from federation.model.wire import Reason
from support.exchange import CLUSTERSET, bundle, by_key, endpoints, gateway, key_of, member_of

EAST = member_of("east")
A = RecordKey("endpoints/demo/a")


class Speaker:
    """The member east at work, its blobs at hand."""

    def __init__(self, *records: Record, epoch: int = 100) -> None:
        self.publisher = Publisher(EAST, key_of("east"), CLUSTERSET)
        self.publisher.desire(by_key(*records))
        self.whole: Replacement = self.publisher.replacement(epoch, 0)
        self.publisher.replaced(self.whole)

    def say(self, *records: Record) -> bytes:
        self.publisher.desire(by_key(*records))
        batch = self.publisher.batch()
        assert batch is not None
        self.publisher.appended()
        return batch.blob

    def beat(self) -> bytes:
        lease = self.publisher.lease(0)
        assert lease is not None
        return lease

    def snapshot(self) -> StoredSnapshot:
        """The store after a compaction."""
        update = self.publisher.compaction()
        assert update is not None
        self.publisher.compacted()
        kept = {n: blob for n, blob in self.whole.snapshot.shards.items() if n not in update.removed}
        return StoredSnapshot(update.snapshot.manifest, kept | dict(update.snapshot.shards))


def reader(speaker: Speaker) -> Replica:
    """A replica that has read the speaker's first publication."""
    made = Replica(EAST, CLUSTERSET, lease_seconds=3.0)
    made.on_snapshot(speaker.whole.snapshot)
    assert made.on_log(()) == Step()
    return made


def reasons(step: Step) -> list[str]:
    return [one.reason for one in step.rejected]


def test_an_unread_member_asks_for_the_snapshot() -> None:
    """Whatever is heard first, the base is read first; until then nothing is known."""
    speaker = Speaker(gateway())
    made = Replica(EAST, CLUSTERSET, lease_seconds=3.0)
    assert made.on_connected(None, 0.0) == Step(need=LoadSnapshot())
    assert made.on_lease(speaker.beat(), 0.0) == Step(need=LoadSnapshot())
    assert made.on_batch(speaker.say(gateway(port=1))) == Step(need=LoadSnapshot())
    assert not made.synced
    assert dict(made.records) == {}


def test_a_member_without_snapshot_is_absent_and_known() -> None:
    """To know that there is nothing is to be in sync."""
    made = Replica(EAST, CLUSTERSET, lease_seconds=3.0)
    assert made.on_absent() == Step()
    assert made.synced


def test_a_lost_store_empties_nothing() -> None:
    """A member that was known keeps its records when the store has none of it."""
    made = reader(Speaker(gateway()))
    assert made.on_absent() == Step()
    assert dict(made.records) == by_key(gateway())


def test_the_next_batch_is_applied_at_once() -> None:
    """A contiguous batch changes exactly its keys."""
    speaker = Speaker(gateway(), endpoints("a", 1))
    made = reader(speaker)
    assert made.on_batch(speaker.say(gateway(), endpoints("b", 1))) == Step(
        frozenset({A, RecordKey("endpoints/demo/b")})
    )
    assert dict(made.records) == by_key(gateway(), endpoints("b", 1))
    assert made.version == Version(100, 1)


def test_a_gap_is_filled_from_the_log() -> None:
    """A missed batch is asked for from the own version on, and applied in order."""
    speaker = Speaker(endpoints("a", 1))
    made = reader(speaker)
    lost, heard = speaker.say(endpoints("a", 2)), speaker.say(endpoints("a", 3))
    assert made.on_batch(heard) == Step(need=LoadLog(Version(100, 0)))
    assert dict(made.records) == by_key(endpoints("a", 1))
    assert made.on_log((lost, heard)) == Step(frozenset({A}))
    assert dict(made.records) == by_key(endpoints("a", 3))


def test_a_lost_last_message_shows_in_the_lease() -> None:
    """The lease carries the head of the log: a lost message is found within a beat."""
    speaker = Speaker(endpoints("a", 1))
    made = reader(speaker)
    speaker.say(endpoints("a", 2))
    assert made.on_lease(speaker.beat(), 0.0) == Step(need=LoadLog(Version(100, 0)))


def test_a_log_in_pages_is_read_to_the_head() -> None:
    """Where the log's answer ends before the known head, more is asked for."""
    speaker = Speaker(endpoints("a", 1))
    made = reader(speaker)
    first, _ = speaker.say(endpoints("a", 2)), speaker.say(endpoints("a", 3))
    made.on_lease(speaker.beat(), 0.0)
    assert made.on_log((first,)) == Step(frozenset({A}), need=LoadLog(Version(100, 1)))


def test_a_trimmed_log_leads_to_the_snapshot() -> None:
    """A log that begins too late, or is empty, is no help; the snapshot is applied as a difference."""
    speaker = Speaker(gateway(), endpoints("a", 1))
    made = reader(speaker)
    speaker.say(gateway(), endpoints("a", 2))
    last = speaker.say(gateway(), endpoints("a", 3))
    made.on_lease(speaker.beat(), 0.0)
    assert made.on_log((last,)) == Step(need=LoadSnapshot())
    assert made.on_log(()) == Step(need=LoadSnapshot())
    assert made.on_snapshot(speaker.snapshot()) == Step(frozenset({A}), need=LoadLog(Version(100, 2)))


def test_meeting_needs_ends_where_the_store_has_nothing_newer() -> None:
    """A snapshot that is no newer ends the search; the next beat begins it again."""
    speaker = Speaker(endpoints("a", 1))
    made = reader(speaker)
    speaker.say(endpoints("a", 2))
    assert made.on_lease(speaker.beat(), 0.0).need == LoadLog(Version(100, 0))
    assert made.on_log(()).need == LoadSnapshot()
    assert made.on_snapshot(speaker.whole.snapshot) == Step()
    assert made.on_lease(speaker.beat(), 0.0).need == LoadLog(Version(100, 0))


def test_a_new_epoch_is_read_as_a_difference() -> None:
    """After a re-publication only what really differs has changed."""
    made = reader(Speaker(gateway(), endpoints("a", 1), endpoints("b", 1)))
    newer = Speaker(gateway(), endpoints("a", 2), epoch=200)
    assert made.on_lease(newer.whole.lease, 0.0) == Step(need=LoadSnapshot())
    step = made.on_snapshot(newer.whole.snapshot)
    assert step.changed == {A, RecordKey("endpoints/demo/b")}
    assert made.version == Version(200, 0)


def test_an_old_epoch_never_comes_back() -> None:
    """Batches, leases and manifests of an epoch that is over are refused wherever they come from."""
    old, new = Speaker(gateway()), Speaker(gateway(port=2), epoch=200)
    made = reader(new)
    made.on_lease(new.beat(), 0.0)
    assert reasons(made.on_batch(old.say(gateway(port=1)))) == [Reason.REPLAYED]
    assert reasons(made.on_lease(old.beat(), 9.0)) == [Reason.REPLAYED]
    assert reasons(made.on_stored_lease(old.beat(), 9.0)) == [Reason.REPLAYED]
    assert reasons(made.on_snapshot(old.whole.snapshot)) == [Reason.REPLAYED]
    assert not made.fresh(9.0)
    assert dict(made.records) == by_key(gateway(port=2))


def test_an_older_manifest_put_back_is_replayed() -> None:
    """Within an epoch too, a snapshot older than one that was read before is named, and read no further."""
    speaker = Speaker(endpoints("a", 1))
    made = reader(speaker)
    speaker.say(endpoints("a", 2))
    made.on_snapshot(speaker.snapshot())
    assert reasons(made.on_snapshot(speaker.whole.snapshot)) == [Reason.REPLAYED]
    assert dict(made.records) == by_key(endpoints("a", 2))


def test_an_old_batch_sent_again_is_replayed() -> None:
    """What the channel already passed it can't bring again: the attempt is named, the state stays."""
    speaker = Speaker(endpoints("a", 1))
    made = reader(speaker)
    first, second = speaker.say(endpoints("a", 2)), speaker.say(endpoints("a", 3))
    made.on_batch(first)
    made.on_batch(second)
    for blob in (first, second):
        assert reasons(made.on_batch(blob)) == [Reason.REPLAYED]
    assert dict(made.records) == by_key(endpoints("a", 3))


def test_an_old_batch_behind_a_beat_is_replayed() -> None:
    """A beat counts all batches before it, so that none of these may follow, even where none was heard."""
    speaker = Speaker(endpoints("a", 1))
    old = speaker.say(endpoints("a", 2))
    speaker.say(endpoints("a", 3))
    made = Replica(EAST, CLUSTERSET, lease_seconds=3.0)
    made.on_snapshot(speaker.snapshot())
    made.on_lease(speaker.beat(), 0.0)
    assert reasons(made.on_batch(old)) == [Reason.REPLAYED]


def test_an_overlap_of_channel_and_log_is_no_replay() -> None:
    """Messages that were on their way while the log was read are dropped without a word."""
    speaker = Speaker(endpoints("a", 1))
    made = reader(speaker)
    batches = tuple(speaker.say(endpoints("a", ready)) for ready in (2, 3, 4))
    made.on_log(batches)
    for blob in batches:
        assert made.on_batch(blob) == Step()
    assert made.version == Version(100, 3)


def test_an_overlap_of_lease_key_and_channel_is_no_replay() -> None:
    """A beat that was read from its key before it arrived is known, and no news."""
    speaker = Speaker(gateway())
    made = reader(speaker)
    beat = speaker.beat()
    made.on_connected(beat, 0.0)
    assert made.on_lease(beat, 5.0) == Step()
    assert not made.fresh(5.0)


def test_a_beat_sent_again_keeps_nobody_alive() -> None:
    """Only a new beat renews; an old one on the channel is a replay."""
    speaker = Speaker(gateway())
    made = reader(speaker)
    beat = speaker.beat()
    made.on_lease(beat, 0.0)
    assert reasons(made.on_lease(beat, 2.0)) == [Reason.REPLAYED]
    assert made.fresh(3.0)
    assert not made.fresh(3.1)


def test_a_lease_accepted_before_a_restart_is_no_sign_of_life() -> None:
    """After a restart only a beat newer than the saved one renews, wherever the older ones come from."""
    speaker = Speaker(gateway())
    old, saved, new = speaker.beat(), speaker.beat(), speaker.beat()
    made = reader(speaker)
    assert made.on_saved_lease(saved) == Step()
    assert made.on_connected(saved, 0.0) == Step()
    assert reasons(made.on_connected(old, 0.0)) == [Reason.REPLAYED]
    assert made.on_lease(old, 0.0) == Step()
    assert made.on_lease(saved, 0.0) == Step()
    assert not made.fresh(0.0)
    assert made.lease == saved
    made.on_lease(new, 1.0)
    assert made.fresh(4.0)
    assert made.lease == new


def test_a_saved_lease_tells_what_was_not_saved() -> None:
    """What its member had published by then is asked for, though the lease is no news."""
    speaker = Speaker(gateway())
    made = reader(speaker)
    speaker.say(gateway(port=1))
    saved = speaker.beat()
    assert made.on_saved_lease(saved) == Step()
    assert not made.current
    assert made.on_connected(saved, 0.0) == Step(need=LoadLog(Version(100, 0)))


def test_a_saved_lease_of_another_key_is_refused() -> None:
    """It is measured by nothing, and the genuine ones count."""
    speaker = Speaker(gateway())
    made = reader(speaker)
    payload = encode_beat(Beat(1_000_000, 0))
    forged = sign(Envelope(BlobKind.LEASE, EAST.cluster, Version(100, 0), payload), CLUSTERSET, key_of("west"))
    assert reasons(made.on_saved_lease(forged)) == [Reason.BAD_SIGNATURE]
    assert made.lease is None
    made.on_lease(speaker.beat(), 0.0)
    assert made.fresh(0.0)


def test_log_entries_that_were_applied_are_replayed() -> None:
    """A log that answers with what was not asked for is named; the rest of the answer counts."""
    speaker = Speaker(endpoints("a", 1))
    made = reader(speaker)
    first, second = speaker.say(endpoints("a", 2)), speaker.say(endpoints("a", 3))
    made.on_batch(first)
    step = made.on_log((first, second))
    assert reasons(step) == [Reason.REPLAYED]
    assert step.changed == {A}


@pytest.mark.parametrize("damage", ["missing", "changed", "exchanged"])
def test_an_incomplete_snapshot_changes_nothing(damage: str) -> None:
    """A shard that is missing, damaged or another one refuses the whole read."""
    made = reader(Speaker(gateway(), bundle(1)))
    newer = Speaker(gateway(port=2), bundle(2), epoch=200).whole.snapshot
    shards = dict(newer.shards)
    one, two = shards
    if damage == "missing":
        del shards[one]
    elif damage == "changed":
        shards[one] = shards[one][:-1] + b"?"
    else:
        shards[one] = shards[two]
    step = made.on_snapshot(StoredSnapshot(newer.manifest, shards))
    assert reasons(step) == [Reason.INCOMPLETE]
    assert step.need is None
    assert dict(made.records) == by_key(gateway(), bundle(1))
    assert made.on_snapshot(newer).changed == {GATEWAY_KEY, BUNDLE_KEY}


def batch(version: Version, records: dict[RecordKey, bytes]) -> bytes:
    envelope = Envelope(BlobKind.BATCH, EAST.cluster, version, encode_batch(Changes(records, ())))
    return sign(envelope, CLUSTERSET, key_of("east"))


def test_a_bad_record_harms_only_itself() -> None:
    """In a good batch a bad record is named, keeps its last good, and the others are applied."""
    speaker = Speaker(endpoints("a", 1))
    made = reader(speaker)
    good = speaker.say(endpoints("a", 1), endpoints("b", 1))
    made.on_batch(good)
    bad = batch(Version(100, 2), {A: b"junk", RecordKey("policy/demo/x"): b"new"})
    step = made.on_batch(bad)
    assert sorted(reasons(step)) == [Reason.MALFORMED, Reason.UNKNOWN_KIND]
    assert step.changed == frozenset()
    assert made.version == Version(100, 2)
    assert dict(made.records) == by_key(endpoints("a", 1), endpoints("b", 1))


def test_an_unreadable_batch_leads_to_the_snapshot() -> None:
    """A signed batch that can't be read is named, and what it said is looked for in the snapshot."""
    made = reader(Speaker(gateway()))
    envelope = Envelope(BlobKind.BATCH, EAST.cluster, Version(100, 1), b"junk")
    step = made.on_batch(sign(envelope, CLUSTERSET, key_of("east")))
    assert reasons(step) == [Reason.MALFORMED]
    assert step.need == LoadSnapshot()


@pytest.mark.parametrize("sequence", [4, 5])
def test_a_bundle_never_goes_back(sequence: int) -> None:
    """A smaller sequence, or another bundle with the same, is refused even under a newer epoch."""
    made = reader(Speaker(bundle(5), gateway()))
    newer = Speaker(bundle(sequence, authority=b"other"), gateway(port=2), epoch=200)
    step = made.on_snapshot(newer.whole.snapshot)
    assert reasons(step) == [Reason.BUNDLE_ROLLBACK]
    assert dict(made.records) == by_key(bundle(5), gateway(port=2))


def test_a_withdrawn_bundle_never_goes_back_either() -> None:
    """Removing a bundle does not open the way for an older one."""
    speaker = Speaker(bundle(5), gateway())
    made = reader(speaker)
    made.on_batch(speaker.say(gateway()))
    assert BUNDLE_KEY not in made.records
    assert reasons(made.on_batch(speaker.say(gateway(), bundle(4)))) == [Reason.BUNDLE_ROLLBACK]
    assert made.on_batch(speaker.say(gateway(), bundle(6))).changed == {BUNDLE_KEY}


def test_a_forged_batch_is_refused() -> None:
    """Signed by another member, or in another's name: refused, and nothing else happens."""
    made = reader(Speaker(gateway()))
    envelope = Envelope(BlobKind.BATCH, EAST.cluster, Version(100, 1), encode_batch(Changes({}, ())))
    assert reasons(made.on_batch(sign(envelope, CLUSTERSET, key_of("west")))) == [Reason.BAD_SIGNATURE]
    theirs = replace(envelope, cluster=member_of("west").cluster)
    assert reasons(made.on_batch(sign(theirs, CLUSTERSET, key_of("west")))) == [Reason.WRONG_MEMBER]
    assert reasons(made.on_message(b"junk", 0.0)) == [Reason.MALFORMED]
    assert made.version == Version(100, 0)


def test_silence_of_the_exchange_is_not_silence_of_the_member() -> None:
    """While nothing can be heard freshness stands still; heard again, the living get a whole lease to show it."""
    speaker = Speaker(gateway())
    made = reader(speaker)
    made.on_lease(speaker.beat(), 0.0)
    made.on_disconnected(2.0)
    assert made.fresh(1000.0)
    assert made.stale_at() is None
    made.on_connected(None, 1000.0)
    assert made.fresh(1003.0)
    assert not made.fresh(1003.1)


def test_the_dead_stay_dead_when_the_exchange_returns() -> None:
    """A member that was silent before the exchange was is not revived by its return."""
    speaker = Speaker(gateway())
    made = reader(speaker)
    made.on_lease(speaker.beat(), 0.0)
    made.on_disconnected(4.0)
    made.on_connected(None, 5.0)
    assert not made.fresh(5.0)


def test_on_return_the_lease_tells_whether_anything_was_missed() -> None:
    """A lease with the known head needs no read; without one, snapshot and log are asked."""
    speaker = Speaker(gateway())
    made = reader(speaker)
    assert made.on_connected(speaker.beat(), 0.0) == Step()
    assert made.on_connected(None, 0.0) == Step(need=LoadSnapshot())
    assert made.on_snapshot(speaker.whole.snapshot) == Step(need=LoadLog(Version(100, 0)))
    assert made.on_log(()) == Step()


def test_a_beat_that_was_read_before_asks_again_for_what_is_missing() -> None:
    """Where the read that a beat asked for failed, the same beat asks once more, and is no second sign of life."""
    speaker = Speaker(gateway())
    made = Replica(EAST, CLUSTERSET, lease_seconds=3.0)
    assert made.on_connected(speaker.whole.lease, 0.0) == Step(need=LoadSnapshot())
    assert made.on_connected(speaker.whole.lease, 2.0) == Step(need=LoadSnapshot())
    assert not made.fresh(4.0)


def test_a_picture_does_not_change_behind_its_reader() -> None:
    """Records that were handed out stay as they were."""
    speaker = Speaker(endpoints("a", 1))
    made = reader(speaker)
    before = made.records
    made.on_batch(speaker.say(endpoints("a", 2)))
    assert dict(before) == by_key(endpoints("a", 1))
    assert made.records is made.records


def test_a_member_can_not_fill_the_memory_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records beyond the limit are refused, known ones go on."""
    monkeypatch.setattr(replica_module, "MAX_MEMBER_RECORDS", 1)
    speaker = Speaker(endpoints("a", 1))
    made = reader(speaker)
    step = made.on_batch(speaker.say(endpoints("a", 2), endpoints("b", 1)))
    assert reasons(step) == [Reason.OVERSIZED]
    assert dict(made.records) == by_key(endpoints("a", 2))


def test_the_records_of_a_member_have_a_bound_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record that does not fit is refused by name; what is removed or replaced makes room."""
    speaker = Speaker(gateway())
    made = reader(speaker)
    monkeypatch.setattr(replica_module, "_MAX_HELD_BYTES", made._held_bytes + 20)
    many = made.on_batch(speaker.say(gateway(), *(endpoints(f"s{number}", 1) for number in range(5))))
    assert set(reasons(many)) == {Reason.OVERSIZED}
    assert GATEWAY_KEY in made.records
    assert reasons(made.on_batch(speaker.say(gateway()))) == []
    assert made.on_batch(speaker.say(gateway(), endpoints("a", 1))) == Step(frozenset({A}))
    assert made.on_batch(speaker.say(gateway(), endpoints("a", 2))) == Step(frozenset({A}))
