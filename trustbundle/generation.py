"""TrustGeneration: a number that grows whenever trust is withdrawn, so that connections that rest on it can be ended.

Envoy never verifies an open connection again, so whoever configures it must know when trust shrank: see
docs/decisions/011. Pure, and a value to be kept across restarts: compared with what was trusted before one, a restart
that finds the same trust ends nothing, and one that finds less ends what rests on it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType

from trustbundle.bundle import TrustBundle, TrustView
from trustbundle.identity import TrustDomain

Idle = Mapping[str, datetime | None]
"""The authorities of a trust domain by SHA-256, and since when each has not been the one that signs; None: it is."""


@dataclass(frozen=True, slots=True)
class TrustGeneration:
    """How often trust was withdrawn, and what was trusted last."""

    number: int = 0
    trusted: Mapping[TrustDomain, Idle] = field(default_factory=lambda: MappingProxyType({}))


def next_generation(before: TrustGeneration, view: TrustView, now: datetime, leaf_ttl: timedelta) -> TrustGeneration:
    """The generation once ``view`` is trusted: the next number if any domain ``withdrew`` trust, else the same."""
    trusted = {
        domain: _idle(before.trusted.get(domain, {}), bundle, now)
        for domain, bundle in sorted(view.bundles.items())
        if bundle.authorities
    }
    return TrustGeneration(before.number + bool(withdrawn(before, view, now, leaf_ttl)), trusted)


def withdrawn(before: TrustGeneration, view: TrustView, now: datetime, leaf_ttl: timedelta) -> frozenset[TrustDomain]:
    """The trust domains in whose name connections may be open that would not be accepted any more.

    Those that are gone or have no authority left, and those that dropped an authority whose leaves may be valid still.
    An authority that has not signed for ``leaf_ttl`` has none: so ends every rotation that nobody forces. The first
    authority of a bundle is the one that signs (``CertificateAuthority.bundle``).
    """
    return frozenset(
        domain for domain, known in before.trusted.items() if _withdrew(known, view.bundles.get(domain), now, leaf_ttl)
    )


def _withdrew(known: Idle, bundle: TrustBundle | None, now: datetime, leaf_ttl: timedelta) -> bool:
    if bundle is None or not bundle.authorities:
        return True
    kept = {_fingerprint(der) for der in bundle.authorities}
    return any(
        since is None or now - since < leaf_ttl for fingerprint, since in known.items() if fingerprint not in kept
    )


def _idle(known: Idle, bundle: TrustBundle, now: datetime) -> Idle:
    signing, *others = map(_fingerprint, bundle.authorities)
    return {signing: None} | {fingerprint: known.get(fingerprint) or now for fingerprint in sorted(others)}


def _fingerprint(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()
