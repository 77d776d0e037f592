"""SDS secrets: a node's certificate, and one bundle per trust domain."""

from __future__ import annotations

from gateway.xds import protos as pb
from gateway.xds.translate.secrets import bundles_secret, svid_secret, tickets_secret
from gateway.xds.translate.tls import BUNDLES_SECRET, OWN_SECRET, TICKETS_SECRET


def test_a_certificate_travels_with_its_key() -> None:
    """Chain and key are inline, under the one name by which every listener and cluster asks for them."""
    secret = svid_secret(b"chain", b"key")
    certificate = secret.tls_certificate
    assert secret.name == OWN_SECRET
    assert (certificate.certificate_chain.inline_bytes, certificate.private_key.inline_bytes) == (b"chain", b"key")


def test_bundles_are_never_pooled() -> None:
    """Each trust domain is verified by its own certificates: there is no common trusted_ca beside them."""
    context = bundles_secret([("east.test", "E"), ("west.test", "W")]).validation_context
    validator = pb.unpack(context.custom_validator_config.typed_config, pb.SPIFFECertValidatorConfig)
    assert [(domain.name, domain.trust_bundle.inline_string) for domain in validator.trust_domains] == [
        ("east.test", "E"),
        ("west.test", "W"),
    ]
    assert not context.HasField("trusted_ca")


def test_the_bundles_have_the_name_that_is_asked_for() -> None:
    """Under another name, no listener would ever become ready."""
    assert bundles_secret([]).name == BUNDLES_SECRET


def test_tickets_are_made_with_one_key() -> None:
    """A second one would let sessions live on that were to end."""
    secret = tickets_secret(b"k" * 80)
    assert secret.name == TICKETS_SECRET
    assert [key.inline_bytes for key in secret.session_ticket_keys.keys] == [b"k" * 80]
