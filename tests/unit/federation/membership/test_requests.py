"""Requests and refusals: whose word they are, on what, and to whom."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from federation.membership.requests import (
    Refusal,
    Request,
    open_refusal,
    open_request,
    sign_refusal,
    sign_request,
)
from federation.membership.roster import Roster, sign_roster
from federation.membership.statements import Kind, sign_statement
from federation.model.errors import WireError
from federation.model.names import ClusterId
from federation.model.sizes import MAX_LETTER_BYTES
from support.membership_values import CLUSTERSET, EAST, NOW, WEST, digest, join, key, leave, public, rekey

GOLDEN = Path(__file__).parent / "statement_schemas" / "schema-1"
JOIN = replace(join(WEST, made_at=NOW + timedelta(milliseconds=123)), access_digest=digest("password"))
SIGNED = sign_request(JOIN, key("west"), key("token"))
REFUSAL = Refusal("TokenUsed", "token 0123456789 was used already")


def unread(blob: bytes, cluster: ClusterId = WEST) -> WireError:
    with pytest.raises(WireError) as caught:
        open_request(blob, CLUSTERSET, cluster)
    return caught.value


def signed_body(*fields: object) -> bytes:
    """A request with this body, signed as it ought to be."""
    return sign_statement(Kind.REQUEST, msgspec.msgpack.encode(fields), [key("west"), key("token")])


FIELDS = (1, "join", CLUSTERSET, "west", "west.example", public("west"), public("token"), 1_767_268_800_000)


@pytest.mark.parametrize(
    ("request_", "keys"),
    [(JOIN, ("west", "token")), (rekey(WEST, "west", "new"), ("new", "west")), (leave(WEST), ("west", "west"))],
    ids=["join", "rekey", "leave"],
)
def test_a_request_reads_back(request_: Request, keys: tuple[str, str]) -> None:
    """The authority reads what the cluster asked, to the millisecond."""
    blob = sign_request(request_, key(keys[0]), key(keys[1]))
    assert request_ == open_request(blob, CLUSTERSET, WEST)


@pytest.mark.parametrize("millisecond", range(0, 1000, 37))
def test_times_are_exact(millisecond: int) -> None:
    """No millisecond is lost between a cluster and the authority."""
    made_at = NOW + timedelta(milliseconds=millisecond)
    assert (
        made_at
        == open_request(
            sign_request(replace(JOIN, made_at=made_at), key("west"), key("token")), CLUSTERSET, WEST
        ).made_at
    )


def test_requests_are_read_for_ever() -> None:
    """Bytes of the version in which requests were new mean what they meant, and are what is written now."""
    blob = bytes.fromhex((GOLDEN / "request.hex").read_text())
    assert open_request(blob, CLUSTERSET, WEST) == JOIN
    assert blob == SIGNED


def test_answers_are_read_for_ever() -> None:
    """Bytes of the version in which refusals were new mean what they meant."""
    blob = bytes.fromhex((GOLDEN / "answer.hex").read_text())
    assert open_refusal(blob, CLUSTERSET, WEST, SIGNED, public("authority")) == REFUSAL


@pytest.mark.parametrize("keys", [("west", "west"), ("token", "token"), ("token", "west"), ("west", "other")])
def test_both_keys_must_sign(keys: tuple[str, str]) -> None:
    """A request needs the signature of the key that it names and of its voucher, each in its place."""
    error = unread(sign_request(JOIN, key(keys[0]), key(keys[1])))
    assert error.reason == "BadSignature"
    assert str(error) == "request of west is not signed with the keys that it names"


@pytest.mark.parametrize("signers", [(), ("west",), ("west", "token", "token")])
def test_there_are_two_signatures(signers: tuple[str, ...]) -> None:
    """Neither fewer nor more signatures than two make a request."""
    blob = sign_statement(Kind.REQUEST, msgspec.msgpack.encode(FIELDS), [key(name) for name in signers])
    assert unread(blob).reason == "BadSignature"


def test_a_request_of_another_cluster() -> None:
    """A request counts only where its own cluster put it."""
    error = unread(SIGNED, EAST)
    assert (error.reason, str(error)) == ("WrongMember", "request is of 'west', stored as 'east'")


def test_a_request_of_another_clusterset() -> None:
    """A request is bound to one clusterset."""
    error = unread(sign_request(replace(JOIN, clusterset="prod"), key("west"), key("token")))
    assert (error.reason, str(error)) == ("WrongClusterset", "request is of clusterset 'prod'")


@pytest.mark.parametrize("kind", [Kind.ROSTER, Kind.HANDOVER, Kind.ANSWER])
def test_another_statement_is_no_request(kind: Kind) -> None:
    """What the same keys signed as something else is no request."""
    blob = sign_statement(kind, msgspec.msgpack.encode(FIELDS), [key("west"), key("token")])
    assert unread(blob).reason == "BadSignature"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (FIELDS[:-1], "Malformed"),
        ((2, "new"), "UnknownSchema"),
        ((1, "evict", *FIELDS[2:]), "Malformed"),
        ((*FIELDS[:-1], 2**63), "Malformed"),
        ((*FIELDS[:-1], -(2**63)), "Malformed"),
        ((*FIELDS[:-1], 2**64 - 1), "Malformed"),
        ((*FIELDS[:-1], "now"), "Malformed"),
        ((*FIELDS, digest("p").upper()), "Malformed"),
        ((*FIELDS, "x allkeys +@all"), "Malformed"),
        ((*FIELDS, digest("p") + "\n"), "Malformed"),
        ((*FIELDS[:5], b"", *FIELDS[6:]), "BadSignature"),
    ],
)
def test_requests_that_nobody_makes(fields: tuple[object, ...], reason: str) -> None:
    """A request of another shape, with a wish or a time that is none, or a digest that is no digest, is refused."""
    assert reason == unread(signed_body(*fields)).reason


def test_a_request_may_have_grown() -> None:
    """Fields that a newer version adds at the end are passed over."""
    assert (
        JOIN.access_digest
        == open_request(signed_body(*FIELDS, JOIN.access_digest, "new"), CLUSTERSET, WEST).access_digest
    )


def test_a_request_has_a_limit() -> None:
    """A request of more than 8 KiB is not looked into."""
    assert unread(b"\0" * (MAX_LETTER_BYTES + 1)).reason == "Oversized"


def test_passwords_do_not_travel() -> None:
    """A request holds the digest of a password, never the password."""
    assert b"password" not in SIGNED
    assert JOIN.access_digest.encode() in SIGNED


def signed_refusal(request: bytes = SIGNED, cluster: ClusterId = WEST, clusterset: str = CLUSTERSET) -> bytes:
    return sign_refusal(REFUSAL, clusterset, cluster, request, key("authority"))


def test_a_refusal_reads_back() -> None:
    """The cluster reads why its request was refused."""
    assert open_refusal(signed_refusal(), CLUSTERSET, WEST, SIGNED, public("authority")) == REFUSAL


@pytest.mark.parametrize(
    "blob",
    [signed_refusal(request=b"earlier"), signed_refusal(cluster=EAST), signed_refusal(clusterset="prod")],
    ids=["request", "cluster", "clusterset"],
)
def test_a_refusal_of_something_else(blob: bytes) -> None:
    """A refusal of an earlier request, or of another's, is no answer to this one."""
    assert open_refusal(blob, CLUSTERSET, WEST, SIGNED, public("authority")) is None


