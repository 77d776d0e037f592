"""verify_svid: whether a certificate chain proves a SPIFFE ID, by every rule the X509-SVID standard gives
validators.

Pure. Envoy verifies the traffic; this is for what reaches Python, and the yardstick that Envoy is tested
against. It must never pool trust domains: a chain is verified against the bundle of the domain that its own
URI names, because path validation alone would let any domain's CA vouch for any other's identities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from federation.model.errors import TrustError
from trustbundle.bundle import TrustBundle
from trustbundle.identity import SpiffeId, TrustDomain, parse_spiffe_id
from trustbundle.x509 import extension, parse_certificate, uri_names

MAX_CHAIN = 8
"""Certificates in a chain; nobody's mesh has more tiers, and path building costs a peer's wish in
signatures."""


def verify_svid(chain: Sequence[bytes], bundles: Mapping[TrustDomain, TrustBundle], now: datetime) -> SpiffeId:
    """The identity that a chain (DER, leaf first) proves at ``now``; raises TrustError with a reason code."""
    if not chain:
        raise TrustError("no certificate was presented", reason="NoCertificate")
    if len(chain) > MAX_CHAIN:
        raise TrustError(f"chain has more than {MAX_CHAIN} certificates", reason="ChainTooLong")
    leaf, *intermediates = [parse_certificate(der) for der in chain]
    spiffe_id = _leaf_id(leaf)
    _check_leaf_constraints(leaf)
    _check_leaf_usage(leaf)
    _check_leaf_time(leaf, spiffe_id, now)
    bundle = bundles.get(spiffe_id.trust_domain)
    if bundle is None:
        raise TrustError(f"trust domain of {spiffe_id} is not trusted here", reason="UnknownTrustDomain")
    if not bundle.authorities:
        raise TrustError(f"trust domain of {spiffe_id} has revoked all its authorities", reason="NoAuthorities")
    _check_path(leaf, intermediates, bundle, spiffe_id, now)
    return spiffe_id


def _leaf_id(leaf: x509.Certificate) -> SpiffeId:
    uris = uri_names(leaf)
    if not uris:
        raise TrustError("certificate carries no URI", reason="NoUriSan")
    # Envoy's SPIFFE validator looks at the first URI only, its matchers at any: never let the two differ.
    if len(uris) > 1:
        raise TrustError("certificate carries more than one URI", reason="SeveralUriSans")
    try:
        spiffe_id = parse_spiffe_id(uris[0])
    except ValueError as error:
        raise TrustError(f"certificate carries no valid SPIFFE ID: {error}", reason="NotASpiffeId") from error
    if not spiffe_id.path:
        raise TrustError(f"{spiffe_id} names a trust domain, not a workload", reason="RootPath")
    return spiffe_id


def _check_leaf_constraints(leaf: x509.Certificate) -> None:
    constraints = extension(leaf, x509.BasicConstraints)
    if constraints is not None and constraints.value.ca:
        raise TrustError("a CA certificate can't authenticate a workload", reason="LeafIsCa")
    san = extension(leaf, x509.SubjectAlternativeName)
    if san is not None and not san.critical and not leaf.subject.rdns:
        raise TrustError("subject is empty and the subject alternative name is not critical", reason="SanNotCritical")


def _check_leaf_usage(leaf: x509.Certificate) -> None:
    usage = extension(leaf, x509.KeyUsage)
    if usage is None or not usage.critical:
        raise TrustError("key usage is missing or not critical", reason="KeyUsageNotCritical")
    if usage.value.key_cert_sign or usage.value.crl_sign:
        raise TrustError("key usage of a workload allows signing certificates or CRLs", reason="LeafSigns")
    if not usage.value.digital_signature:
        raise TrustError("key usage lacks digitalSignature", reason="NoDigitalSignature")
    purposes = extension(leaf, x509.ExtendedKeyUsage)
    required = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    if purposes is not None and not required <= set(purposes.value):
        raise TrustError("extended key usage lacks serverAuth or clientAuth", reason="BadExtendedKeyUsage")


def _check_leaf_time(leaf: x509.Certificate, spiffe_id: SpiffeId, now: datetime) -> None:
    if now < leaf.not_valid_before_utc:
        raise TrustError(f"certificate of {spiffe_id} is not valid yet", reason="NotYetValid")
    if now > leaf.not_valid_after_utc:
        raise TrustError(f"certificate of {spiffe_id} has expired", reason="Expired")


def _require_cert_sign(policy: Policy, certificate: x509.Certificate, usage: x509.KeyUsage) -> None:
    del policy, certificate
    if not usage.key_cert_sign:
        raise ValueError("issuer lacks keyCertSign")


# The library's own policies are the browsers': they ask for names and identifiers that SVIDs and mesh CAs
# don't carry.
_CA_POLICY = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
    .require_present(x509.KeyUsage, Criticality.AGNOSTIC, _require_cert_sign)
)
_LEAF_POLICY = ExtensionPolicy.permit_all()


def _check_path(
    leaf: x509.Certificate,
    intermediates: list[x509.Certificate],
    bundle: TrustBundle,
    spiffe_id: SpiffeId,
    now: datetime,
) -> None:
    verifier = (
        PolicyBuilder()
        .extension_policies(ca_policy=_CA_POLICY, ee_policy=_LEAF_POLICY)
        .store(Store([parse_certificate(der) for der in bundle.authorities]))
        .max_chain_depth(MAX_CHAIN)
        .time(now)
        .build_client_verifier()
    )
    try:
        verifier.verify(leaf, intermediates)
    except (VerificationError, ValueError, x509.UnsupportedGeneralNameType) as error:
        raise TrustError(
            f"no authority of {spiffe_id.trust_domain} vouches for {spiffe_id}", reason="UnknownAuthority"
        ) from error
