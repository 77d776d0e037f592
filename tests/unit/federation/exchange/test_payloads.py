"""Payloads: they survive encoding, and refuse what stands in the wrong place."""

from __future__ import annotations

import msgspec
import pytest

from federation.exchange.payloads import (
    Beat,
    Changes,
    decode_batch,
    decode_beat,
    decode_manifest,
    decode_shard,
    digest,
    encode_batch,
    encode_beat,
    encode_manifest,
    encode_shard,
    shard_of,
)
from federation.model.errors import WireError
from federation.model.names import RecordKey
from federation.model.wire import MAX_BATCH_RECORDS, Reason

A, B = RecordKey("export/demo/a"), RecordKey("export/demo/b")


def test_payloads_survive_encoding() -> None:
    """Batches, shards, manifests and beats decode to what was encoded."""
    changes = Changes({A: b"1"}, (B,))
    assert changes == decode_batch(encode_batch(changes))
    assert decode_shard(shard_of(A), encode_shard(shard_of(A), {A: b"1"})) == {A: b"1"}
    assert {3: digest(b"x")} == decode_manifest(encode_manifest({3: digest(b"x")}))
    assert Beat(4, 5) == decode_beat(encode_beat(Beat(4, 5)))


def test_fields_of_a_newer_minor_schema_are_ignored() -> None:
    """A payload with more fields is read without them."""
    assert Changes({A: b"1"}, ()) == decode_batch(msgspec.msgpack.encode([{A: b"1"}, [], "new"]))
    assert Beat(4, 5) == decode_beat(msgspec.msgpack.encode([4, 5, "new"]))


def test_the_shard_of_a_key_never_changes() -> None:
    """Shard numbers are a promise to peers."""
    assert (shard_of(RecordKey("gateway")), shard_of(A), shard_of(RecordKey("bundle"))) == (63, 22, 61)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"junk", Reason.MALFORMED),
        (encode_batch(Changes({A: b""}, (A,))), Reason.MALFORMED),
        (encode_batch(Changes({}, (A, A))), Reason.MALFORMED),
        (encode_batch(Changes({RecordKey("x" * 200): b""}, ())), Reason.MALFORMED),
        (
            encode_batch(Changes({}, tuple(RecordKey(f"k{i}") for i in range(MAX_BATCH_RECORDS + 1)))),
            Reason.OVERSIZED,
        ),
    ],
)
def test_unsound_batches_are_refused(payload: bytes, reason: Reason) -> None:
    """A batch that contradicts itself or the limits is refused as a whole."""
    with pytest.raises(WireError) as caught:
        decode_batch(payload)
    assert reason == caught.value.reason


def test_a_shard_holds_its_own_keys_only() -> None:
    """A shard under another number, or with another's key, is refused."""
    for payload in (encode_shard(9, {}), encode_shard(8, {A: b""}), b"junk"):
        with pytest.raises(WireError):
            decode_shard(8, payload)


def test_a_manifest_names_possible_shards_only() -> None:
    """There are 64 shards."""
    for payload in (encode_manifest({64: b""}), encode_manifest({-1: b""}), b"junk"):
        with pytest.raises(WireError):
            decode_manifest(payload)
