"""Signed statements: each is the word of a key on one kind of thing, and of nothing else."""

from __future__ import annotations

import msgspec
import pytest

from federation.exchange.signing import BlobKind, Envelope, MemberKey, sign
from federation.membership.statements import (
    Kind,
    Statement,
    is_signed_by,
    read_body,
    read_statement,
    sign_body,
    sign_statement,
)
from federation.model.errors import WireError
from federation.model.records import Version
from support.membership_values import CLUSTERSET, EAST, key, public


class _Numbers(msgspec.Struct, array_like=True):
    major: int
    number: int


NUMBERS = msgspec.msgpack.Decoder(_Numbers)


def unread(blob: bytes, limit: int = 1024) -> WireError:
    with pytest.raises(WireError) as caught:
        read_statement(blob, limit=limit, what="roster")
    return caught.value


def misread(body: bytes) -> WireError:
    with pytest.raises(WireError) as caught:
        read_body(body, NUMBERS, "roster")
    return caught.value


def test_what_was_signed_is_what_is_read() -> None:
    """A statement gives back its body, and a signature for each key in their order."""
    read = read_statement(sign_statement(Kind.ROSTER, b"body", [key("a"), key("b")]), limit=1024, what="roster")

    assert read == Statement(b"body", [sign_body(Kind.ROSTER, b"body", key(name)) for name in ("a", "b")])
    assert is_signed_by(Kind.ROSTER, b"body", read.signatures[0], public("a"))
    assert is_signed_by(Kind.ROSTER, b"body", read.signatures[1], public("b"))


@pytest.mark.parametrize("kind", Kind)
def test_no_kind_passes_for_another(kind: Kind) -> None:
    """A signature under one kind counts under no other."""
    signature = sign_body(kind, b"body", key("a"))
    assert [kind] == [other for other in Kind if is_signed_by(other, b"body", signature, public("a"))]


@pytest.mark.parametrize("kind", Kind)
def test_a_record_of_the_exchange_is_no_statement(kind: Kind) -> None:
    """What a member signs for the exchange counts as no statement, though the key and the form are the same."""
    seed = b"\7" * 32
    blob = sign(Envelope(BlobKind.LEASE, EAST, Version(1, 1), b""), CLUSTERSET, MemberKey(seed))
    body, signature = msgspec.msgpack.decode(blob)

    assert not is_signed_by(kind, body, signature, MemberKey(seed).public)


@pytest.mark.parametrize(
    ("body", "signature", "by"),
    [
        (b"another", None, "a"),
        (b"body", None, "b"),
        (b"body", b"", "a"),
        (b"body", b"\0" * 64, "a"),
        (b"body", b"\0" * 65, "a"),
    ],
)
def test_a_signature_binds_body_and_key(body: bytes, signature: bytes | None, by: str) -> None:
    """Another body, another key and another signature are refused."""
    signed = sign_body(Kind.ROSTER, b"body", key("a")) if signature is None else signature
    assert not is_signed_by(Kind.ROSTER, body, signed, public(by))


@pytest.mark.parametrize("raw", [b"", b"short", b"\0" * 33])
def test_what_is_no_key_signs_nothing(raw: bytes) -> None:
    """Bytes that are no Ed25519 key are no error, and nothing is signed by them."""
    assert not is_signed_by(Kind.ROSTER, b"body", sign_body(Kind.ROSTER, b"body", key("a")), raw)


def test_a_statement_has_a_limit() -> None:
    """A statement of exactly the limit is read, one byte more is not."""
    blob = sign_statement(Kind.ROSTER, b"body", [key("a")])
    assert read_statement(blob, limit=len(blob), what="roster").body == b"body"

    error = unread(blob, len(blob) - 1)
    assert (error.reason, str(error)) == (
        "Oversized",
        f"roster has {len(blob)} bytes, more than {len(blob) - 1}",
    )


@pytest.mark.parametrize("blob", [b"", b"\xc0", b"\x92\xa1x\xa1y", b"\x91\xc4\x00", b"\x91" * 900, b"text"])
def test_other_bytes_are_no_statement(blob: bytes) -> None:
    """Anything that is not a body and signatures is refused, also what is nested without end."""
    error = unread(blob)
    assert (error.reason, str(error)) == ("Malformed", "roster is no signed statement")


def test_a_body_may_have_grown() -> None:
    """Fields that a newer version adds at the end are passed over."""
    assert _Numbers(1, 7) == read_body(msgspec.msgpack.encode([1, 7, "new"]), NUMBERS, "roster")


def test_a_newer_schema_is_named() -> None:
    """A body of a newer major schema is told from a damaged one, whatever its shape."""
    error = misread(msgspec.msgpack.encode([2, "seven"]))
    assert (error.reason, str(error)) == ("UnknownSchema", "roster has schema 2, this version knows 1")


@pytest.mark.parametrize("body", [b"", b"\xc0", msgspec.msgpack.encode([1]), msgspec.msgpack.encode([1, "seven"])])
def test_an_unreadable_body(body: bytes) -> None:
    """A body of another shape is refused."""
    assert (misread(body).reason, str(misread(body))) == ("Malformed", "roster is unreadable")
