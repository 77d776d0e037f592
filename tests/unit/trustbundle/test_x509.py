"""The profiles of the certificates made here, and which CA certificates a bundle may hold."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.model.errors import TrustError
from support.certificates import Ca, key_usage, make_ca
from support.clock import START as NOW
from trustbundle.identity import SpiffeId, TrustDomain, workload_id
from trustbundle.x509 import build_authority, build_svid, parse_authority

EAST = TrustDomain("east.example")
DAY = timedelta(days=1)
CA_KEY = ec.generate_private_key(ec.SECP256R1())
CA = build_authority(trust_domain=EAST, key=CA_KEY, serial=7, not_before=NOW, not_after=NOW + DAY)


def _svid(spiffe_id: SpiffeId) -> x509.Certificate:
    der = build_svid(
        spiffe_id=spiffe_id,
        public_key=ec.generate_private_key(ec.SECP256R1()).public_key(),
        serial=8,
        not_before=NOW,
        not_after=NOW + DAY,
        issuer=CA,
        issuer_key=CA_KEY,
    )
    return x509.load_der_x509_certificate(der)


def test_authority_profile() -> None:
    """A CA certificate may sign certificates and CRLs and nothing else, and carries its domain's ID without a path."""
    extensions = x509.load_der_x509_certificate(CA).extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    san = extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert (constraints.critical, constraints.value) == (True, x509.BasicConstraints(ca=True, path_length=None))
    assert (usage.critical, usage.value) == (True, key_usage("key_cert_sign", "crl_sign"))
    assert list(san.value) == [x509.UniformResourceIdentifier("spiffe://east.example")]


def test_authority_is_parsed() -> None:
    """A CA certificate made here passes the checks for bundles, with its domain and times."""
    authority = parse_authority(CA)
    assert (authority.trust_domain, authority.not_before, authority.not_after) == (EAST, NOW, NOW + DAY)


def test_svid_profile() -> None:
    """A leaf has an empty subject, one critical URI, and exactly the usages of an X509-SVID."""
    leaf = _svid(workload_id(EAST, "demo", "echo"))
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert leaf.subject == x509.Name([])
    assert constraints.value == x509.BasicConstraints(ca=False, path_length=None)
    assert (usage.critical, usage.value) == (True, key_usage("digital_signature"))
    assert set(purposes.value) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert (san.critical, list(san.value)) == (
        True,
        [x509.UniformResourceIdentifier("spiffe://east.example/ns/demo/sa/echo")],
    )


def test_svid_needs_a_path() -> None:
    """No leaf is made for the trust domain itself."""
    with pytest.raises(ValueError, match="names a trust domain, not a workload"):
        _svid(SpiffeId(EAST))


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)],
    ids=["P-384", "RSA 2048"],
)
def test_foreign_roots_are_accepted(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    """A root made elsewhere, with another strong key and no SPIFFE ID, is a good authority."""
    assert parse_authority(make_ca(NOW, key=key).der).trust_domain is None


BAD_AUTHORITIES: dict[str, tuple[Ca, str]] = {
    "no CA": (make_ca(NOW, is_ca=False), "NotACa"),
    "no keyCertSign": (make_ca(NOW, usage=key_usage("digital_signature")), "NoCertSign"),
    "P-521": (make_ca(NOW, key=ec.generate_private_key(ec.SECP521R1())), "WeakKey"),
    "RSA 1024": (make_ca(NOW, key=rsa.generate_private_key(65537, 1024)), "WeakKey"),
    "no subject": (make_ca(NOW, name=""), "EmptySubject"),
    "intermediate": (make_ca(NOW, name="sub", issuer=make_ca(NOW)), "NotSelfSigned"),
    "signed by another key of the same name": (make_ca(NOW, name="test CA", issuer=make_ca(NOW)), "NotSelfSigned"),
    "path": (make_ca(NOW, uris=["spiffe://east.example/ca"]), "AuthorityHasPath"),
    "two domains": (make_ca(NOW, uris=["spiffe://east.example", "spiffe://west.example"]), "SeveralUriSans"),
    "bad ID": (make_ca(NOW, uris=["spiffe://east.example:1"]), "NotASpiffeId"),
}


@pytest.mark.parametrize("what", BAD_AUTHORITIES)
def test_bad_authorities(what: str) -> None:
    """A certificate that can't or must not be an authority is refused with the reason."""
    ca, reason = BAD_AUTHORITIES[what]
    with pytest.raises(TrustError) as caught:
        parse_authority(ca.der)
    assert caught.value.reason == reason


# A mutated certificate may have a serial number or a time that the library warns of before it is refused.
@pytest.mark.filterwarnings("ignore")
@settings(deadline=None, max_examples=300)
@given(st.one_of(st.binary(max_size=64), st.tuples(st.integers(0, len(CA) - 1), st.integers(0, 255))))
def test_any_bytes(change: bytes | tuple[int, int]) -> None:
    """Bytes of a peer are an authority or a TrustError, never another exception; damaged ones are the latter."""
    der = change if isinstance(change, bytes) else CA[: change[0]] + bytes([change[1]]) + CA[change[0] + 1 :]
    if der == CA:
        return
    with pytest.raises(TrustError):
        parse_authority(der)
