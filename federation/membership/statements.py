"""Signed statements of membership: bytes that one or several Ed25519 keys vouch for. Pure.

A statement is ``[body, signatures]``, and each signature covers the body under a prefix that names its kind, so that
no statement can pass for another, nor for anything of the exchange. The bytes that were signed are the bytes that are
read.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from federation.model.errors import WireError
from federation.model.wire import UNREADABLE, Reason

SCHEMA_MAJOR = 1
"""Of all statements. Fields are only ever added, at the end and with a default, until there is a newer major schema."""

_DOMAIN = b"federation-gateway/membership/1/"

T = TypeVar("T")


class Kind(StrEnum):
    """What a statement is."""

    ROSTER = "roster"
    HANDOVER = "handover"
    REQUEST = "request"
    ANSWER = "answer"


class Statement(msgspec.Struct, array_like=True, frozen=True):
    """A statement as it travels: read, and not yet believed."""

    body: bytes
    signatures: list[bytes]


class _Schema(msgspec.Struct, array_like=True):
    """The part of a body that every major schema, past and future, begins with."""

    major: int


_encoder = msgspec.msgpack.Encoder()
_schemas = msgspec.msgpack.Decoder(_Schema)
_statements = msgspec.msgpack.Decoder(Statement)


def sign_statement(kind: Kind, body: bytes, keys: Sequence[Ed25519PrivateKey]) -> bytes:
    """The statement ``body`` under the signature of each of ``keys``, in their order."""
    return _encoder.encode(Statement(body, [sign_body(kind, body, key) for key in keys]))


def sign_body(kind: Kind, body: bytes, key: Ed25519PrivateKey) -> bytes:
    """One signature by itself."""
    return key.sign(_message(kind, body))


def read_statement(blob: bytes, *, limit: int, what: str) -> Statement:
    """Read a statement of at most ``limit`` bytes; raises WireError with Oversized or Malformed."""
    if len(blob) > limit:
        raise WireError(Reason.OVERSIZED, f"{what} has {len(blob)} bytes, more than {limit}")
    try:
        return _statements.decode(blob)
    except UNREADABLE as error:
        raise WireError(Reason.MALFORMED, f"{what} is no signed statement") from error


def read_body(body: bytes, decoder: msgspec.msgpack.Decoder[T], what: str) -> T:
    """Read what a statement says; raises WireError with UnknownSchema for one of a newer major schema, or Malformed."""
    try:
        major = _schemas.decode(body).major
        if major > SCHEMA_MAJOR:
            raise WireError(Reason.UNKNOWN_SCHEMA, f"{what} has schema {major}, this version knows {SCHEMA_MAJOR}")
        return decoder.decode(body)
    except UNREADABLE as error:
        raise WireError(Reason.MALFORMED, f"{what} is unreadable") from error


def is_signed_by(kind: Kind, body: bytes, signature: bytes, public_key: bytes) -> bool:
    """Whether ``signature`` is the word of the key (32 raw bytes) on ``body``."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, _message(kind, body))
    except (InvalidSignature, ValueError):
        return False
    return True


def _message(kind: Kind, body: bytes) -> bytes:
    return _DOMAIN + kind.encode() + b"\0" + body
