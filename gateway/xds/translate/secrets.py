"""SDS secrets: a node's own SVID, the bundles that it verifies peers against, and the key of its session tickets."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.xds import protos as pb
from gateway.xds.translate.tls import BUNDLES_SECRET, OWN_SECRET, TICKETS_SECRET


def svid_secret(chain_pem: bytes, key_pem: bytes) -> pb.Message:
    """The node's own certificate chain (leaf first) and private key."""
    return pb.Secret(
        name=OWN_SECRET,
        tls_certificate=pb.TlsCertificate(
            certificate_chain=pb.DataSource(inline_bytes=chain_pem),
            private_key=pb.DataSource(inline_bytes=key_pem),
        ),
    )


def tickets_secret(key: bytes) -> pb.Message:
    """The key of the tickets that a node gives to its callers, 80 bytes. There is one: with another, tickets end."""
    return pb.Secret(
        name=TICKETS_SECRET, session_ticket_keys=pb.TlsSessionTicketKeys(keys=[pb.DataSource(inline_bytes=key)])
    )


def bundles_secret(domains: Sequence[tuple[str, str]]) -> pb.Message:
    """One entry per accepted trust domain: (name, its CA certificates as PEM). Bundles are never pooled."""
    validator = pb.SPIFFECertValidatorConfig(
        trust_domains=[
            pb.SPIFFECertValidatorConfig.TrustDomain(name=name, trust_bundle=pb.DataSource(inline_string=pem))
            for name, pem in domains
        ]
    )
    return pb.Secret(
        name=BUNDLES_SECRET,
        validation_context=pb.CertificateValidationContext(
            custom_validator_config=pb.TypedExtensionConfig(
                name="envoy.tls.cert_validator.spiffe", typed_config=pb.pack(validator)
            )
        ),
    )
