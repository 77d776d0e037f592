"""What a CA elsewhere says: PEM or document, judged by itself and against what was taken before."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.model.errors import TrustError
from federation.model.names import ClusterId
from federation.model.records import Member
from federation.model.wire import encode_record
from support.certificates import Ca, make_ca, make_leaf
from support.clock import START
from trustbundle.bundle import BundleRejected, TrustBundle, to_jwks
from trustbundle.external import (
    DEFAULT_INTERVAL,
    MAX_AUTHORITIES,
    MAX_CONTENT_BYTES,
    BundleContent,
    TakenBundle,
    parse_content,
    take,
)
from trustbundle.identity import TrustDomain

EAST = TrustDomain("east.test")
OLD, NEW = make_ca(START, name="old"), make_ca(START, uris=["spiffe://east.test"], name="new")
DAY = timedelta(days=1)


def document(*cas: Ca, sequence: int = 7, hint: timedelta = timedelta(seconds=60)) -> bytes:
    return to_jwks(TrustBundle(EAST, sequence, tuple(ca.der for ca in cas)), hint)


def reason_of(content: bytes) -> str:
    with pytest.raises(TrustError) as caught:
        parse_content(content, EAST)
    return caught.value.reason


def taken(*cas: Ca, sequence: int = 100, origin_sequence: int = 0, origin: str = "here") -> TakenBundle:
    return TakenBundle(EAST, sequence, tuple(ca.der for ca in cas), origin, origin_sequence, START)


def test_pem_is_read_with_whatever_stands_between_its_certificates() -> None:
    """A root as Istio mounts it, with or without remarks, in its order; a certificate given twice counts once."""
    text = f"# the old one\n{OLD.pem}\n\n{NEW.pem}{OLD.pem}"

    assert parse_content(text.encode(), EAST) == BundleContent((OLD.der, NEW.der))


def test_a_document_is_read_with_its_sequence_and_hint() -> None:
    """A SPIFFE bundle document is known by its brace, also after blanks."""
    read = parse_content(b" \n" + document(OLD, NEW), EAST)

    assert read == BundleContent((OLD.der, NEW.der), 7, timedelta(seconds=60))


def test_no_keys_revoke_everything_and_nothing_else_does() -> None:
    """An empty list of keys says so; an empty file, a document without keys or of other keys only is no such word."""
    assert parse_content(b'{"keys": [], "spiffe_sequence": 9}', EAST) == BundleContent((), 9)
    assert reason_of(b"") == "Empty"
    assert reason_of(b" \n\t") == "Empty"
    assert reason_of(b"{}") == "Malformed"
    assert reason_of(b'{"keys": [{"kty": "EC", "use": "jwt-svid", "kid": "k"}]}') == "NoX509Authorities"


def test_what_peers_would_refuse_is_refused_here() -> None:
    """One bad certificate spoils the whole, as it would for every peer: none of it is taken."""
    foreign, leaf = make_ca(START, uris=["spiffe://west.test"]), make_leaf(OLD, START, uris=["spiffe://east.test/a"])
    intermediate = make_ca(START, name="intermediate", issuer=OLD)

    assert reason_of((OLD.pem + foreign.pem).encode()) == "ForeignAuthority"
    assert reason_of((OLD.pem + leaf.chain_pem).encode()) == "NotACa"
    assert reason_of((OLD.pem + intermediate.pem).encode()) == "NotSelfSigned"
    assert (
        reason_of(OLD.pem.encode() + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n") == "Malformed"
    )
    assert reason_of(b"hello") == "Malformed"
    assert reason_of(b'{"keys": 1}') == "Malformed"
    assert reason_of(document(OLD).replace(b":60", b":" + b"9" * 30)) == "Malformed"
    assert reason_of(document(OLD, sequence=2**63)) == "Malformed"


def test_a_private_key_beside_the_certificates_is_told_of_and_not_shown() -> None:
    """Who mounts the key with the root has made a mistake; nothing of the key is in what is said of it."""
    leaf = make_leaf(OLD, START, uris=["spiffe://east.test/a"])
    with pytest.raises(TrustError) as caught:
        parse_content((OLD.pem + leaf.key_pem).encode(), EAST)

    assert (caught.value.reason, str(caught.value)) == (
        "PrivateKey",
        "it holds a private key; a bundle holds certificates only",
    )


_PIECES = st.sampled_from(
    [
        b"{",
        b"}",
        b"[" * 5000,
        b'"keys":',
        b'"spiffe_sequence":',
        b"-1e999",
        b",",
        b'{"use":"x509-svid","kty":"EC","x5c":["AAAA"]}',
        b"-----BEGIN CERTIFICATE-----\n",
        b"-----END CERTIFICATE-----\n",
        OLD.pem.encode(),
        document(OLD)[1:-1],
        b"\xff\x00",
    ]
)


@settings(deadline=None, max_examples=300)
@given(st.lists(_PIECES | st.binary(max_size=8), max_size=8).map(b"".join))
def test_whatever_is_said_is_taken_or_refused(content: bytes) -> None:
    """No content ends the controller: what can't be used is a TrustError."""
    with contextlib.suppress(TrustError):
        assert parse_content(content, EAST).authorities in {(), (OLD.der,)}


