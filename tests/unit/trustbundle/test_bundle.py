"""Which bundles are accepted, and how they are written down."""

from __future__ import annotations

import base64
import json
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from federation.model.errors import TrustError
from federation.model.names import ClusterId
from federation.model.records import BundleRecord, Member
from support.certificates import Ca, make_ca
from support.clock import START as NOW
from trustbundle.anchors import constrain_authority
from trustbundle.bundle import (
    NO_CLAIMS,
    BundleRejected,
    Claims,
    TrustBundle,
    TrustView,
    accept,
    normalised_validator_domains,
    parse_jwks,
    to_jwks,
)
from trustbundle.identity import TrustDomain
from trustbundle.x509 import certificate_pem

EAST = TrustDomain("east.example")
WEST = TrustDomain("west.example")
MEMBER = Member(ClusterId("east"), EAST, bytes(32))
CA = make_ca(NOW, uris=["spiffe://east.example"], name="east 1")
NEXT = make_ca(NOW, uris=["spiffe://east.example"], name="east 2")
PLAIN = make_ca(NOW, name="a mesh's own root")
FIVE_MINUTES = timedelta(minutes=5)


def _record(*authorities: bytes, trust_domain: str = EAST, sequence: int = 3) -> BundleRecord:
    return BundleRecord(trust_domain, sequence, authorities)


def _anchors(trust_domain: TrustDomain, *cas: Ca) -> str:
    return "".join(certificate_pem(constrain_authority(ca.der, trust_domain)) for ca in cas)


def _rejection(record: BundleRecord, previous: TrustBundle | None = None, claims: Claims = NO_CLAIMS) -> str | None:
    outcome = accept(record, MEMBER, previous, NOW, claims=claims)
    return outcome.reason if isinstance(outcome, BundleRejected) else None


def test_good_bundle() -> None:
    """A bundle of the member's own domain is accepted in its order, each certificate once."""
    record = _record(CA.der, NEXT.der, CA.der)
    assert accept(record, MEMBER, None, NOW) == TrustBundle(EAST, 3, (CA.der, NEXT.der))


def test_record_and_back() -> None:
    """What a bundle says in its record is accepted as the same bundle."""
    bundle = TrustBundle(EAST, 3, (CA.der, PLAIN.der))
    assert accept(bundle.record, MEMBER, bundle, NOW) == bundle


def test_what_is_said_of_leaves_stays_with_its_authority() -> None:
    """Also where others are left out, or named twice."""
    expired = make_ca(NOW, name="old", lifetime=timedelta(minutes=-1))
    record = BundleRecord(EAST, 3, (expired.der, CA.der, CA.der, NEXT.der), (1, 2, 2, 3))
    assert accept(record, MEMBER, None, NOW) == TrustBundle(EAST, 3, (CA.der, NEXT.der), (2, 3))


def test_no_leaf_outlives_its_authority() -> None:
    """A domain may say that leaves end sooner than it, and no more; where it says nothing they end with it."""
    end = NOW + timedelta(days=1)
    sooner, later = int(NOW.timestamp()), int(end.timestamp()) + 60
    assert TrustBundle(EAST, 3, (CA.der, NEXT.der), (sooner, later)).leaf_ends == {CA.der: NOW, NEXT.der: end}
    assert TrustBundle(EAST, 3, (CA.der,)).leaf_ends == {CA.der: end}


def test_empty_bundle() -> None:
    """A bundle without authorities is accepted: the domain has revoked everything."""
    assert accept(_record(), MEMBER, TrustBundle(EAST, 2, (CA.der,)), NOW) == TrustBundle(EAST, 3, ())


