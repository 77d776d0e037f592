"""Certificates: build CA certificates and X.509-SVIDs, and read the CA certificates that a bundle carries.

Pure: keys, serial numbers and times come in as arguments. Profiles are those of the X509-SVID standard, §3
to §5. It must not decide whom to trust; ``bundle`` and ``verification`` do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from federation.model.errors import TrustError
from trustbundle.identity import SpiffeId, TrustDomain, parse_spiffe_id
from trustbundle.secret import SecretBytes

BACKDATE = timedelta(seconds=10)
"""How far a certificate's start lies before its issue, for verifiers whose clocks are late (as SPIRE
does)."""

MIN_RSA_BITS = 2048

Kind = TypeVar("Kind", bound=x509.ExtensionType)

# What cryptography raises for bytes that are no certificate, and later for parts of one that it can't read.
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA certificate that passed the checks of ``parse_authority``."""

    certificate: bytes
    """DER."""
    trust_domain: TrustDomain | None
    """From its SPIFFE URI SAN; None where it carries none (Istio's and Linkerd's roots don't)."""
    not_before: datetime
    not_after: datetime
    key_fingerprint: bytes
    """SHA-256 of the SubjectPublicKeyInfo: equal for two certificates of one key."""


def build_authority(
    *,
    trust_domain: TrustDomain,
    key: ec.EllipticCurvePrivateKey,
    serial: int,
    not_before: datetime,
    not_after: datetime,
) -> bytes:
    """A self-signed CA certificate (DER) of a trust domain: SPIFFE ID without path, keyCertSign and cRLSign
    only."""
    # The serial number in the name tells CAs of one domain apart; the domain itself may be too long for a
    # common name.
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "federation-gateway"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{serial:x}"),
        ]
    )
    key_identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=False, signs_certificates=True), critical=True)
        .add_extension(key_identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_identifier), critical=False)
        .add_extension(_uri_san(SpiffeId(trust_domain)), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.DER)


def build_svid(
    *,
    spiffe_id: SpiffeId,
    public_key: ec.EllipticCurvePublicKey,
    serial: int,
    not_before: datetime,
    not_after: datetime,
    issuer: bytes,
    issuer_key: ec.EllipticCurvePrivateKey,
    dns_names: Sequence[str] = (),
) -> bytes:
    """A leaf X.509-SVID (DER) for a workload, signed by the CA certificate ``issuer`` (DER).

    ``dns_names`` are for verifiers that know hosts only; an SVID may have them beside its one URI (X509-SVID §2).
    Raises ValueError for an identity without a path, which no leaf may carry (X509-SVID §2).
    """
    if not spiffe_id.path:
        raise ValueError(f"{spiffe_id} names a trust domain, not a workload")
    ca = x509.load_der_x509_certificate(issuer)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(ca.subject)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True, signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        # Critical because the subject is empty (RFC 5280 §4.2.1.6).
        .add_extension(_uri_san(spiffe_id, dns_names), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.DER)


def _uri_san(spiffe_id: SpiffeId, dns_names: Sequence[str] = ()) -> x509.SubjectAlternativeName:
    names = [x509.DNSName(name) for name in dns_names]
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(spiffe_id)), *names])


def _key_usage(*, digital_signature: bool, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def parse_certificate(der: bytes) -> x509.Certificate:
    """Read a DER certificate with its names, times and extensions; raises TrustError (``Malformed``)."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        # The library reads these only when asked, and then raises; whoever asks later need not expect that.
        for part in ("subject", "issuer", "not_valid_before_utc", "not_valid_after_utc", "extensions"):
            getattr(certificate, part)
    except _UNREADABLE as error:
        raise TrustError(f"certificate can't be read: {error}"[:200], reason="Malformed") from error
    return certificate


# A pass over every peer's bundle meets the same few certificates again and again.
@lru_cache(maxsize=4096)
def parse_authority(der: bytes) -> Authority:
    """Read and check one CA certificate (DER) of a bundle.

    Raises TrustError unless it is a self-signed CA that may sign certificates, with a key that is strong
    enough and at most one SPIFFE ID, which has no path. Self-signed, because the signature proves that who
    made the certificate holds the key: no one can claim another's CA key for a trust domain of their own.
    """
    certificate = parse_certificate(der)
    _check_signs_certificates(certificate)
    if not certificate.subject.rdns:
        raise TrustError("CA certificate has an empty subject: no chain can name it", reason="EmptySubject")
    fingerprint = sha256(_public_key_info(certificate)).digest()
    try:
        certificate.verify_directly_issued_by(certificate)
    except (*_UNREADABLE, InvalidSignature) as error:
        raise TrustError("CA certificate is not self-signed", reason="NotSelfSigned") from error
    return Authority(
        certificate=der,
        trust_domain=_authority_trust_domain(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        key_fingerprint=fingerprint,
    )


def _check_signs_certificates(certificate: x509.Certificate) -> None:
    constraints = extension(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.value.ca:
        raise TrustError("certificate in the bundle is not a CA", reason="NotACa")
    usage = extension(certificate, x509.KeyUsage)
    if usage is None or not usage.value.key_cert_sign:
        raise TrustError("CA certificate lacks key usage keyCertSign", reason="NoCertSign")


def _public_key_info(certificate: x509.Certificate) -> bytes:
    """SubjectPublicKeyInfo (DER); raises TrustError where the key is of another kind than P-256, P-384 or
    RSA ≥ 2048."""
    try:
        key = certificate.public_key()
    except _UNREADABLE as error:
        raise TrustError("public key of the CA certificate can't be read", reason="WeakKey") from error
    strong = (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)) or (
        isinstance(key, rsa.RSAPublicKey) and key.key_size >= MIN_RSA_BITS
    )
    if not strong:
        raise TrustError(
            "key of the CA certificate is none of ECDSA P-256, ECDSA P-384 and RSA of 2048 bits or more",
            reason="WeakKey",
        )
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _authority_trust_domain(certificate: x509.Certificate) -> TrustDomain | None:
    uris = [uri for uri in uri_names(certificate) if uri.lower().startswith("spiffe:")]
    if not uris:
        return None
    if len(uris) > 1:
        raise TrustError("CA certificate carries several SPIFFE IDs", reason="SeveralUriSans")
    try:
        spiffe_id = parse_spiffe_id(uris[0])
    except ValueError as error:
        raise TrustError(f"CA certificate carries no valid SPIFFE ID: {error}", reason="NotASpiffeId") from error
    if spiffe_id.path:
        raise TrustError(f"CA certificate carries {spiffe_id}, a SPIFFE ID with a path", reason="AuthorityHasPath")
    return spiffe_id.trust_domain


def uri_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Every URI of the subject alternative names."""
    san = extension(certificate, x509.SubjectAlternativeName)
    return tuple(san.value.get_values_for_type(x509.UniformResourceIdentifier)) if san is not None else ()


def extension(certificate: x509.Certificate, kind: type[Kind]) -> x509.Extension[Kind] | None:
    """One extension of a certificate, or None where it is absent."""
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def certificate_pem(der: bytes) -> str:
    """PEM of one DER certificate."""
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode()


def private_key_pem(key: ec.EllipticCurvePrivateKey) -> SecretBytes:
    """PKCS#8 PEM of a private key, not encrypted."""
    return SecretBytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
