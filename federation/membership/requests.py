"""What a cluster asks of the authority, and what the authority answers, as signed statements. Pure.

A request is signed by the key that it names, which proves possession, and by a *voucher*: the token's key for a cluster
that wants in, the present member key for a member that wants another key. Whether the voucher counts is judged in
``admission``. The only answer is a refusal: that a request was granted shows in the roster.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.membership.statements import (
    SCHEMA_MAJOR,
    Kind,
    is_signed_by,
    read_body,
    read_statement,
    sign_statement,
)
from federation.model.errors import WireError
from federation.model.names import ClusterId
from federation.model.sizes import MAX_LETTER_BYTES
from federation.model.wire import UNREADABLE, Reason

_TEXT_CHARS = 500
# It becomes part of a command to the exchange.
_DIGEST = re.compile(r"([0-9a-f]{64})?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Wish(StrEnum):
    """What is asked for."""

    JOIN = "join"
    REKEY = "rekey"
    """A new member key in the place of the present one."""
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Request:
    """One wish of one cluster."""

    wish: Wish
    clusterset: str
    cluster: ClusterId
    trust_domain: str
    public_key: bytes
    """Of the member: the one it has (leave) or is to have (join, rekey)."""
    voucher_key: bytes
    """Of the token (join) or the present member key (rekey, leave)."""
    made_at: datetime
    """By the cluster's own clock, to the millisecond."""
    access_digest: str = ""
    """SHA-256 (hex) of the password that the cluster made for its user of the exchange; empty: it made none."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request was not granted."""

    reason: str
    """Stable CamelCase code."""
    message: str
    """One sentence, lower case, no final period."""


class _Request(msgspec.Struct, array_like=True):
    major: int
    wish: str
    clusterset: str
    cluster: str
    trust_domain: str
    public_key: bytes
    voucher_key: bytes
    made_ms: int
    access_digest: str = ""


class _Answer(msgspec.Struct, array_like=True):
    major: int
    clusterset: str
    cluster: str
    request: bytes
    reason: str
    message: str


_encoder = msgspec.msgpack.Encoder()
_requests = msgspec.msgpack.Decoder(_Request)
_answers = msgspec.msgpack.Decoder(_Answer)


def sign_request(request: Request, key: Ed25519PrivateKey, voucher: Ed25519PrivateKey) -> bytes:
    """The request under the signatures of the named key and of its voucher (the same one for ``leave``)."""
    body = _encoder.encode(
        _Request(
            SCHEMA_MAJOR,
            request.wish,
            request.clusterset,
            request.cluster,
            request.trust_domain,
            request.public_key,
            request.voucher_key,
            (request.made_at - _EPOCH) // timedelta(milliseconds=1),
            request.access_digest,
        )
    )
    return sign_statement(Kind.REQUEST, body, [key, voucher])


def open_request(blob: bytes, clusterset: str, cluster: ClusterId) -> Request:
    """Read a request that lay under the name of ``cluster``, and verify both its signatures.

    Raises WireError with Oversized, Malformed, UnknownSchema, WrongClusterset, WrongMember or BadSignature.
    """
    statement = read_statement(blob, limit=MAX_LETTER_BYTES, what="request")
    read = read_body(statement.body, _requests, "request")
    try:
        request = Request(
            Wish(read.wish),
            read.clusterset,
            ClusterId(read.cluster),
            read.trust_domain,
            read.public_key,
            read.voucher_key,
            _EPOCH + timedelta(milliseconds=read.made_ms),
            read.access_digest,
        )
    except (*UNREADABLE, OverflowError) as error:
        raise WireError(Reason.MALFORMED, "request is unreadable") from error
    if request.clusterset != clusterset:
        raise WireError(Reason.WRONG_CLUSTERSET, f"request is of clusterset {request.clusterset[:63]!r}")
    if request.cluster != cluster:
        raise WireError(Reason.WRONG_MEMBER, f"request is of {request.cluster[:63]!r}, stored as {cluster!r}")
    if _DIGEST.fullmatch(request.access_digest) is None:
        raise WireError(Reason.MALFORMED, "request has a password digest that is no SHA-256 in hex")
    if not _all_signed(statement.body, statement.signatures, [request.public_key, request.voucher_key]):
        raise WireError(Reason.BAD_SIGNATURE, f"request of {cluster} is not signed with the keys that it names")
    return request


def sign_refusal(
    refusal: Refusal, clusterset: str, cluster: ClusterId, request: bytes, key: Ed25519PrivateKey
) -> bytes:
    """The refusal of the request ``request`` (as it travelled) as the authority says it."""
    body = _encoder.encode(
        _Answer(
            SCHEMA_MAJOR,
            clusterset,
            cluster,
            _digest(request),
            refusal.reason,
            refusal.message[:_TEXT_CHARS],
        )
    )
    return sign_statement(Kind.ANSWER, body, [key])


def open_refusal(
    blob: bytes, clusterset: str, cluster: ClusterId, request: bytes, authority_key: bytes
) -> Refusal | None:
    """The authority's refusal of ``request``; None where the answer is to another request. Raises WireError."""
    statement = read_statement(blob, limit=MAX_LETTER_BYTES, what="answer")
    read = read_body(statement.body, _answers, "answer")
    if (read.clusterset, read.cluster, read.request) != (clusterset, cluster, _digest(request)):
        return None
    if len(statement.signatures) != 1 or not is_signed_by(
        Kind.ANSWER, statement.body, statement.signatures[0], authority_key
    ):
        raise WireError(Reason.BAD_SIGNATURE, "answer is not signed with the key of the clusterset's authority")
    return Refusal(read.reason, read.message)


def _all_signed(body: bytes, signatures: Sequence[bytes], keys: Sequence[bytes]) -> bool:
    return len(signatures) == len(keys) and all(
        is_signed_by(Kind.REQUEST, body, signature, key) for signature, key in zip(signatures, keys, strict=True)
    )


def _digest(blob: bytes) -> bytes:
    return hashlib.sha256(blob).digest()
