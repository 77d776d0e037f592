"""Certificates of an exchange server's own small CA: ECDSA P-256, for the TLS between members and server alone.

No part of the trust between workloads. Pure but for the signatures' randomness: keys, serial numbers and time come in
as arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_LIFE = timedelta(days=3650)
SERVER_LIFE = timedelta(days=90)
_SKEW = timedelta(minutes=5)
"""Certificates are valid from a little earlier on, for members whose clocks are behind."""


def ca_certificate(key: ec.EllipticCurvePrivateKey, serial: int, now: datetime) -> x509.Certificate:
    """The CA's own certificate, good for ten years."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "federation exchange CA")])
    return (
        x509.CertificateBuilder(name, name, key.public_key(), serial, now - _SKEW, now + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def server_certificate(
    key: ec.EllipticCurvePublicKey,
    names: Sequence[str],
    serial: int,
    now: datetime,
    *,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    life: timedelta = SERVER_LIFE,
) -> x509.Certificate:
    """A server's certificate for host names and IP addresses, by default good for 90 days."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "federation exchange")])
    return (
        x509.CertificateBuilder(ca.subject, subject, key, serial, now - _SKEW, now + life)
        .add_extension(x509.SubjectAlternativeName(tuple(map(_general_name, names))), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        # Servers that replicate, or form a Cluster, are each other's clients.
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def serves(certificate: x509.Certificate, names: Sequence[str], now: datetime) -> bool:
    """Whether a server's certificate is for exactly these names and has at least a third of its life before it."""
    stated = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return set(stated) == set(map(_general_name, names)) and begin <= now and end - now >= (end - begin) / 3


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
