"""Replica: what one peer said, as far as it can be proved; bytes in, changed keys and needs out.

It is fed by two roads. The *channel* is fast, ordered and may lose messages; *reads* (snapshot, log, lease
key) are whole but may run ahead of the channel. From that follows how a replay is told from an overlap:

- what comes on the channel must be newer than all that came on the channel before, else it is Replayed;
- what comes on the channel, is newer than that, and yet not newer than what a read already gave, is an
  overlap and is dropped without a word;
- what a read gives must not be older than an earlier answer to the same question, nor of an older epoch
  than was accepted, else it is Replayed.

Nothing is ever shown older than it was shown before, and an incomplete read empties nothing. The caller
must feed the answer to a need before the channel messages that arrived since. Pure: no I/O, no clock.

A lease is a sign of life once, and only if it is newer than all that were accepted, also before a restart as
far as the newest of them was saved. What stays possible for whoever controls the exchange is to hold back
genuine leases and to hand them out late, each once: those that this reader never accepted, and after a crash
those that it accepted since the last was saved (all of the epoch where nothing is saved). So a dead member
can seem to live as long as that supply lasts. Hence the lease is one of two signals, and the other does not
come from the exchange.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from federation.exchange.base import Rejected, StoredSnapshot
from federation.exchange.payloads import decode_batch, decode_beat, decode_manifest, decode_shard, digest
from federation.exchange.signing import BlobKind, Envelope, kind_of, open_envelope
from federation.model.errors import WireError
from federation.model.names import BUNDLE_KEY, RecordKey
from federation.model.records import BundleRecord, Member, Record, Version
from federation.model.wire import MAX_MEMBER_BYTES, MAX_MEMBER_RECORDS, Reason, decode_record

_MAX_HELD_BYTES = 2 * MAX_MEMBER_BYTES
"""A batch that exchanges everything holds the new before the old is dropped."""


@dataclass(frozen=True, slots=True)
class LoadLog:
    """Read the log from ``after`` on and feed it to ``on_log``."""

    after: Version


@dataclass(frozen=True, slots=True)
class LoadSnapshot:
    """Read the snapshot and feed it to ``on_snapshot``, or to ``on_absent``."""


Need = LoadLog | LoadSnapshot


@dataclass(frozen=True, slots=True)
class Step:
    """What one event came to."""

    changed: frozenset[RecordKey] = frozenset()
    rejected: tuple[Rejected, ...] = ()
    need: Need | None = None
    applied: tuple[bytes, ...] = field(default=(), compare=False)
    """The batches that were applied, one version each, in order: what may be kept to be applied again."""


class Replica:
    """The accepted records of one peer member.

    Every need is met by one read; a read leads to another need only if it made progress or if the snapshot
    is the last resort, so that meeting needs always ends. What is still missing then is asked for again at
    the next lease beat.
    """

    def __init__(self, member: Member, clusterset: str, *, lease_seconds: float) -> None:
        self.member = member
        """Whose word is believed, and by which keys. May be replaced by the same member with other keys: what was
        accepted under the earlier ones stays."""
        self.version: Version | None = None
        self.synced = False
        self.head: Version | None = None
        """The latest version that the member is known to have published."""
        self.lease: bytes | None = None
        """The newest lease accepted, as it was signed."""
        self._clusterset = clusterset
        self._lease_seconds = lease_seconds
        self._records: dict[RecordKey, Record] = {}
        self._encoded: dict[RecordKey, bytes] = {}
        self._held_bytes = 0
        self._bundle: BundleRecord | None = None  # stays when the record is deleted: the sequence never goes back
        self._manifest: Version | None = None
        self._lease: tuple[int, int] | None = None  # epoch and beat of ``lease``
        self._channel: Version | None = None  # the newest version that the channel has shown
        self._channel_lease: tuple[int, int] | None = None
        self._heard_at: float | None = None
        self._deaf_since: float | None = None
        self._log_due = False  # the log was not read since the exchange was last heard again
        self._picture: Mapping[RecordKey, Record] | None = None

    @property
    def records(self) -> Mapping[RecordKey, Record]:
        """The accepted records: a picture that later events leave as it is."""
        if self._picture is None:
            self._picture = dict(self._records)
        return self._picture

    def fresh(self, now: float) -> bool:
        """Whether the lease was renewed in time, counting only the time in which the exchange could be
        heard."""
        at = now if self._deaf_since is None else self._deaf_since
        return self._heard_at is not None and at - self._heard_at <= self._lease_seconds

    def stale_at(self) -> float | None:
        """When the lease will have run out if no beat comes; None where it has, or where nothing can be
        heard."""
        if self._heard_at is None or self._deaf_since is not None:
            return None
        return self._heard_at + self._lease_seconds

    @property
    def current(self) -> bool:
        """Whether all that the member is known to have published was accepted."""
        return self.version is not None and self.version == self.head

    def on_disconnected(self, now: float) -> None:
        """The exchange can't be heard from now on: silence says nothing about the member."""
        if self._deaf_since is None:
            self._deaf_since = now

    def on_connected(self, lease: bytes | None, now: float) -> Step:
        """The channel is heard again; ``lease`` is what the lease key held after that. Asks for what was
        missed.

        Whoever was alive when the exchange fell silent gets a whole lease to show that it still is.
        """
        if self._deaf_since is not None and self.fresh(now):
            self._heard_at = now
        self._deaf_since = None
        self._log_due = True
        step = Step() if lease is None else self.on_stored_lease(lease, now)
        if lease is None or step.rejected:
            return Step(rejected=step.rejected, need=LoadSnapshot())
        return step

    def on_message(self, blob: bytes, now: float) -> Step:
        """A message of the member's channel: a batch or a lease."""
        try:
            kind = kind_of(blob)
        except WireError as error:
            return self._refuse(error)
        return self.on_lease(blob, now) if kind is BlobKind.LEASE else self.on_batch(blob)

    def on_batch(self, blob: bytes) -> Step:
        """A batch from the channel: applied at once if it is the next, else the reason to read what lies
        between."""
        try:
            envelope = self._open(blob, BlobKind.BATCH)
        except WireError as error:
            return self._refuse(error)
        version = envelope.version
        if self._channel is not None and version <= self._channel:
            return self._replayed("batch", version, self._channel)
        self._channel = version
        self._knows(version)
        if self.version is None or version.epoch > self.version.epoch:
            return Step(need=LoadSnapshot())
        if version <= self.version:
            return Step()
        if version.seq > self.version.seq + 1:
            return Step(need=LoadLog(self.version))
        return self._apply_batch(blob, envelope)

    def on_lease(self, blob: bytes, now: float) -> Step:
        """A lease from the channel: the member lives, and its head shows what was lost on the way."""
        try:
            version, beat = self._open_lease(blob)
        except WireError as error:
            return self._refuse(error)
        if self._channel_lease is not None and beat <= self._channel_lease:
            return self._replayed("lease", version, self._channel)
        self._channel_lease = beat
        # The member sends a lease after the batches it counts, so that none of these may follow it.
        self._channel = version if self._channel is None else max(self._channel, version)
        return self._accept_lease(blob, version, beat, now)

    def on_stored_lease(self, blob: bytes, now: float) -> Step:
        """The lease as its key was read."""
        try:
            version, beat = self._open_lease(blob)
        except WireError as error:
            return self._refuse(error)
        old_epoch = self.version is not None and version.epoch < self.version.epoch
        if old_epoch or (self._lease is not None and beat < self._lease):
            return self._replayed("stored lease", version, self.head)
        return self._accept_lease(blob, version, beat, now)

    def on_saved_lease(self, blob: bytes) -> Step:
        """The newest lease that was accepted before a restart: no sign of life, and none that is not newer is one."""
        try:
            version, self._lease = self._open_lease(blob)
        except WireError as error:
            return self._refuse(error)
        self.lease = blob
        self._knows(version)
        return Step()

    def on_absent(self) -> Step:
        """The member has no snapshot: it never published, or the exchange lost its data; what is known is
        kept."""
        if self.version is None:
            self.synced = True
        return Step()

    def on_snapshot(self, stored: StoredSnapshot) -> Step:
        """The snapshot as it was read: applied as a difference if it is whole, signed, and newer than what
        is shown."""
        try:
            envelope = self._open(stored.manifest, BlobKind.MANIFEST)
            version = envelope.version
            if self.version is not None and version.epoch < self.version.epoch:
                return self._replayed("manifest", version, self.version)
            if self._manifest is not None and version < self._manifest:
                return self._replayed("manifest", version, self._manifest)
            self._manifest = version
            self._knows(version)
            if self.version is not None and version <= self.version:
                return Step(need=LoadLog(self.version) if self._log_due else None)
            encoded = self._open_shards(envelope, stored.shards)
        except WireError as error:
            return self._refuse(error)
        gone = self._encoded.keys() - encoded.keys()
        for key in gone:
            self._drop(key)
        changed, rejected = self._put_all(encoded)
        self._accepted(version)
        self.synced = True
        return Step(frozenset(changed | gone), tuple(rejected), LoadLog(version))

    def verify(self, stored: StoredSnapshot) -> Version:
        """The version of a snapshot that is whole and signed; raises WireError. Changes nothing."""
        manifest = self._open(stored.manifest, BlobKind.MANIFEST)
        self._open_shards(manifest, stored.shards)
        return manifest.version

    def on_log(self, entries: Sequence[bytes]) -> Step:
        """The log's answer to LoadLog: applied as far as it is contiguous; the snapshot fills what it
        can't."""
        self._log_due = False
        changed: set[RecordKey] = set()
        rejected: list[Rejected] = []
        applied: list[bytes] = []

        def step(need: Need | None) -> Step:
            return Step(frozenset(changed), tuple(rejected), need, tuple(applied))

        for blob in entries:
            try:
                envelope = self._open(blob, BlobKind.BATCH)
            except WireError as error:
                rejected += self._refuse(error).rejected
                return step(LoadSnapshot())
            self._knows(envelope.version)
            if self.version is not None and envelope.version <= self.version:
                rejected += self._replayed("log entry", envelope.version, self.version).rejected
                continue
            if self.version is None or envelope.version != Version(self.version.epoch, self.version.seq + 1):
                return step(LoadSnapshot())
            one = self._apply_batch(blob, envelope)
            changed |= one.changed
            rejected += one.rejected
            applied += one.applied
        need = self._missed() if self._behind() else None
        return step(need if need is None or applied else LoadSnapshot())

    def _open(self, blob: bytes, kind: BlobKind) -> Envelope:
        return open_envelope(blob, kind, self.member, self._clusterset)

    def _open_lease(self, blob: bytes) -> tuple[Version, tuple[int, int]]:
        envelope = self._open(blob, BlobKind.LEASE)
        return envelope.version, (envelope.version.epoch, decode_beat(envelope.payload).number)

    def _open_shards(self, manifest: Envelope, shards: Mapping[int, bytes]) -> dict[RecordKey, bytes]:
        encoded: dict[RecordKey, bytes] = {}
        for number, expected in decode_manifest(manifest.payload).items():
            blob = shards.get(number)
            if blob is None or digest(blob) != expected:
                state = "missing" if blob is None else "not the one of the manifest"
                raise WireError(Reason.INCOMPLETE, f"shard {number} of {manifest.version} is {state}")
            encoded |= decode_shard(number, self._open(blob, BlobKind.SHARD).payload)
        return encoded

    def _accept_lease(self, blob: bytes, version: Version, beat: tuple[int, int], now: float) -> Step:
        old_epoch = self.version is not None and version.epoch < self.version.epoch
        if old_epoch or (self._lease is not None and beat < self._lease):
            return Step()
        # A beat that is read again, because what it asked for was not answered, asks again; it is no sign of life.
        if beat != self._lease:
            self.lease, self._lease = blob, beat
            self._heard_at = now
            self._knows(version)
        return Step(need=self._missed() if self._behind() else None)

    def _apply_batch(self, blob: bytes, envelope: Envelope) -> Step:
        try:
            changes = decode_batch(envelope.payload)
        except WireError as error:
            return Step(rejected=self._refuse(error).rejected, need=LoadSnapshot())
        changed, rejected = self._put_all(changes.upserts)
        for key in changes.deletes:
            if key in self._encoded:
                self._drop(key)
                changed.add(key)
        self._accepted(envelope.version)
        return Step(frozenset(changed), tuple(rejected), applied=(blob,))

    def _put_all(self, encoded: Mapping[RecordKey, bytes]) -> tuple[set[RecordKey], list[Rejected]]:
        changed: set[RecordKey] = set()
        rejected: list[Rejected] = []
        for key, data in encoded.items():
            if self._encoded.get(key) == data:
                continue
            try:
                if key not in self._encoded and len(self._encoded) >= MAX_MEMBER_RECORDS:
                    raise WireError(Reason.OVERSIZED, f"{key} is one record more than {MAX_MEMBER_RECORDS}")
                held = self._held_bytes + len(data) - len(self._encoded.get(key, b""))
                if held > _MAX_HELD_BYTES:
                    raise WireError(Reason.OVERSIZED, f"{key} makes all records more than {_MAX_HELD_BYTES} bytes")
                record = decode_record(key, data, self.member)
                if isinstance(record, BundleRecord):
                    self._check_bundle(record)
            except WireError as error:
                rejected.append(Rejected(self.member.cluster, error.reason, str(error), key))
                continue
            if self._records.get(key) != record:
                changed.add(key)
            self._records[key] = record
            self._encoded[key] = data
            self._held_bytes = held
        return changed, rejected

    def _check_bundle(self, record: BundleRecord) -> None:
        last = self._bundle
        if last is not None and record != last and record.sequence <= last.sequence:
            message = f"{BUNDLE_KEY} has sequence {record.sequence}, after {last.sequence} was accepted"
            raise WireError(Reason.BUNDLE_ROLLBACK, message)
        self._bundle = record

    def _drop(self, key: RecordKey) -> None:
        self._held_bytes -= len(self._encoded[key])
        del self._records[key], self._encoded[key]

    def _accepted(self, version: Version) -> None:
        self.version = version
        self._picture = None

    def _knows(self, version: Version) -> None:
        self.head = version if self.head is None else max(self.head, version)

    def _behind(self) -> bool:
        return self.version is None or (self.head is not None and self.head > self.version)

    def _missed(self) -> Need:
        if self.version is None or (self.head is not None and self.head.epoch > self.version.epoch):
            return LoadSnapshot()
        return LoadLog(self.version)

    def _refuse(self, error: WireError) -> Step:
        return Step(rejected=(Rejected(self.member.cluster, error.reason, str(error)),))

    def _replayed(self, what: str, version: Version, newer: Version | None) -> Step:
        seen = "" if newer is None else f" after {newer.epoch}-{newer.seq} was seen"
        message = f"{what} {version.epoch}-{version.seq} arrived as new{seen}"
        return Step(rejected=(Rejected(self.member.cluster, Reason.REPLAYED, message),))