def test_only_the_authority_refuses() -> None:
    """A refusal that somebody else signed is refused itself."""
    with pytest.raises(WireError) as caught:
        open_refusal(signed_refusal(), CLUSTERSET, WEST, SIGNED, public("another"))
    assert caught.value.reason == "BadSignature"


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (b"", "Malformed"),
        (sign_statement(Kind.ANSWER, b"\xc0", [key("authority")]), "Malformed"),
        (sign_statement(Kind.ANSWER, msgspec.msgpack.encode([2, "granted"]), [key("authority")]), "UnknownSchema"),
        (sign_roster(Roster(CLUSTERSET, 1, EAST), key("authority")), "Malformed"),
        (b"\0" * (MAX_LETTER_BYTES + 1), "Oversized"),
    ],
    ids=["empty", "nothing", "newer", "roster", "large"],
)
def test_answers_that_are_none(blob: bytes, reason: str) -> None:
    """Other bytes, also what the authority signed as something else, are no answer."""
    with pytest.raises(WireError) as caught:
        open_refusal(blob, CLUSTERSET, WEST, SIGNED, public("authority"))
    assert reason == caught.value.reason


def test_a_long_refusal_is_cut() -> None:
    """However long the text, the answer is short enough to be read."""
    blob = sign_refusal(Refusal("TokenUsed", "x" * 100_000), CLUSTERSET, WEST, SIGNED, key("authority"))
    read = open_refusal(blob, CLUSTERSET, WEST, SIGNED, public("authority"))
    assert Refusal("TokenUsed", "x" * 500) == read
