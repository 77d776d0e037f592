"""Signed envelopes: what turns bytes of an untrusted store into the word of one member.

Every blob is ``[body, signature]``; the body carries kind, schema, clusterset, cluster, epoch and sequence
beside the payload, and the signature covers all of it under a prefix that names the kind, so that no blob
can pass for another. The bytes that were signed are the bytes that are read: nothing is re-encoded between
the two. Pure; knows no keys but those it is given, and no payload's meaning (see payloads).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from federation.model.errors import TrustError, WireError
from federation.model.names import ClusterId
from federation.model.records import Member, Version
from federation.model.wire import MAX_BATCH_BYTES, MAX_SHARD_BYTES, SCHEMA_MAJOR, SCHEMA_MINOR, UNREADABLE, Reason

_SIGNATURE_BYTES = 64
_ENVELOPE_BYTES = 1024  # more than kind, names and numbers need
_DOMAIN = b"federation-gateway/exchange/1/"


class BlobKind(StrEnum):
    BATCH = "batch"
    SHARD = "shard"
    MANIFEST = "manifest"
    LEASE = "lease"


MAX_BYTES = {
    BlobKind.BATCH: MAX_BATCH_BYTES + _ENVELOPE_BYTES,
    BlobKind.SHARD: MAX_SHARD_BYTES + _ENVELOPE_BYTES,
    BlobKind.MANIFEST: 16 * 1024,
    BlobKind.LEASE: 4 * 1024,
}


class MemberKey:
    """The Ed25519 private key that a member signs its records with; shows only its public half."""

    __slots__ = ("_private",)

    def __init__(self, seed: bytes) -> None:
        """Take the 32 secret bytes of RFC 8032; raises TrustError for any other length."""
        try:
            self._private = Ed25519PrivateKey.from_private_bytes(seed)
        except ValueError as error:
            raise TrustError("member key is not 32 bytes") from error

    @property
    def public(self) -> bytes:
        """The 32 raw bytes of the public key, as Member carries them."""
        return self._private.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)

    def __repr__(self) -> str:
        return f"MemberKey(public={self.public.hex()})"

    def __reduce__(self) -> str:
        raise TypeError("a member key is not pickled")


@dataclass(frozen=True, slots=True)
class Envelope:
    """What one blob says: about to be signed, or read from a blob whose signature holds."""

    kind: BlobKind
    cluster: ClusterId
    version: Version
    """Of a batch: its own. Of the others: the head of the log when it was written."""
    payload: bytes


class _Blob(msgspec.Struct, array_like=True):
    body: bytes
    signature: bytes


class _Schema(msgspec.Struct, array_like=True):
    """The part of a body that every major schema, past and future, begins with."""

    kind: str
    major: int
    minor: int


class _Body(msgspec.Struct, array_like=True):
    kind: str
    major: int
    minor: int
    clusterset: str
    cluster: str
    epoch: int
    seq: int
    payload: bytes


_encoder = msgspec.msgpack.Encoder()
_blobs = msgspec.msgpack.Decoder(_Blob)
_schemas = msgspec.msgpack.Decoder(_Schema)
_bodies = msgspec.msgpack.Decoder(_Body)


def sign(envelope: Envelope, clusterset: str, key: MemberKey) -> bytes:
    """The signed blob of ``envelope`` as one member of ``clusterset`` says it."""
    body = _encoder.encode(
        _Body(
            kind=envelope.kind,
            major=SCHEMA_MAJOR,
            minor=SCHEMA_MINOR,
            clusterset=clusterset,
            cluster=envelope.cluster,
            epoch=envelope.version.epoch,
            seq=envelope.version.seq,
            payload=envelope.payload,
        )
    )
    return _encoder.encode(_Blob(body, key.sign(_message(envelope.kind, body))))


def kind_of(blob: bytes) -> BlobKind:
    """What kind an unverified channel message claims to be; raises WireError where it is none we know."""
    try:
        return BlobKind(_schemas.decode(_blobs.decode(blob).body).kind)
    except UNREADABLE as error:
        raise WireError(Reason.MALFORMED, "message is no signed blob") from error


def schema_of(blob: bytes) -> tuple[int, int]:
    """Major and minor schema that an unverified blob claims to have; raises WireError where it is no signed blob."""
    try:
        schema = _schemas.decode(_blobs.decode(blob).body)
    except UNREADABLE as error:
        raise WireError(Reason.MALFORMED, "it is no signed blob") from error
    return schema.major, schema.minor


def open_envelope(blob: bytes, kind: BlobKind, member: Member, clusterset: str) -> Envelope:
    """Verify that ``member`` of ``clusterset`` signed ``blob`` as ``kind``.

    Raises WireError with Oversized, Malformed, UnknownSchema, WrongClusterset, WrongMember or BadSignature.
    Whether the version is news is the replica's to judge.
    """
    if len(blob) > MAX_BYTES[kind]:
        raise WireError(Reason.OVERSIZED, f"{kind} has {len(blob)} bytes, more than {MAX_BYTES[kind]}")
    try:
        outer = _blobs.decode(blob)
        schema = _schemas.decode(outer.body)
        if schema.major > SCHEMA_MAJOR:
            raise WireError(
                Reason.UNKNOWN_SCHEMA,
                f"{kind} has schema {schema.major}.{schema.minor}, this version reads up to {SCHEMA_MAJOR}",
            )
        body = _bodies.decode(outer.body)
    except UNREADABLE as error:
        raise WireError(Reason.MALFORMED, f"{kind} is no signed blob") from error
    if body.kind != kind:
        raise WireError(Reason.MALFORMED, f"a {kind} was expected, got kind {body.kind[:20]!r}")
    if body.epoch < 0 or body.seq < 0:
        raise WireError(Reason.MALFORMED, f"{kind} has a negative version")
    if body.clusterset != clusterset:
        raise WireError(Reason.WRONG_CLUSTERSET, f"{kind} is of clusterset {body.clusterset[:253]!r}")
    if body.cluster != member.cluster:
        raise WireError(Reason.WRONG_MEMBER, f"{kind} is of {body.cluster[:63]!r}, stored as {member.cluster!r}")
    message = _message(kind, outer.body)
    if not any(_is_signed(message, outer.signature, key) for key in member.keys):
        raise WireError(Reason.BAD_SIGNATURE, f"{kind} is not signed with the key of {member.cluster}")
    return Envelope(kind, member.cluster, Version(body.epoch, body.seq), body.payload)


def _is_signed(message: bytes, signature: bytes, key: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _message(kind: BlobKind, body: bytes) -> bytes:
    return _DOMAIN + kind.encode() + b"\0" + body
