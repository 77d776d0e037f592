"""What stands inside the envelopes: changes of a batch, records of a shard, hashes of a manifest, a beat.

Records stay encoded here, each in a byte string of its own, so that one bad record harms nothing beside it.
Pure; the envelopes are signing's business, the records' own form is federation.model.wire's.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from federation.model.errors import WireError
from federation.model.names import RecordKey
from federation.model.wire import MAX_BATCH_RECORDS, MAX_KEY_CHARS, UNREADABLE, Reason

SHARDS = 64


@dataclass(frozen=True, slots=True)
class Changes:
    """What one batch changes, in encoded form."""

    upserts: Mapping[RecordKey, bytes]
    deletes: tuple[RecordKey, ...]


@dataclass(frozen=True, slots=True)
class Beat:
    """One renewal of a lease."""

    number: int
    """Grows with each renewal of an epoch."""
    wall_ms: int
    """The member's own clock, Unix milliseconds: shows skew, decides nothing."""


class _Batch(msgspec.Struct, array_like=True):
    upserts: dict[RecordKey, bytes]
    deletes: list[RecordKey]


class _Shard(msgspec.Struct, array_like=True):
    number: int
    records: dict[RecordKey, bytes]


class _Manifest(msgspec.Struct, array_like=True):
    shards: dict[int, bytes]


class _Lease(msgspec.Struct, array_like=True):
    beat: int
    wall_ms: int


_encoder = msgspec.msgpack.Encoder()
_batches = msgspec.msgpack.Decoder(_Batch)
_shards = msgspec.msgpack.Decoder(_Shard)
_manifests = msgspec.msgpack.Decoder(_Manifest)
_leases = msgspec.msgpack.Decoder(_Lease)


def shard_of(key: RecordKey) -> int:
    """The shard, 0 to 63, that holds ``key``: a promise to peers, not to be changed within a major schema."""
    return zlib.crc32(key.encode()) % SHARDS


def digest(blob: bytes) -> bytes:
    """What a manifest says of a shard: the SHA-256 of its blob."""
    return hashlib.sha256(blob).digest()


def encode_batch(changes: Changes) -> bytes:
    return _encoder.encode(_Batch(dict(changes.upserts), list(changes.deletes)))


def decode_batch(payload: bytes) -> Changes:
    """Read a batch's payload; raises WireError, which concerns the batch as a whole."""
    try:
        batch = _batches.decode(payload)
    except UNREADABLE as error:
        raise WireError(Reason.MALFORMED, "batch is unreadable") from error
    if len(batch.upserts) + len(batch.deletes) > MAX_BATCH_RECORDS:
        raise WireError(Reason.OVERSIZED, f"batch has more than {MAX_BATCH_RECORDS} records")
    keys = {*batch.upserts, *batch.deletes}
    if len(keys) < len(batch.upserts) + len(batch.deletes) or any(len(key) > MAX_KEY_CHARS for key in keys):
        raise WireError(Reason.MALFORMED, "batch has an overlong key, or one key twice")
    return Changes(batch.upserts, tuple(batch.deletes))


def encode_shard(number: int, records: Mapping[RecordKey, bytes]) -> bytes:
    return _encoder.encode(_Shard(number, dict(records)))


def decode_shard(number: int, payload: bytes) -> dict[RecordKey, bytes]:
    """Read the payload of shard ``number``; raises WireError where it is another's, in part or whole."""
    try:
        shard = _shards.decode(payload)
    except UNREADABLE as error:
        raise WireError(Reason.MALFORMED, f"shard {number} is unreadable") from error
    if shard.number != number or any(shard_of(key) != number or len(key) > MAX_KEY_CHARS for key in shard.records):
        raise WireError(Reason.MALFORMED, f"shard {number} holds what belongs elsewhere")
    return shard.records


def encode_manifest(shards: Mapping[int, bytes]) -> bytes:
    """``shards``: digest by number, of the shards that hold anything."""
    return _encoder.encode(_Manifest(dict(sorted(shards.items()))))


def decode_manifest(payload: bytes) -> Mapping[int, bytes]:
    """The digests by shard number; raises WireError."""
    try:
        manifest = _manifests.decode(payload)
    except UNREADABLE as error:
        raise WireError(Reason.MALFORMED, "manifest is unreadable") from error
    if any(not 0 <= number < SHARDS for number in manifest.shards):
        raise WireError(Reason.MALFORMED, "manifest names a shard that can't be")
    return manifest.shards


def encode_beat(beat: Beat) -> bytes:
    return _encoder.encode(_Lease(beat.number, beat.wall_ms))


def decode_beat(payload: bytes) -> Beat:
    """Read a lease's payload; raises WireError."""
    try:
        lease = _leases.decode(payload)
    except UNREADABLE as error:
        raise WireError(Reason.MALFORMED, "lease is unreadable") from error
    return Beat(lease.beat, lease.wall_ms)
