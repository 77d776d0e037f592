"""TrustGeneration: a number that grows whenever trust is withdrawn, so that connections that rest on it can be ended.

Envoy never verifies an open connection again, so whoever configures it must know when trust shrank: see
docs/decisions/011. Pure, and a value to be kept across restarts: compared with what was trusted before one, a restart
that finds the same trust ends nothing, and one that finds less ends what rests on it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType

from trustbundle.bundle import TrustBundle, TrustView
from trustbundle.identity import TrustDomain

LeafEnds = Mapping[str, datetime | None]
"""The authorities of a trust domain by SHA-256, and until when each may have leaves; None: nobody knows."""


INTERVAL = timedelta(minutes=1)
"""A member that withdraws trust of itself ends connections of everybody, for Envoy can't tell whose they are. So it may
do it ``BURST`` times at once, which a stolen CA and the one beside it take, and once in this time from then on."""

BURST = 2


@dataclass(frozen=True, slots=True)
class TrustGeneration:
    """How often trust was withdrawn with an end of connections, and what was trusted last."""

    number: int = 0
    trusted: Mapping[TrustDomain, LeafEnds] = field(default_factory=lambda: MappingProxyType({}))
    spent: Mapping[TrustDomain, datetime] = field(default_factory=lambda: MappingProxyType({}))
    """By member that ended connections of its own accord: when it may do so ``BURST`` times at once again."""
    owed: frozenset[TrustDomain] = frozenset()
    """Members that withdrew trust too often: what rests on it ends when their time has come."""

    def ends_at(self, domain: TrustDomain) -> datetime | None:
        """When connections may end by the word of this member's domain; None: at any time."""
        full = self.spent.get(domain)
        return None if full is None else full - INTERVAL * (BURST - 1)


def next_generation(
    before: TrustGeneration, view: TrustView, members: Collection[TrustDomain], now: datetime
) -> TrustGeneration:
    """The generation once ``view`` is trusted: the next number if any connections are to end now, else the same.

    They end by the word of a domain that ``withdrew`` trust: of ``members``, the trust domains of those on the roster
    beside us, so often as they may; of any other at once, for it was evicted, or is our own.
    """
    trusted = {
        domain: {_fingerprint(der): until for der, until in sorted(bundle.leaf_ends.items())}
        for domain, bundle in sorted(view.bundles.items())
        if bundle.authorities
    }
    wanting = withdrawn(before, view, now) | before.owed
    owed = frozenset(domain for domain in wanting if domain in members and not _may_end(before.spent.get(domain), now))
    ending = wanting - owed
    spent = {domain: full for domain, full in before.spent.items() if domain in members}
    spent |= {domain: _spend(spent.get(domain), now) for domain in sorted(ending.intersection(members))}
    return TrustGeneration(before.number + bool(ending), trusted, spent, owed)


def ended(before: TrustGeneration, after: TrustGeneration, view: TrustView, now: datetime) -> frozenset[TrustDomain]:
    """The trust domains whose connections end as ``after`` follows ``before`` by ``view``."""
    return (withdrawn(before, view, now) | before.owed) - after.owed


def _may_end(full: datetime | None, now: datetime) -> bool:
    # So far ahead it can't be unless the clock was set back: nobody may wait for that.
    return full is None or full - now <= INTERVAL * (BURST - 1) or full - now > INTERVAL * BURST


def _spend(full: datetime | None, now: datetime) -> datetime:
    return INTERVAL + (now if full is None or full - now > INTERVAL * BURST else max(full, now))


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
