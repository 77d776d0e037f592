"""The own bundle where the CA is elsewhere: what a file or a bundle endpoint says, and what is taken of it.

Pure. ``parse_content`` judges what a source says by itself, ``take`` against what was taken before: the sequence that
peers see grows with every change and never goes back, whatever the source counts. It must not fetch or store anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from federation.model.errors import TrustError
from trustbundle.anchors import constrain_authority
from trustbundle.bundle import BundleRejected, TrustBundle, parse_jwks
from trustbundle.identity import TrustDomain
from trustbundle.x509 import parse_authority

MAX_CONTENT_BYTES = 128 * 1024
"""What a source says fits a record of the exchange with room to spare."""

MAX_AUTHORITIES = 32
"""Of one bundle; a record of the exchange holds no more."""

DEFAULT_INTERVAL = timedelta(minutes=5)
"""Between two fetches where the document gives no refresh hint (SPIFFE Federation §5.2.1)."""

_SHORTEST, _LONGEST = timedelta(seconds=10), timedelta(hours=1)
_MAX_SEQUENCE = 2**63 - 1


@dataclass(frozen=True, slots=True)
class BundleContent:
    """What a source says, and every part of it can be used."""

    authorities: tuple[bytes, ...]
    """DER; none only where a document says so, which revokes everything."""
    sequence: int = 0
    """The source's own count; 0 where it gives none."""
    refresh_hint: timedelta | None = None

    @property
    def interval(self) -> timedelta:
        """When to ask the source again: at its hint, but neither hammering it nor forgetting it."""
        return min(max(self.refresh_hint or DEFAULT_INTERVAL, _SHORTEST), _LONGEST)


@dataclass(frozen=True, slots=True)
class TakenBundle:
    """What was last taken from a source: all that must outlive the process."""

    trust_domain: TrustDomain
    sequence: int
    """What peers see; grows with every change."""
    authorities: tuple[bytes, ...]
    origin: str
    """The source with all of its parameters: what another source has said is no yardstick for this one."""
    origin_sequence: int
    """The source's own count, 0 where it gives none."""
    taken_at: datetime
    """Of the last word of the source, be it the same as before."""

    @property
    def bundle(self) -> TrustBundle:
        """What is published and verified against."""
        return TrustBundle(self.trust_domain, self.sequence, self.authorities)


def parse_content(content: bytes, trust_domain: TrustDomain) -> BundleContent:
    """Read CA certificates (PEM) or a SPIFFE bundle document (JSON), told apart by how they begin.

    Raises TrustError for content of which a part can't be used: our peers would refuse the whole. Nothing at all is an
    error, since a file may be seen before it is written; only a document with ``keys: []`` revokes everything.
    """
    if not content.strip():
        raise TrustError("it is empty", reason="Empty")
    if len(content) > MAX_CONTENT_BYTES:
        raise TrustError(f"it has more than {MAX_CONTENT_BYTES} bytes", reason="Oversized")
    if content.lstrip()[:1] == b"{":
        read = _parse_document(content, trust_domain)
    else:
        read = BundleContent(_parse_pem(content))
    if len(read.authorities) > MAX_AUTHORITIES:
        raise TrustError(f"it holds more than {MAX_AUTHORITIES} CA certificates", reason="Oversized")
    for der in read.authorities:
        claimed = parse_authority(der).trust_domain
        if claimed not in {None, trust_domain}:
            raise TrustError(
                f"it holds a CA certificate of trust domain {claimed}, not {trust_domain}", reason="ForeignAuthority"
            )
        constrain_authority(der, trust_domain)
    return read


class _Keys(msgspec.Struct):
    keys: list[msgspec.Raw]


def _parse_document(content: bytes, trust_domain: TrustDomain) -> BundleContent:
    try:
        bundle, hint = parse_jwks(content, trust_domain)
        stated = msgspec.json.decode(content, type=_Keys).keys
    except (OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise TrustError(f"bundle document of {trust_domain} can't be read", reason="Malformed") from error
    if not 0 <= bundle.sequence <= _MAX_SEQUENCE:
        raise TrustError(f"its sequence {bundle.sequence} is out of range", reason="Malformed")
    if stated and not bundle.authorities:
        # A document that speaks of other keys only, or spells its keys wrong, says nothing of X.509.
        raise TrustError(
            "none of its keys is an X.509 authority; only an empty list of keys revokes them all",
            reason="NoX509Authorities",
        )
    return BundleContent(bundle.authorities, bundle.sequence, hint)


def _parse_pem(content: bytes) -> tuple[bytes, ...]:
    if b"PRIVATE KEY-----" in content:
        raise TrustError("it holds a private key; a bundle holds certificates only", reason="PrivateKey")
    try:
        certificates = x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise TrustError(
            "it is neither CA certificates (PEM) nor a SPIFFE bundle document (JSON)", reason="Malformed"
        ) from error
    return tuple(dict.fromkeys(certificate.public_bytes(Encoding.DER) for certificate in certificates))


def take(
    content: BundleContent,
    origin: str,
    taken: TakenBundle | None,
    trust_domain: TrustDomain,
    now: datetime,
    *,
    above: int = 0,
) -> TakenBundle | BundleRejected:
    """What is in force once ``origin`` has said ``content``, or why the last good stays.

    A document of the same origin with a smaller sequence is a replay. The sequence that peers see starts at the Unix
    time, so that it grows where what was taken is lost, and ``above`` what they have seen of another authority.
    """
    same = taken is not None and taken.origin == origin
    if taken is not None and same and content.sequence < taken.origin_sequence:
        return BundleRejected(
            "SequenceWentBack", f"its sequence is {content.sequence}, taken is {taken.origin_sequence} already"
        )
    if taken is None:
        sequence, authorities = max(above + 1, int(now.timestamp())), content.authorities
    elif frozenset(content.authorities) == frozenset(taken.authorities):
        sequence, authorities = taken.sequence, taken.authorities
    else:
        sequence, authorities = max(taken.sequence + 1, int(now.timestamp())), content.authorities
    return TakenBundle(trust_domain, sequence, authorities, origin, content.sequence, now)
