"""What the roster says of a member's keys decides which of its records are read."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from federation.exchange.signing import BlobKind, Envelope, MemberKey, open_envelope, sign
from federation.model.errors import WireError
from federation.model.names import is_trust_domain
from federation.model.records import Member, Version
from support.membership_values import CLUSTERSET, NOW, WEST, key, public, roster_member

UNTIL = NOW + timedelta(minutes=5)
REKEYED = replace(roster_member(WEST, "fresh"), retiring_key=public("west"), retiring_until=UNTIL)
ENVELOPE = Envelope(BlobKind.LEASE, WEST, Version(1, 1), b"payload")


def record(name: str) -> bytes:
    """A record of west under the key of this name."""
    return sign(ENVELOPE, CLUSTERSET, MemberKey(key(name).private_bytes_raw()))


def is_read(name: str, member: Member) -> bool:
    try:
        return open_envelope(record(name), BlobKind.LEASE, member, CLUSTERSET) == ENVELOPE
    except WireError:
        return False


def test_keys_of_a_member() -> None:
    """A member has its key, and while there is one the key before it, the newest first."""
    assert REKEYED.at(NOW).keys == (public("fresh"), public("west"))
    assert REKEYED.at(UNTIL).keys == (public("fresh"),)


@pytest.mark.parametrize(
    ("name", "before", "after"), [("fresh", True, True), ("west", True, False), ("x", False, False)]
)
def test_which_records_are_read(name: str, before: bool, after: bool) -> None:
    """Records under the new key are read, those under the key before it until its time, and no others."""
    assert (is_read(name, REKEYED.at(NOW)), is_read(name, REKEYED.at(UNTIL))) == (before, after)


@pytest.mark.parametrize("text", ["a", "east.example", "a_b-c.9", "x" * 255])
def test_trust_domains(text: str) -> None:
    """Lower case letters, digits, dots, dashes and underscores make a trust domain."""
    assert is_trust_domain(text)


@pytest.mark.parametrize("text", ["", "A", "x" * 256, "a/b", "a:1", "a b", "a\n", "é", "spiffe://a"])
def test_what_is_no_trust_domain(text: str) -> None:
    """Anything else is none, a trailing line break included."""
    assert not is_trust_domain(text)
