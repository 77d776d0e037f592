"""TrustBundle and TrustView: the CA certificates of each trust domain, and which of a peer's are accepted.

Pure. ``accept`` stands between the exchange's verified records and everything that trusts: a bundle that
breaks a rule is refused whole, as a value, and the last good one stays. Trust domains are never merged
(SPIFFE Federation §7.3).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Protocol

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from federation.model.errors import TrustError
from federation.model.records import BundleRecord, Member
from trustbundle.anchors import constrain_authority
from trustbundle.identity import TrustDomain, parse_trust_domain
from trustbundle.x509 import Authority, certificate_pem, parse_authority, parse_certificate


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """The CA certificates of one trust domain; none at all means that everything it ever issued is
    revoked."""

    trust_domain: TrustDomain
    sequence: int
    """Grows with every change."""
    authorities: tuple[bytes, ...]
    """DER certificates, each one passed by ``parse_authority``, without repetition."""
    leaves_until: tuple[int, ...] = ()
    """As in ``BundleRecord``."""

    @property
    def pem(self) -> str:
        """All authorities, one PEM block after another."""
        return "".join(map(certificate_pem, self.authorities))

    @property
    def keys(self) -> frozenset[bytes]:
        """SHA-256 of each authority's public key."""
        return frozenset(parse_authority(der).key_fingerprint for der in self.authorities)

    @property
    def record(self) -> BundleRecord:
        """What travels to the other members."""
        return BundleRecord(self.trust_domain, self.sequence, self.authorities, self.leaves_until)

    @property
    def leaf_ends(self) -> Mapping[bytes, datetime]:
        """By authority, the last instant at which a leaf of it may be valid: by the word of its domain, and at the
        latest its own end. Where its domain does not say, every authority counts as one that signs."""
        ends = [parse_authority(der).not_after for der in self.authorities]
        stated = (datetime.fromtimestamp(until, UTC) for until in self.leaves_until)
        return dict(zip(self.authorities, map(min, ends, stated) if self.leaves_until else ends, strict=True))


class BundleSource(Protocol):
    """Where a cluster's own bundle comes from: the built-in CA, or one elsewhere."""

    def bundle(self) -> TrustBundle:
        """The bundle to publish and to verify the own workloads by; its sequence grows with every change."""
        ...


@dataclass(frozen=True, slots=True)
class BundleRejected:
    """A bundle that is not used, and why."""

    reason: str
    """Stable CamelCase code, for metrics and tests."""
    message: str
    """One sentence, lower case, no final period."""


@dataclass(frozen=True, slots=True)
class TrustView:
    """Every trust domain that this cluster trusts, its own among them."""

    bundles: Mapping[TrustDomain, TrustBundle] = field(default_factory=lambda: MappingProxyType({}))

    def with_bundle(self, bundle: TrustBundle) -> TrustView:
        """The view with one trust domain's bundle put in or replaced."""
        return TrustView(MappingProxyType({**self.bundles, bundle.trust_domain: bundle}))


Claims = Mapping[TrustDomain, frozenset[bytes]]
"""The CA keys that each trust domain came with first: ``TrustBundle.keys`` of what was last accepted of it."""

NO_CLAIMS: Claims = MappingProxyType({})


def accept(
    record: BundleRecord,
    member: Member,
    previous: TrustBundle | None,
    now: datetime,
    *,
    claims: Claims = NO_CLAIMS,
) -> TrustBundle | BundleRejected:
    """The bundle that a member's record states, or why it is refused.

    ``previous`` is the last accepted bundle of the same domain; a smaller sequence is a replay. A CA key that another
    trust domain has claimed is refused, for whoever holds it could speak for both. Expired authorities are left out.
    """
    if record.trust_domain != member.trust_domain:
        return BundleRejected(
            "WrongTrustDomain",
            f"bundle is of trust domain {record.trust_domain!r}, the member's is {member.trust_domain!r}",
        )
    try:
        trust_domain = parse_trust_domain(record.trust_domain)
        authorities = [parse_authority(der) for der in dict.fromkeys(record.authorities)]
        for authority in authorities:
            # Here, where one member's bundle is refused, and not where all of them become one configuration.
            constrain_authority(authority.certificate, trust_domain)
    except ValueError as error:
        return BundleRejected("BadTrustDomain", str(error))
    except TrustError as error:
        return BundleRejected(error.reason, str(error))
    if previous is not None and record.sequence < previous.sequence:
        return BundleRejected(
            "SequenceWentBack",
            f"bundle of {trust_domain} has sequence {record.sequence}, accepted is {previous.sequence}",
        )
    foreign = _foreign_claim(authorities, trust_domain, claims)
    if foreign is not None:
        return foreign
    lasting = tuple(authority.certificate for authority in authorities if now <= authority.not_after)
    stated = dict(zip(record.authorities, record.leaves_until, strict=False))
    return TrustBundle(trust_domain, record.sequence, lasting, tuple(stated[der] for der in lasting if stated))


