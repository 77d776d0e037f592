"""The authority's ledger: its values, and its JSON."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from federation.membership.ledger import Farewell, Ledger, decode_ledger, encode_ledger
from federation.membership.roster import hand_over
from federation.model.errors import TrustError
from support.membership_values import CLUSTERSET, EAST, NORTH, NOW, WEST, digest, key, ledger_of, public, token_entry

GOLDEN = Path(__file__).parent / "statement_schemas" / "ledger-1.json"


def _full() -> Ledger:
    ledger = ledger_of(EAST, WEST)
    east, west = ledger.roster.members
    west = replace(west, retiring_key=public("old"), retiring_until=NOW + timedelta(minutes=5))
    roster = replace(ledger.roster, members=(east, west)).with_handover(hand_over(CLUSTERSET, key("a"), key("b")))
    ledger = replace(ledger, roster=roster, authority_key=public("b"))
    ledger = ledger.with_token(replace(token_entry(WEST, "used"), used_by=public("west")))
    ledger = ledger.with_token(replace(token_entry(NORTH, "revoked"), revoked_at=NOW))
    return ledger.with_token(token_entry(NORTH)).with_access(WEST, digest("west")).with_spent(public("old"))


FULL = _full()
EXPIRY = NOW + timedelta(minutes=15)


def refusal(content: bytes) -> TrustError:
    with pytest.raises(TrustError) as caught:
        decode_ledger(content)
    return caught.value


LEAVING = FULL.with_farewell(NORTH, Farewell(EXPIRY, digest("north"))).with_farewell(WEST, Farewell(NOW))


@pytest.mark.parametrize("ledger", [FULL, LEAVING, ledger_of(EAST)], ids=["full", "leaving", "small"])
def test_a_ledger_reads_back(ledger: Ledger) -> None:
    """What the authority wrote down, it knows again."""
    assert decode_ledger(encode_ledger(ledger)) == ledger


def test_ledgers_are_read_for_ever() -> None:
    """A ledger of version 1 means what it meant, and is what is written now."""
    content = GOLDEN.read_bytes()
    assert decode_ledger(content) == FULL
    assert encode_ledger(FULL) == content.rstrip(b"\n")


def test_no_secret_is_in_a_ledger() -> None:
    """A ledger holds public halves and digests, of which no token and no password can be made."""
    content = encode_ledger(FULL) + repr(FULL).encode()
    secrets = [hashlib.sha256(name.encode()).digest() for name in ("token", "used", "revoked", "a", "b", "west")]
    assert [secret for secret in secrets if secret in content] == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"version": 1}',
        encode_ledger(FULL)[:-1],
        encode_ledger(FULL).replace(b'"serial"', b'"number"'),
        encode_ledger(FULL).replace(b"2026-01-01T12:00:00Z", b"2026-01-01T12:00:00"),
        encode_ledger(FULL).replace(b'"version": 1', b'"version": 1, "more": 1'),
        encode_ledger(FULL).replace(b'"cluster": "east"', b'"cluster": "\xff"'),
        b"[" * 100_000,
    ],
)
def test_a_ledger_that_is_not_whole(content: bytes) -> None:
    """A damaged ledger is refused, never taken for an empty one."""
    error = refusal(content)
    assert (error.reason, error.hint) == ("LedgerCorrupt", "restore it from a backup")
    assert str(error).startswith("the authority's ledger can't be read: ")


def test_a_newer_ledger() -> None:
    """A ledger of a newer program is told as such, whatever it holds."""
    error = refusal(b'{"version": 2, "anything": {}}')
    assert error.reason == "LedgerVersion"
    assert str(error) == "the authority's ledger has version 2, this program knows version 1"


def test_states_of_a_token() -> None:
    """A token is pending until its time; that it was used or revoked outlasts it."""
    token = token_entry(WEST)
    used = replace(token, used_by=public("west"))
    revoked = replace(token, revoked_at=NOW)
    assert [t.state(EXPIRY - timedelta(seconds=1)) for t in (token, used, revoked)] == ["Pending", "Used", "Revoked"]
    assert [t.state(EXPIRY) for t in (token, used, revoked)] == ["Expired", "Used", "Revoked"]


def test_a_token_has_a_short_name() -> None:
    """People call a token by the beginning of its public key's hash, which says nothing of its secret."""
    assert token_entry(WEST).id == hashlib.sha256(public("token")).hexdigest()[:10]


def test_tokens_are_kept_by_key() -> None:
    """A token put in again replaces itself; the oldest stands first."""
    late, early = token_entry(WEST, "late", NOW + timedelta(seconds=1)), token_entry(EAST, "early")
    ledger = ledger_of().with_token(late).with_token(early)
    assert ledger.tokens == (early, late)

    used = replace(late, used_by=public("west"))
    assert ledger.with_token(used).tokens == (early, used)
    assert (ledger.token(public("late")), ledger.token(public("other"))) == (late, None)


def test_users_of_the_exchange() -> None:
    """Members use the exchange by their own password, clusters that may yet join by that of their token."""
    ledger = ledger_of(EAST, WEST).with_access(WEST, digest("west"))
    ledger = ledger.with_token(token_entry(NORTH, "n1")).with_token(token_entry(NORTH, "n2"))
    ledger = ledger.with_token(replace(token_entry(NORTH, "n3"), revoked_at=NOW))
    ledger = ledger.with_token(replace(token_entry(NORTH, "n4"), access_digest=""))
    ledger = ledger.with_token(token_entry(WEST, "left over"))

    both = tuple(digest(token_name) for token_name in sorted(("n1", "n2"), key=public))
    assert ledger.users(NOW) == {WEST: (digest("west"),), NORTH: both}
    assert ledger.users(EXPIRY) == {WEST: (digest("west"),)}


def test_users_that_are_made_by_hand() -> None:
    """Of members and of those that a token was given to, the ledger says whose password it does not know."""
    ledger = ledger_of(EAST, WEST).with_access(WEST, digest("west"))
    ledger = ledger.with_token(replace(token_entry(NORTH), access_digest=""))
    assert (ledger.without_users(NOW), ledger.without_users(EXPIRY)) == ({EAST, NORTH}, {EAST})


def test_whoever_leaves_uses_the_exchange_until_its_farewell_is_over() -> None:
    """Its user stands beside those of the members, unless it never had one; a farewell ends once."""
    assert LEAVING.users(NOW) == {**FULL.users(NOW), NORTH: (digest("north"), digest("token"))}
    assert (LEAVING.parted(NOW), LEAVING.parted(EXPIRY)) == ((WEST,), (NORTH, WEST))
    assert LEAVING.with_farewell(NORTH, None).with_farewell(WEST, None) == FULL


def test_a_password_is_replaced_and_forgotten() -> None:
    """A member has one password; an empty digest forgets it."""
    ledger = ledger_of(EAST, WEST).with_access(WEST, digest("a")).with_access(WEST, digest("b"))
    assert ledger.access == {WEST: digest("b")}
    assert ledger.with_access(WEST, "").access == {}


def test_spent_keys_are_remembered_once() -> None:
    """Keys that were given up are kept in their order, each once, and only so many of them."""
    ledger = ledger_of().with_spent(public("a"), public("b")).with_spent(public("a"), public("c"))
    assert ledger.spent == (public("a"), public("b"), public("c"))

    many = ledger.with_spent(*(number.to_bytes(32, "big") for number in range(4096)))
    assert (len(many.spent), public("c") in many.spent) == (4096, False)
