"""TrustGeneration: a number that grows whenever trust is withdrawn, so that connections that rest on it can be ended.

Envoy never verifies an open connection again, so whoever configures it must know when trust shrank: see
docs/decisions/011. Pure, and a value to be kept across restarts: compared with what was trusted before one, a restart
that finds the same trust ends nothing, and one that finds less ends what rests on it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from trustbundle.bundle import TrustBundle, TrustView
from trustbundle.identity import TrustDomain

LeafEnds = Mapping[str, datetime | None]
"""The authorities of a trust domain by SHA-256, and until when each may have leaves; None: nobody knows."""


@dataclass(frozen=True, slots=True)
class TrustGeneration:
    """How often trust was withdrawn, and what was trusted last."""

    number: int = 0
    trusted: Mapping[TrustDomain, LeafEnds] = field(default_factory=lambda: MappingProxyType({}))


def next_generation(before: TrustGeneration, view: TrustView, now: datetime) -> TrustGeneration:
    """The generation once ``view`` is trusted: the next number if any domain ``withdrew`` trust, else the same."""
    trusted = {
        domain: {_fingerprint(der): until for der, until in sorted(bundle.leaf_ends.items())}
        for domain, bundle in sorted(view.bundles.items())
        if bundle.authorities
    }
    return TrustGeneration(before.number + bool(withdrawn(before, view, now)), trusted)


def withdrawn(before: TrustGeneration, view: TrustView, now: datetime) -> frozenset[TrustDomain]:
    """The trust domains in whose name connections may be open that would not be accepted any more.

    Those that are gone or have no authority left, and those that dropped an authority whose leaves may be valid still,
    by what was said of it last (``TrustBundle.leaf_ends``). A rotation that nobody forces drops none of these.
    """
    return frozenset(
        domain for domain, known in before.trusted.items() if _withdrew(known, view.bundles.get(domain), now)
    )


def _withdrew(known: LeafEnds, bundle: TrustBundle | None, now: datetime) -> bool:
    if bundle is None or not bundle.authorities:
        return True
    kept = {_fingerprint(der) for der in bundle.authorities}
    return any(until is None or now <= until for fingerprint, until in known.items() if fingerprint not in kept)


def _fingerprint(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()
