"""Join tokens: whole or not at all, and silent about what is secret."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.membership.join_token import JoinToken, encode_token, parse_token
from federation.membership.keys import public_key
from federation.model.errors import TrustError
from federation.model.names import ClusterId
from support.membership_values import CLUSTERSET, EAST, WEST, public

GOLDEN = Path(__file__).parent / "statement_schemas" / "schema-1"
SEED = b"s" * 32
TOKEN = JoinToken(
    CLUSTERSET,
    WEST,
    datetime(2026, 1, 1, 12, 15, tzinfo=UTC),
    "rediss://exchange.example:6379",
    public("authority"),
    EAST,
    SEED,
    "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
    "west",
    "hunter2-hunter2",
    True,
)


def refusal(text: str) -> TrustError:
    with pytest.raises(TrustError) as caught:
        parse_token(text)
    return caught.value


def test_a_token_reads_back() -> None:
    """A token is one line that means the same to its reader, whatever blanks were copied with it."""
    line = encode_token(TOKEN)
    assert "\n" not in line
    assert parse_token(f"  {line}\n") == TOKEN


def test_tokens_are_read_for_ever() -> None:
    """A token that was given out by the version in which tokens were new still means what it meant."""
    assert parse_token((GOLDEN / "token.txt").read_text()) == TOKEN


def test_a_token_may_say_less() -> None:
    """An exchange without CA and users needs none in the token."""
    bare = JoinToken(CLUSTERSET, WEST, TOKEN.expires_at, "redis://127.0.0.1", TOKEN.authority_key, EAST, SEED)
    assert bare == parse_token(encode_token(bare))


def test_the_seed_is_the_key_that_vouches() -> None:
    """The token's key is made of its seed."""
    assert TOKEN.key.private_bytes_raw() == SEED
    assert public_key(TOKEN.key) not in SEED


def test_secrets_are_not_shown() -> None:
    """Neither representation of a token holds its seed or its password."""
    shown = f"{TOKEN!r} {TOKEN} {[TOKEN]}"
    assert [secret for secret in ("ssss", SEED.hex(), "hunter2") if secret in shown] == []


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0), char=st.sampled_from("ABCXYZabcxyz0189-_+/=. é\0"))
def test_no_character_may_differ(at: int, char: str) -> None:
    """A token in which one character was changed is refused, and not repeated."""
    line = encode_token(TOKEN)
    at %= len(line)
    altered = line[:at] + char + line[at + 1 :]
    if altered.strip() != line:
        error = refusal(altered)
        assert (error.reason, str(error)) == ("TokenAltered", "the token is altered or not whole")
        assert error.__cause__ is None


def test_the_last_character_has_no_second_spelling() -> None:
    """Bits of the last character that no byte needs can't be set."""
    tokens = [encode_token(replace(TOKEN, exchange_user="u" * length)) for length in range(3)]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for line in tokens:
        for char in alphabet:
            if char != line[-1]:
                assert refusal(line[:-1] + char).reason == "TokenAltered"


@pytest.mark.parametrize("length", [0, 1, 5, 20, 100, -1])
def test_a_cut_token(length: int) -> None:
    """A part of a token is none, and the hint says what to do."""
    error = refusal(encode_token(TOKEN)[:length])
    assert error.reason == "TokenAltered"
    assert "federation token create" in error.hint


@pytest.mark.parametrize(
    "token",
    [
        replace(TOKEN, seed=b"s" * 31),
        replace(TOKEN, authority_key=b""),
        replace(TOKEN, cluster=ClusterId("West")),
        replace(TOKEN, seat=ClusterId("")),
        replace(TOKEN, clusterset="a.b"),
    ],
    ids=["seed", "authority", "cluster", "seat", "clusterset"],
)
def test_a_token_that_nobody_makes(token: JoinToken) -> None:
    """Names and keys of a token have their form."""
    assert refusal(encode_token(token)).reason == "TokenAltered"


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(), st.binary().map(lambda raw: "fgt1." + base64.urlsafe_b64encode(raw).decode())))
def test_any_other_text(text: str) -> None:
    """Whatever is read as a token ends in the one refusal."""
    assert refusal(text).reason == "TokenAltered"
