"""What a constrained trust anchor keeps of the CA certificate, and what it adds."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from federation.model.errors import TrustError
from support.certificates import Ca, make_ca
from support.clock import START as NOW
from trustbundle.anchors import constrain_authority
from trustbundle.identity import TrustDomain

EAST = TrustDomain("east.example")
CA = make_ca(NOW, uris=["spiffe://east.example"], name="east")


def _anchor(ca: Ca, trust_domain: TrustDomain = EAST) -> x509.Certificate:
    return x509.load_der_x509_certificate(constrain_authority(ca.der, trust_domain))


def _constraints(certificate: x509.Certificate) -> x509.Extension[x509.NameConstraints]:
    return certificate.extensions.get_extension_for_class(x509.NameConstraints)


def _hosts(names: Sequence[x509.GeneralName] | None) -> list[str]:
    return [str(name.value) for name in names or ()]


def _constrained(**constraints: list[x509.GeneralName] | None) -> Ca:
    """A CA whose certificate brings name constraints of its own."""
    given = {"permitted_subtrees": None, "excluded_subtrees": None} | constraints
    builder = (
        x509.CertificateBuilder()
        .subject_name(CA.certificate.subject)
        .issuer_name(CA.certificate.subject)
        .public_key(CA.key.public_key())
        .serial_number(7)
        .not_valid_before(CA.certificate.not_valid_before_utc)
        .not_valid_after(CA.certificate.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.NameConstraints(**given), critical=False)
    )
    return Ca(builder.sign(CA.key, hashes.SHA256()), CA.key)


def test_an_anchor_vouches_for_uris_of_its_domain_only() -> None:
    """The one constraint is critical and permits the domain's very name among URIs; other kinds of name are free."""
    constraints = _constraints(_anchor(CA))
    assert constraints.critical
    assert constraints.value == x509.NameConstraints([x509.UniformResourceIdentifier("east.example")], None)


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)])
def test_an_anchor_is_the_same_ca(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    """Name, key, serial number, validity and all other extensions are the certificate's, so its chains end in it."""
    ca = make_ca(NOW, uris=["spiffe://east.example"], name="east", key=key)
    anchor, own = _anchor(ca), ca.certificate
    for part in ("subject", "issuer", "serial_number", "not_valid_before_utc", "not_valid_after_utc"):
        assert getattr(anchor, part) == getattr(own, part)
    assert anchor.public_key() == own.public_key()
    assert [each for each in anchor.extensions if each.oid != x509.NameConstraints.oid] == list(own.extensions)


def test_equal_certificates_make_equal_anchors() -> None:
    """Nothing is drawn by lot: what did not change is not sent again."""
    constrain_authority.cache_clear()
    first = constrain_authority(CA.der, EAST)
    constrain_authority.cache_clear()
    assert constrain_authority(CA.der, EAST) == first


@pytest.mark.parametrize("host", ["east.example", ".example"])
def test_constraints_of_the_certificate_stay(host: str) -> None:
    """Its own constraints are narrowed, never widened: other kinds of name as they were, URIs to the domain."""
    uri, dns = x509.UniformResourceIdentifier, x509.DNSName
    ca = _constrained(permitted_subtrees=[dns("a.example"), uri(host)], excluded_subtrees=[dns("b.example")])
    constraints = _constraints(_anchor(ca))
    assert constraints.critical
    assert _hosts(constraints.value.permitted_subtrees) == ["a.example", "east.example"]
    assert _hosts(constraints.value.excluded_subtrees) == ["b.example"]


@pytest.mark.parametrize(
    ("ca", "trust_domain"),
    [
        (_constrained(permitted_subtrees=[x509.UniformResourceIdentifier("west.example")]), "east.example"),
        (_constrained(permitted_subtrees=[x509.UniformResourceIdentifier("example")]), "east.example"),
        (CA, ".example"),
    ],
    ids=["of another domain", "of a domain above", "of every domain below"],
)
def test_no_anchor_for_a_domain_that_it_can_not_hold(ca: Ca, trust_domain: str) -> None:
    """A domain that the certificate's own constraints exclude, or whose constraint would hold others, has none."""
    with pytest.raises(TrustError) as caught:
        constrain_authority(ca.der, TrustDomain(trust_domain))
    assert caught.value.reason == "NotConstrainable"
