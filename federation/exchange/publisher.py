"""Publisher: what this member has said and has yet to say; records in, signed blobs for the exchange out.

It holds the published records in encoded form, and the difference to the desired ones is the next batch. An
operation is *offered* until the caller says that the exchange took it, so that one whose outcome is unknown
is offered again, byte for byte. Whatever shows that the exchange lost or never had our data ends in ``lost``:
the next publication is whole and has a new epoch. Pure: no I/O, no clock; ``now`` is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from federation.exchange.base import Rejected, StoredSnapshot, Written
from federation.exchange.payloads import (
    SHARDS,
    Beat,
    Changes,
    digest,
    encode_batch,
    encode_beat,
    encode_manifest,
    encode_shard,
    shard_of,
)
from federation.exchange.signing import BlobKind, Envelope, MemberKey, open_envelope, sign
from federation.model.errors import WireError
from federation.model.names import RecordKey
from federation.model.records import Member, Record, Version
from federation.model.wire import (
    MAX_BATCH_BYTES,
    MAX_BATCH_RECORDS,
    MAX_MEMBER_BYTES,
    MAX_MEMBER_RECORDS,
    MAX_SHARD_BYTES,
    Reason,
    encode_record,
)

_RECORD_OVERHEAD_BYTES = 16  # msgpack heads of key and data
_SHARD_OVERHEAD_BYTES = 64  # heads of the maps and lists around them


@dataclass(frozen=True, slots=True)
class Batch:
    """One entry of the log, offered to the exchange."""

    version: Version
    blob: bytes


@dataclass(frozen=True, slots=True)
class Replacement:
    """A whole publication under a new epoch."""

    version: Version
    snapshot: StoredSnapshot
    lease: bytes
    signed_by: bytes
    """The public key that holds for all of it."""


@dataclass(frozen=True, slots=True)
class Compaction:
    """The snapshot brought up to the head: a new manifest and the shards that changed since the last."""

    snapshot: StoredSnapshot
    removed: frozenset[int]


class Publisher:
    """The records of one member on their way to the exchange."""

    def __init__(self, member: Member, key: MemberKey, clusterset: str) -> None:
        self.member = member
        self.written: Written | None = None
        """What the exchange took from us; None before the first publication and after a loss."""
        self._key = key
        self._signed_by = key.public  # of the last whole publication
        self._clusterset = clusterset
        self._records: Mapping[RecordKey, Record] | None = None
        self._desired: dict[RecordKey, bytes] = {}
        self._shard_bytes = [0] * SHARDS  # of the desired records
        self._unsaid: set[RecordKey] = set()  # keys that may differ between desired and published
        self._published: dict[RecordKey, bytes] = {}  # counts the batch on offer as published
        self._dirty: set[int] = set()
        self._digests: dict[int, bytes] = {}
        self._batch: Batch | None = None
        self._compaction: Compaction | None = None
        self._beats = 0

    @property
    def ready(self) -> bool:
        """Whether a desired set was given: before that we know nothing, which is not the same as having
        nothing."""
        return self._records is not None

    @property
    def settled(self) -> bool:
        """Whether the exchange took all that is desired, signed with the present key."""
        written = self.written is not None and not self.rekeyed
        return written and self._batch is None and self._published == self._desired

    @property
    def rekeyed(self) -> bool:
        """Whether the whole publication that stands was signed with another key than the present one."""
        return self.written is not None and self._signed_by != self._key.public

    def rekey(self, member: Member, key: MemberKey) -> None:
        """Sign with ``key`` from now on. What is on offer stays as it was signed: its outcome may be unknown."""
        self.member = member
        self._key = key

    def desire(self, records: Mapping[RecordKey, Record]) -> tuple[Rejected, ...]:
        """Take the whole desired set; a record that peers would refuse is named, and stays as it was.

        Costs a look at each record, and work for those that are other objects than last time.
        """
        before = self._records or {}
        rejected: list[Rejected] = []
        for key, record in records.items():
            last = before.get(key)
            if last is record or last == record:
                continue
            try:
                self._want(key, self._encode(key, record))
            except WireError as error:
                rejected.append(Rejected(self.member.cluster, error.reason, str(error), key))
        for key in self._desired.keys() - records.keys():
            self._want(key, None)
        self._records = dict(records)
        return tuple(rejected)

    def next_epoch(self, now_ms: int, known: Iterable[int]) -> int:
        """An epoch later than every one that is known to have been used; ``now_ms`` unless the clock went
        back."""
        return max([now_ms, *(epoch + 1 for epoch in known)])

    def epoch_of(self, kind: BlobKind, blob: bytes | None) -> int:
        """The epoch of a manifest or lease that is stored under our name; 0 where it is not our word."""
        if blob is None:
            return 0
        try:
            return open_envelope(blob, kind, self.member, self._clusterset).version.epoch
        except WireError:
            return 0

    def replacement(self, epoch: int, wall_ms: int) -> Replacement:
        """Everything that is desired, as the first word of ``epoch``; take effect with ``replaced``."""
        version = Version(epoch, 0)
        shards = self._shards(version, self._desired, range(SHARDS))
        manifest = self._manifest(version, {number: digest(blob) for number, blob in shards.items()})
        lease = self._lease(version, wall_ms)
        return Replacement(version, StoredSnapshot(manifest, shards), lease, self._key.public)

    def replaced(self, replacement: Replacement) -> None:
        """The exchange took the replacement, which was made since the last ``desire``."""
        snapshot = replacement.snapshot
        self.written = Written(snapshot.manifest, frozenset(snapshot.shards), replacement.version)
        self._signed_by = replacement.signed_by
        self._published = dict(self._desired)
        self._unsaid.clear()
        self._digests = {number: digest(blob) for number, blob in snapshot.shards.items()}
        self._dirty.clear()
        self._batch = self._compaction = None

    def lost(self) -> None:
        """The exchange does not hold what we wrote: everything has to be published again."""
        self.written = None

    def batch(self) -> Batch | None:
        """The next batch on the way to the desired set; None when all is said. Offered until ``appended``."""
        if self.written is None or self._batch is not None:
            return self._batch
        changes = self._changes()
        if changes is None:
            return None
        head = self.written.head
        version = Version(head.epoch, head.seq + 1)
        self._batch = Batch(version, self._sign(BlobKind.BATCH, version, encode_batch(changes)))
        self._published |= changes.upserts
        for key in changes.deletes:
            del self._published[key]
        self._dirty |= {shard_of(key) for key in (*changes.upserts, *changes.deletes)}
        return self._batch

    def appended(self) -> None:
        """The exchange took the batch on offer."""
        if self.written is not None and self._batch is not None:
            self.written = replace(self.written, head=self._batch.version)
        self._batch = None

    def compaction(self) -> Compaction | None:
        """The next update of the snapshot; None when it is up to date. Offered until ``compacted``."""
        if self.written is None or self._batch is not None:
            return None
        if self._compaction is None and self._dirty:
            head = self.written.head
            shards = self._shards(head, self._published, self._dirty)
            digests = {number: at for number, at in self._digests.items() if number not in self._dirty}
            digests |= {number: digest(blob) for number, blob in shards.items()}
            removed = frozenset((self._dirty - shards.keys()) & self.written.shards)
            self._compaction = Compaction(StoredSnapshot(self._manifest(head, digests), shards), removed)
            self._digests = digests
            self._dirty.clear()
        return self._compaction

    @property
    def compacting(self) -> bool:
        """Whether a compaction is on offer: then nothing else may be written before it is settled."""
        return self._compaction is not None

    def compacted(self) -> None:
        """The exchange took the compaction on offer."""
        if self.written is not None and self._compaction is not None:
            manifest = self._compaction.snapshot.manifest
            self.written = replace(self.written, manifest=manifest, shards=frozenset(self._digests))
        self._compaction = None

    def holds(self, stored: StoredSnapshot | None) -> bool:
        """Whether our own snapshot, as it was read, is what we wrote. Not to be asked while ``compacting``."""
        if self.written is None or stored is None or stored.manifest != self.written.manifest:
            return False
        return {number: digest(blob) for number, blob in stored.shards.items()} == self._digests

    def lease(self, wall_ms: int) -> bytes | None:
        """The next beat of the lease, with the head of the log; None while nothing is published."""
        return None if self.written is None else self._lease(self.written.head, wall_ms)

    def _encode(self, key: RecordKey, record: Record) -> bytes:
        if record.record_key != key:
            raise WireError(Reason.WRONG_KEY, f"{key} holds the record {record.record_key}")
        if key not in self._desired and len(self._desired) >= MAX_MEMBER_RECORDS:
            raise WireError(Reason.OVERSIZED, f"{key} is one record more than {MAX_MEMBER_RECORDS}")
        return encode_record(record, self.member)

    def _want(self, key: RecordKey, data: bytes | None) -> None:
        """Make ``data`` the desired bytes of ``key``; raises WireError where the key's shard can't hold them."""
        number = shard_of(key)
        last = self._desired.get(key)
        size = self._shard_bytes[number] - _size(key, last) + _size(key, data)
        if data is not None and size > MAX_SHARD_BYTES - _SHARD_OVERHEAD_BYTES:
            raise WireError(Reason.OVERSIZED, f"{key} does not fit: shard {number} is full")
        if data is not None and size + sum(self._shard_bytes) - self._shard_bytes[number] > MAX_MEMBER_BYTES:
            raise WireError(Reason.OVERSIZED, f"{key} does not fit: all records have {MAX_MEMBER_BYTES} bytes at most")
        self._shard_bytes[number] = size
        if data is None:
            del self._desired[key]
        else:
            self._desired[key] = data
        self._unsaid.add(key)

    def _changes(self) -> Changes | None:
        upserts: dict[RecordKey, bytes] = {}
        deletes: list[RecordKey] = []
        size = 0
        for key in sorted(self._unsaid):
            data = self._desired.get(key)
            if data != self._published.get(key):
                size += _size(key, data or b"")
                if size > MAX_BATCH_BYTES - _SHARD_OVERHEAD_BYTES:
                    break
                if len(upserts) + len(deletes) == MAX_BATCH_RECORDS:
                    break
                if data is None:
                    deletes.append(key)
                else:
                    upserts[key] = data
            self._unsaid.remove(key)
        return Changes(upserts, tuple(deletes)) if upserts or deletes else None

    def _shards(self, version: Version, records: Mapping[RecordKey, bytes], numbers: Iterable[int]) -> dict[int, bytes]:
        content: dict[int, dict[RecordKey, bytes]] = {number: {} for number in numbers}
        for key in sorted(records):
            if (shard := content.get(shard_of(key))) is not None:
                shard[key] = records[key]
        return {
            number: self._sign(BlobKind.SHARD, version, encode_shard(number, shard))
            for number, shard in content.items()
            if shard
        }

    def _manifest(self, version: Version, digests: Mapping[int, bytes]) -> bytes:
        return self._sign(BlobKind.MANIFEST, version, encode_manifest(digests))

    def _lease(self, head: Version, wall_ms: int) -> bytes:
        self._beats += 1
        return self._sign(BlobKind.LEASE, head, encode_beat(Beat(self._beats, wall_ms)))

    def _sign(self, kind: BlobKind, version: Version, payload: bytes) -> bytes:
        envelope = Envelope(kind, self.member.cluster, version, payload)
        return sign(envelope, self._clusterset, self._key)


def _size(key: RecordKey, data: bytes | None) -> int:
    return 0 if data is None else len(key.encode()) + len(data) + _RECORD_OVERHEAD_BYTES
