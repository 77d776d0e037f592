"""When the authorities of each trust domain end, and early words about what holds up their replacement. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from federation.model.names import ClusterId
from federation.model.problems import Problem
from trustbundle.bundle import TrustView
from trustbundle.rotation import CaState, authority_id
from trustbundle.x509 import parse_certificate

UNACKNOWLEDGED = timedelta(minutes=1)
"""A living peer that has not taken a published bundle of ours for this long is worth a word."""

_LATE = 5 / 6
_INSTANT = timedelta.resolution


@dataclass(frozen=True, slots=True)
class Life:
    """How long one authority lasts."""

    id: str
    not_before: datetime
    not_after: datetime

    def late(self, now: datetime) -> bool:
        """Whether five sixths of it are over: by then whatever follows should be in the bundle."""
        return now > self.not_before + (self.not_after - self.not_before) * _LATE


@lru_cache(maxsize=4096)
def life_of(authority: bytes) -> Life:
    """The life of an accepted authority (DER)."""
    certificate = parse_certificate(authority)
    return Life(authority_id(authority), certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def next_expiry(view: TrustView, own: str, now: datetime) -> datetime | None:
    """The next instant at which an authority of a peer is no longer valid; None where none will."""
    ends = (
        life_of(authority).not_after + _INSTANT
        for domain, bundle in view.bundles.items()
        if domain != own
        for authority in bundle.authorities
    )
    return min((end for end in ends if end > now), default=None)


def expiry_problems(state: CaState | None, view: TrustView, own: str, now: datetime) -> Iterator[Problem]:
    """What ends soon and has no successor: the own CA (``state`` is None where it is elsewhere), or the last authority
    of a peer."""
    current = None if state is None or state.next is not None else state.current
    if current is not None and life_of(current.certificate).late(now):
        yield Problem(
            f"CA of {own}", "NoSuccessor", f"it ends at {current.not_after:%Y-%m-%d %H:%M:%SZ} and no next CA was made"
        )
    for domain, bundle in view.bundles.items():
        lives = [life_of(authority) for authority in bundle.authorities]
        if domain == own or not lives:
            continue
        last = max(lives, key=lambda life: life.not_after)
        if last.late(now):
            yield Problem(
                f"bundle of {domain}",
                "NoSuccessor",
                f"its last authority ends at {last.not_after:%Y-%m-%d %H:%M:%SZ}, and then its cluster gets no calls",
            )


def taint_problems(state: CaState | None, lagging: Collection[str]) -> Iterator[Problem]:
    """The tainted CAs that nodes keep in the bundle."""
    for slot in () if state is None or not lagging else state.old:
        if slot.revoked_at is not None:
            yield Problem(
                f"CA {slot.short_id}",
                "Tainted",
                f"it leaves the bundle at {slot.needed_until:%Y-%m-%d %H:%M:%SZ} at the latest; "
                f"not every certificate was accepted yet by {', '.join(lagging)}",
            )


def unacknowledged_problems(
    sequence: int, lacking_since: Mapping[ClusterId, datetime], now: datetime
) -> Iterator[Problem]:
    """The living peers that have been without the own bundle of this sequence for a while, each since when."""
    for cluster, since in sorted(lacking_since.items()):
        if now - since > UNACKNOWLEDGED:
            yield Problem(
                f"bundle {sequence}", "NotAcknowledged", f"{cluster} lives, and does not verify by it after a minute"
            )