def _foreign_claim(authorities: list[Authority], trust_domain: TrustDomain, claims: Claims) -> BundleRejected | None:
    for authority in authorities:
        if authority.trust_domain not in {None, trust_domain}:
            return BundleRejected(
                "ForeignAuthority",
                f"bundle of {trust_domain} holds a CA certificate of trust domain {authority.trust_domain}",
            )
    keys = {authority.key_fingerprint for authority in authorities}
    for other, claimed in sorted(claims.items()):
        if other != trust_domain and not keys.isdisjoint(claimed):
            return BundleRejected(
                "SharedAuthority", f"bundle of {trust_domain} holds a CA key that vouches for {other} already"
            )
    return None


def normalised_validator_domains(view: TrustView) -> tuple[tuple[str, str], ...]:
    """Trust domain and PEM of its authorities, sorted, for Envoy's SPIFFE validator.

    Each authority is constrained to its domain, since that validator matches identities against every URI of a
    certificate but chooses the bundle by the first. Domains without authorities are left out: Envoy refuses the
    whole configuration for one empty bundle, and to have no bundle refuses the domain's certificates just as well.
    """
    return tuple(
        (str(domain), "".join(certificate_pem(constrain_authority(der, domain)) for der in bundle.authorities))
        for domain, bundle in sorted(view.bundles.items())
        if bundle.authorities
    )


class _Jwk(msgspec.Struct):
    kty: str | None = None
    use: str | None = None
    x5c: list[str] | None = None


class _BundleDocument(msgspec.Struct):
    keys: list[_Jwk]
    spiffe_sequence: int = 0
    spiffe_refresh_hint: int | None = None


def parse_jwks(document: bytes, trust_domain: TrustDomain) -> tuple[TrustBundle, timedelta | None]:
    """Read a SPIFFE bundle document and its refresh hint (SPIFFE Trust Domain and Bundle §4).

    Keys of an unknown use or type, and X.509 keys without a certificate, are skipped as the standard asks;
    of several certificates only the first counts. Raises TrustError for a document that can't be read or a
    certificate that ``parse_authority`` refuses.
    """
    try:
        read = msgspec.json.decode(document, type=_BundleDocument)
        certificates = dict.fromkeys(
            base64.b64decode(key.x5c[0], validate=True)
            for key in read.keys
            if key.use == "x509-svid" and key.kty in {"EC", "RSA"} and key.x5c
        )
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise TrustError(
            f"bundle document of {trust_domain} can't be read: {error}"[:200], reason="Malformed"
        ) from error
    authorities = tuple(parse_authority(der).certificate for der in certificates)
    hint = timedelta(seconds=read.spiffe_refresh_hint) if read.spiffe_refresh_hint else None
    return TrustBundle(trust_domain, read.spiffe_sequence, authorities), hint


def to_jwks(bundle: TrustBundle, refresh_hint: timedelta) -> bytes:
    """The SPIFFE bundle document of a bundle: canonical JSON, keys in the bundle's order."""
    document = {
        "keys": [_jwk(der) for der in bundle.authorities],
        "spiffe_sequence": bundle.sequence,
        "spiffe_refresh_hint": int(refresh_hint.total_seconds()),
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _jwk(der: bytes) -> dict[str, object]:
    key = parse_certificate(der).public_key()
    common: dict[str, object] = {"use": "x509-svid", "x5c": [base64.b64encode(der).decode()]}
    if isinstance(key, ec.EllipticCurvePublicKey):
        size = (key.curve.key_size + 7) // 8
        point = key.public_numbers()
        curve = f"P-{key.curve.key_size}"
        return common | {
            "kty": "EC",
            "crv": curve,
            "x": _base64url(point.x, size),
            "y": _base64url(point.y, size),
        }
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return common | {
            "kty": "RSA",
            "n": _base64url(numbers.n, (key.key_size + 7) // 8),
            "e": _base64url(numbers.e, (numbers.e.bit_length() + 7) // 8),
        }
    raise TrustError("key of an authority has no form in a bundle document", reason="WeakKey")


def _base64url(number: int, size: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(size, "big")).rstrip(b"=").decode()
