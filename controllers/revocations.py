"""Revocations: which generation of trust the open connections of each service must rest on.

Between the bundles that are accepted and the listeners: a chain of filters whose generation grows is replaced, and its
connections end (docs/decisions/011). Who calls in may be of any trust domain, so inbound goes by the generation of all
trust; outbound, a service goes by the last withdrawal that concerned a server of its own. Pure; the journal keeps it,
or every restart would end connections.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from federation.model.names import ServiceKey
from trustbundle.bundle import TrustView
from trustbundle.generation import TrustGeneration, next_generation, withdrawn
from trustbundle.identity import TrustDomain

Servers = Mapping[ServiceKey, Iterable[str]]
"""The SPIFFE IDs that servers of each imported service may present."""


@dataclass(frozen=True, slots=True)
class Revocations:
    """The withdrawals of trust so far."""

    trust: TrustGeneration = field(default_factory=TrustGeneration)
    everywhere: int = 0
    """The last generation that counts for every service."""
    services: Mapping[ServiceKey, int] = field(default_factory=lambda: MappingProxyType({}))
    """The last generation that concerned a service; none for those that no withdrawal has concerned."""

    @property
    def generation(self) -> int:
        """Of all trust."""
        return self.trust.number

    def of(self, key: ServiceKey) -> int:
        """The generation of the trust that calls of a service rest on."""
        return max(self.everywhere, self.services.get(key, 0))


def revise(before: Revocations, view: TrustView, servers: Servers | None, now: datetime) -> Revocations:
    """The revocations once ``view`` is trusted.

    ``servers`` are those of the trust before; None where they are not known, after a restart: then trust that was
    withdrawn meanwhile concerns all services.
    """
    trust = next_generation(before.trust, view, now)
    if trust.number == before.generation:
        return Revocations(trust, before.everywhere, before.services)
    if servers is None:
        return Revocations(trust, everywhere=trust.number)
    gone = withdrawn(before.trust, view, now)
    kept = {key: number for key, number in before.services.items() if key in servers}
    concerned = {
        key: trust.number
        for key, identities in servers.items()
        if any(_trust_domain(identity) in gone for identity in identities)
    }
    return Revocations(trust, before.everywhere, kept | concerned)


def _trust_domain(identity: str) -> TrustDomain:
    return TrustDomain(identity.removeprefix("spiffe://").partition("/")[0])