def test_what_is_taken_fits_a_record_of_the_exchange() -> None:
    """As many CA certificates as are taken can be published, one more is refused; and so is a file out of bounds."""
    many = [make_ca(START, name=f"{number}") for number in range(MAX_AUTHORITIES)]
    read = parse_content(document(*many), EAST)
    record = TrustBundle(EAST, 1, read.authorities).record

    assert encode_record(record, Member(ClusterId("east"), EAST, bytes(32)))
    assert reason_of(document(*many, OLD)) == "Oversized"
    assert reason_of(b"#" * (MAX_CONTENT_BYTES + 1)) == "Oversized"


@pytest.mark.parametrize(
    ("hint", "interval"),
    [
        (None, DEFAULT_INTERVAL),
        (timedelta(seconds=-1), timedelta(seconds=10)),
        (timedelta(seconds=1), timedelta(seconds=10)),
        (timedelta(seconds=90), timedelta(seconds=90)),
        (timedelta(days=9), timedelta(hours=1)),
    ],
)
def test_the_source_is_asked_again_at_its_hint_within_bounds(hint: timedelta | None, interval: timedelta) -> None:
    """Five minutes by default; never more often than every ten seconds, nor less than every hour."""
    assert BundleContent((), 0, hint).interval == interval


def test_the_first_sequence_is_the_time() -> None:
    """Or one more than the built-in CA's, where that is further."""
    content, far = BundleContent((OLD.der,), 3), int(START.timestamp()) + 9
    judged = take(content, "here", None, EAST, START)
    after_ours = take(content, "here", None, EAST, START, above=far)

    assert judged == TakenBundle(EAST, int(START.timestamp()), (OLD.der,), "here", 3, START)
    assert after_ours == replace(judged, sequence=far + 1)


def test_the_same_authorities_in_another_order_are_no_change() -> None:
    """The sequence that peers see stays; only when the source was heard of last is new."""
    judged = take(BundleContent((NEW.der, OLD.der), 8), "here", taken(OLD, NEW, origin_sequence=7), EAST, START + DAY)

    assert judged == TakenBundle(EAST, 100, (OLD.der, NEW.der), "here", 8, START + DAY)


def test_a_document_that_went_back_is_refused_unless_its_source_is_another() -> None:
    """A replay of the same source leaves the last good; of a source with other parameters nothing is known yet."""
    content = BundleContent((NEW.der,), 6)

    refused = take(content, "here", taken(OLD, origin_sequence=7), EAST, START)
    other = take(content, "elsewhere", taken(OLD, origin_sequence=7), EAST, START)

    assert refused == BundleRejected("SequenceWentBack", "its sequence is 6, taken is 7 already")
    assert other == TakenBundle(EAST, int(START.timestamp()), (NEW.der,), "elsewhere", 6, START)


WORDS = st.tuples(
    st.sets(st.sampled_from([b"one", b"two", b"three"])).map(lambda some: tuple(sorted(some))),
    st.integers(0, 5),
    st.sampled_from(["here", "there"]),
    st.integers(-3, 3).map(lambda seconds: timedelta(seconds=seconds)),
)


@settings(deadline=None)
@given(st.lists(WORDS, max_size=12))
def test_peers_see_a_sequence_that_grows_with_every_change(
    words: list[tuple[tuple[bytes, ...], int, str, timedelta]],
) -> None:
    """Whatever sources say, in whatever order, with a clock that jumps: equal sequence, equal authorities."""
    held, now = None, START
    seen: dict[int, tuple[bytes, ...]] = {}
    for authorities, sequence, origin, step in words:
        now += step
        judged = take(BundleContent(authorities, sequence), origin, held, EAST, now)
        if isinstance(judged, BundleRejected):
            continue
        assert held is None or judged.sequence >= held.sequence
        assert seen.setdefault(judged.sequence, judged.authorities) == judged.authorities
        assert frozenset(judged.authorities) == frozenset(authorities)
        held = judged