def test_expired_authorities_are_left_out() -> None:
    """An authority that has expired is left out, the others stay."""
    expired = make_ca(NOW, name="old", lifetime=timedelta(minutes=-1))
    assert accept(_record(expired.der, CA.der), MEMBER, None, NOW) == TrustBundle(EAST, 3, (CA.der,))


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (_record(CA.der, trust_domain=WEST), "WrongTrustDomain"),
        (_record(CA.der, make_ca(NOW, uris=["spiffe://west.example"]).der), "ForeignAuthority"),
        (_record(CA.der, b"\x30\x00"), "Malformed"),
        (_record(CA.der, make_ca(NOW, is_ca=False).der), "NotACa"),
        (_record(CA.der, sequence=1), "SequenceWentBack"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused_whole(record: BundleRecord, reason: str) -> None:
    """One thing wrong with a bundle refuses all of it, with the reason as a value."""
    assert _rejection(record, previous=TrustBundle(EAST, 2, (CA.der,))) == reason


def test_same_sequence_again() -> None:
    """The bundle that was accepted last is accepted again."""
    assert _rejection(_record(CA.der, sequence=2), previous=TrustBundle(EAST, 2, (CA.der,))) is None


def test_domain_name_of_another_member_with_bad_grammar() -> None:
    """A trust domain that is no SPIFFE trust domain is refused even where membership names it so."""
    member = Member(ClusterId("east"), "East Example", bytes(32))
    outcome = accept(_record(CA.der, trust_domain="East Example"), member, None, NOW)
    assert isinstance(outcome, BundleRejected)
    assert outcome.reason == "BadTrustDomain"


def test_key_that_vouches_for_another_domain() -> None:
    """A CA key that is in another domain's accepted bundle is refused, in the same certificate or a new one."""
    claims = {WEST: TrustBundle(WEST, 1, (PLAIN.der,)).keys}
    same_key = make_ca(NOW, name="renewed", key=PLAIN.key)
    assert _rejection(_record(PLAIN.der), claims=claims) == "SharedAuthority"
    assert _rejection(_record(CA.der, same_key.der), claims=claims) == "SharedAuthority"
    assert _rejection(_record(CA.der), claims=claims) is None


def test_key_is_not_foreign_in_its_own_domain() -> None:
    """A domain's own earlier bundle does not stand in the way of its next."""
    claims = {EAST: TrustBundle(EAST, 1, (PLAIN.der,)).keys}
    assert _rejection(_record(PLAIN.der, CA.der), claims=claims) is None


def test_another_domains_key_can_not_be_claimed() -> None:
    """A certificate for a victim's CA key, signed by the claimant's CA, is refused: it would lock the victim out."""
    claim = make_ca(NOW, uris=["spiffe://east.example"], name="claim", key=PLAIN.key, issuer=CA)
    assert _rejection(_record(CA.der, claim.der)) == "NotSelfSigned"


def test_validator_domains() -> None:
    """Envoy gets one entry per domain, sorted, each with its own authorities only, and none for a revoked domain."""
    view = (
        TrustView()
        .with_bundle(TrustBundle(WEST, 1, (PLAIN.der,)))
        .with_bundle(TrustBundle(TrustDomain("gone.example"), 1, ()))
        .with_bundle(TrustBundle(EAST, 1, (CA.der, NEXT.der)))
    )
    east = ("east.example", _anchors(EAST, CA, NEXT))
    assert normalised_validator_domains(view) == (east, ("west.example", _anchors(WEST, PLAIN)))


def test_a_bundle_that_can_not_be_constrained_to_its_domain_is_refused() -> None:
    """Such a trust domain is refused by itself, before it could spoil the configuration that holds all of them."""
    below = Member(ClusterId("east"), ".example", bytes(32))
    outcome = accept(_record(PLAIN.der, trust_domain=".example"), below, None, NOW)
    assert isinstance(outcome, BundleRejected)
    assert outcome.reason == "NotConstrainable"


def test_document_and_back() -> None:
    """A bundle document reads back as the same bundle, for every kind of key, with its refresh hint."""
    rsa_ca = make_ca(NOW, key=rsa.generate_private_key(65537, 2048))
    p384_ca = make_ca(NOW, key=ec.generate_private_key(ec.SECP384R1()))
    bundle = TrustBundle(EAST, 2**53 + 1, (CA.der, rsa_ca.der, p384_ca.der))
    assert parse_jwks(to_jwks(bundle, FIVE_MINUTES), EAST) == (bundle, FIVE_MINUTES)


def test_document_form() -> None:
    """The document is a JWKS of the standard's form: no key id, one certificate per key, coordinates of full length."""
    document = json.loads(to_jwks(TrustBundle(EAST, 9, (CA.der,)), FIVE_MINUTES))
    (key,) = document.pop("keys")
    assert document == {"spiffe_sequence": 9, "spiffe_refresh_hint": 300}
    assert set(key) == {"kty", "crv", "x", "y", "use", "x5c"}
    assert (key["kty"], key["crv"], key["use"]) == ("EC", "P-256", "x509-svid")
    assert [len(base64.urlsafe_b64decode(key[part] + "=")) for part in "xy"] == [32, 32]
    assert key["x5c"] == [base64.b64encode(CA.der).decode()]


def _document(*keys: object) -> bytes:
    return json.dumps({"keys": keys}).encode()


def _key(*ders: bytes, **fields: object) -> dict[str, object]:
    certificates = [base64.b64encode(der).decode() for der in ders]
    return {"kty": "EC", "use": "x509-svid", "x5c": certificates} | fields


def test_document_with_foreign_keys() -> None:
    """Keys of unknown or missing use or type, and without a certificate, are skipped; the first certificate counts."""
    document = _document(
        _key(NEXT.der, use="jwt-svid", kid="1"),
        _key(NEXT.der, use="wit-svid"),
        _key(NEXT.der, use=None),
        _key(NEXT.der, kty="OKP"),
        _key(),
        {"kty": "EC", "use": "x509-svid"},
        {"use": "x509-svid"},
        _key(CA.der, NEXT.der, unknown={"a": 1}),
    )
    assert parse_jwks(document, EAST) == (TrustBundle(EAST, 0, (CA.der,)), None)


def test_document_without_keys() -> None:
    """An empty list of keys is a bundle: everything is revoked."""
    assert parse_jwks(b'{"keys": []}', EAST) == (TrustBundle(EAST, 0, ()), None)


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b"{}", b'{"keys": null}', b"[" * 100_000, _document(_key(b"no certificate")), b'{"keys":[1]}'],
    ids=["nothing", "list", "no keys", "null keys", "deep", "bad certificate", "no object"],
)
def test_unreadable_documents(document: bytes) -> None:
    """A document that is none is refused as malformed."""
    with pytest.raises(TrustError) as caught:
        parse_jwks(document, EAST)
    assert caught.value.reason == "Malformed"


def test_view_is_not_changed() -> None:
    """Putting a bundle into a view makes a new view."""
    view = TrustView()
    view.with_bundle(TrustBundle(EAST, 1, ()))
    assert dict(view.bundles) == {}
