"""Trust anchors: the CA certificates of a trust domain, as a verifier gets them that is laxer than the standard.

Envoy's SPIFFE validator chooses the bundle by the first URI of a certificate and matches identities against any. With
anchors that vouch for no URI outside their trust domain, every URI counts (docs/decisions/009). Pure. It must not
decide whom to trust; ``bundle`` does.
"""

from __future__ import annotations

from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from federation.model.errors import TrustError
from trustbundle.identity import TrustDomain
from trustbundle.x509 import extension, parse_certificate

# A fixed key: equal anchors must be equal bytes, or they would be sent anew with every pass.
_NOBODY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))


# A pass over every peer's bundle meets the same few certificates again and again.
@lru_cache(maxsize=4096)
def constrain_authority(der: bytes, trust_domain: TrustDomain) -> bytes:
    """A CA certificate (DER) with a critical name constraint to URIs of ``trust_domain`` (RFC 5280 §4.2.1.10).

    Name, key, validity and all else stay, and so does what it has signed. The signature is nobody's: none is verified
    on an anchor, and ``parse_authority`` has seen the real one. Raises TrustError (``NotConstrainable``) where the
    certificate's own constraints, or something that RFC 5280 forbids, leave no such anchor.
    """
    certificate = parse_certificate(der)
    key = certificate.public_key()
    try:
        if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
            raise TypeError("its key is none that a bundle may hold")
        builder = (
            x509.CertificateBuilder()
            .subject_name(certificate.subject)
            .issuer_name(certificate.issuer)
            .public_key(key)
            .serial_number(certificate.serial_number)
            .not_valid_before(certificate.not_valid_before_utc)
            .not_valid_after(certificate.not_valid_after_utc)
            .add_extension(_uris_within(extension(certificate, x509.NameConstraints), trust_domain), critical=True)
        )
        for kept in certificate.extensions:
            if not isinstance(kept.value, x509.NameConstraints):
                builder = builder.add_extension(kept.value, critical=kept.critical)
        return builder.sign(_NOBODY, None).public_bytes(Encoding.DER)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise TrustError(
            f"CA certificate can't be constrained to {trust_domain}: {error}"[:200], reason="NotConstrainable"
        ) from error


def _uris_within(given: x509.Extension[x509.NameConstraints] | None, trust_domain: TrustDomain) -> x509.NameConstraints:
    """What ``given`` permits, and of URIs those of the trust domain only."""
    if trust_domain.startswith("."):
        raise ValueError("with its leading dot the constraint would permit every domain below")
    permitted = list(given.value.permitted_subtrees or ()) if given is not None else []
    hosts = [name.value for name in permitted if isinstance(name, x509.UniformResourceIdentifier)]
    if hosts and not any(trust_domain == host or (host[:1] == "." and trust_domain.endswith(host)) for host in hosts):
        raise ValueError("its own constraints permit no URI of it")
    others = [name for name in permitted if not isinstance(name, x509.UniformResourceIdentifier)]
    return x509.NameConstraints(
        permitted_subtrees=[*others, x509.UniformResourceIdentifier(trust_domain)],
        excluded_subtrees=given.value.excluded_subtrees if given is not None else None,
    )
