"""Envelopes: what opens, and by which name everything else is refused."""

from __future__ import annotations

import pickle
from dataclasses import replace

import msgspec
import pytest

from federation.exchange.signing import BlobKind, Envelope, MemberKey, kind_of, open_envelope, schema_of, sign
from federation.model.errors import TrustError, WireError
from federation.model.records import Member, Version
from federation.model.wire import SCHEMA_MAJOR, SCHEMA_MINOR, Reason
from support.exchange import CLUSTERSET, key_of, member_of

EAST = member_of("east")
ENVELOPE = Envelope(BlobKind.BATCH, EAST.cluster, Version(1_700_000_000_000, 7), b"payload")
BLOB = sign(ENVELOPE, CLUSTERSET, key_of("east"))


def refusal(
    blob: bytes, *, kind: BlobKind = BlobKind.BATCH, member: Member = EAST, clusterset: str = CLUSTERSET
) -> str:
    with pytest.raises(WireError) as caught:
        open_envelope(blob, kind, member, clusterset)
    return caught.value.reason


def resigned(**changes: object) -> bytes:
    """The blob with fields of its body changed, and signed again by the member itself."""
    body = msgspec.msgpack.decode(msgspec.msgpack.decode(BLOB)[0])
    names = ["kind", "major", "minor", "clusterset", "cluster", "epoch", "seq", "payload"]
    encoded = msgspec.msgpack.encode([changes.get(name, body[i]) for i, name in enumerate(names)])
    signature = key_of("east").sign(b"federation-gateway/exchange/1/batch\0" + encoded)
    return msgspec.msgpack.encode([encoded, signature])


def test_what_was_signed_opens() -> None:
    """The member's own blob opens as what it said."""
    assert open_envelope(BLOB, BlobKind.BATCH, EAST, CLUSTERSET) == ENVELOPE
    assert kind_of(BLOB) == BlobKind.BATCH


def test_a_newer_minor_schema_opens() -> None:
    """Only the major schema refuses: a newer minor one may add what we do not read."""
    assert open_envelope(resigned(minor=9), BlobKind.BATCH, EAST, CLUSTERSET) == ENVELOPE


def test_the_schema_of_a_blob_is_read_whoever_wrote_it() -> None:
    """Also of one that does not open here; what is no blob is malformed."""
    blobs = BLOB, resigned(major=SCHEMA_MAJOR + 1, minor=3, payload=None)
    assert [schema_of(blob) for blob in blobs] == [(SCHEMA_MAJOR, SCHEMA_MINOR), (SCHEMA_MAJOR + 1, 3)]
    with pytest.raises(WireError) as caught:
        schema_of(b"junk")
    assert caught.value.reason == Reason.MALFORMED


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (b"", Reason.MALFORMED),
        (b"junk", Reason.MALFORMED),
        (BLOB[:-1], Reason.MALFORMED),
        (BLOB + b"x", Reason.MALFORMED),
        (resigned(major=SCHEMA_MAJOR + 1), Reason.UNKNOWN_SCHEMA),
        (resigned(major=SCHEMA_MAJOR + 1, payload=None), Reason.UNKNOWN_SCHEMA),
        (resigned(clusterset="other"), Reason.WRONG_CLUSTERSET),
        (resigned(cluster="west"), Reason.WRONG_MEMBER),
        (resigned(kind="lease"), Reason.MALFORMED),
        (resigned(epoch=-1), Reason.MALFORMED),
        (BLOB[:-1] + bytes([BLOB[-1] ^ 1]), Reason.BAD_SIGNATURE),
        (sign(ENVELOPE, CLUSTERSET, key_of("west")), Reason.BAD_SIGNATURE),
        (b"x" * 2_000_000, Reason.OVERSIZED),
    ],
)
def test_everything_else_is_refused_by_name(blob: bytes, reason: Reason) -> None:
    """Each way of being wrong has its reason."""
    assert refusal(blob) == reason


def test_a_blob_is_bound_to_clusterset_and_member() -> None:
    """The same bytes are nothing in another clusterset, or under another member."""
    assert refusal(BLOB, clusterset="other") == Reason.WRONG_CLUSTERSET
    assert refusal(BLOB, member=member_of("west")) == Reason.WRONG_MEMBER
    assert refusal(BLOB, member=replace(EAST, public_key=key_of("west").public)) == Reason.BAD_SIGNATURE
    assert refusal(BLOB, member=replace(EAST, public_key=b"short")) == Reason.BAD_SIGNATURE


def test_a_signature_counts_for_one_kind_only() -> None:
    """A batch can't pass for a shard even where the body is made to say so."""
    assert refusal(BLOB, kind=BlobKind.SHARD) == Reason.MALFORMED
    assert refusal(resigned(kind="shard"), kind=BlobKind.SHARD) == Reason.BAD_SIGNATURE


def test_a_private_key_does_not_show() -> None:
    """Neither repr nor str nor pickle gives the key away."""
    key = key_of("east")
    assert f"MemberKey(public={EAST.public_key.hex()})" == repr(key) == str(key)
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_a_key_of_the_wrong_length_is_unusable() -> None:
    """A member key has 32 bytes."""
    with pytest.raises(TrustError, match="not 32 bytes"):
        MemberKey(b"short")
