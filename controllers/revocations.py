"""Revocations: which generation of trust the open connections of each service must rest on.

Between the bundles that are accepted and the listeners: a chain of filters whose generation grows is replaced, and its
connections end (docs/decisions/011). Who calls in may be of any trust domain, so inbound goes by the generation of all
trust; outbound, a service goes by the last withdrawal that concerned a server of its own. Pure; the journal keeps it,
or every restart would end connections.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType

from federation.model.names import ServiceKey
from federation.model.problems import Problem
from federation.model.records import Member
from trustbundle.bundle import TrustView
from trustbundle.generation import INTERVAL, TrustGeneration, ended, next_generation, withdrawn
from trustbundle.identity import TrustDomain

Servers = Mapping[ServiceKey, Iterable[str]]
"""The SPIFFE IDs that servers of each imported service may present."""

Concerned = frozenset[ServiceKey] | None
"""The services that a withdrawal concerned; None: nobody knows, so all."""


@dataclass(frozen=True, slots=True)
class Revocations:
    """The withdrawals of trust so far."""

    trust: TrustGeneration = field(default_factory=TrustGeneration)
    everywhere: int = 0
    """The last generation that counts for every service."""
    services: Mapping[ServiceKey, int] = field(default_factory=lambda: MappingProxyType({}))
    """The last generation that concerned a service; none for those that no withdrawal has concerned."""
    owed: Mapping[TrustDomain, Concerned] = field(default_factory=lambda: MappingProxyType({}))
    """What is to end by the word of each domain that has to wait (``TrustGeneration.owed``)."""

    @property
    def generation(self) -> int:
        """Of all trust."""
        return self.trust.number

    def of(self, key: ServiceKey) -> int:
        """The generation of the trust that calls of a service rest on."""
        return max(self.everywhere, self.services.get(key, 0))

    def due(self, now: datetime) -> bool:
        """Whether connections are to end by time alone."""
        ends = (self.trust.ends_at(domain) for domain in self.owed)
        return any(end is None or now >= end for end in ends)


def revise(
    before: Revocations, view: TrustView, members: Collection[TrustDomain], servers: Servers | None, now: datetime
) -> Revocations:
    """The revocations once ``view`` is trusted. ``members`` as in ``next_generation``.

    ``servers`` are those of the trust before; None where they are not known, after a restart: then trust that was
    withdrawn meanwhile concerns all services.
    """
    trust = next_generation(before.trust, view, members, now)
    concerned = dict(before.owed)
    for domain in withdrawn(before.trust, view, now):
        concerned[domain] = _joined(concerned.get(domain, frozenset()), _concerned(domain, servers))
    owed = {domain: concerned[domain] for domain in sorted(trust.owed)}
    ending = [concerned[domain] for domain in ended(before.trust, trust, view, now)]
    if None in ending:
        # Of the last generation that Envoys have nothing may have been written, and they must not meet it again.
        trust = replace(trust, number=max(trust.number, int(now.timestamp())))
        return Revocations(trust, everywhere=trust.number, owed=owed)
    services = dict(before.services)
    for keys in ending:
        services |= dict.fromkeys(keys or (), trust.number)
    if ending and servers is not None:
        services = {key: number for key, number in services.items() if key in servers}
    return Revocations(trust, before.everywhere, services, owed)


def held_back(revocations: Revocations, members: Iterable[Member]) -> Iterator[Problem]:
    """The members that withdraw trust of their own more often than anybody's connections may end for it."""
    for member in sorted(members, key=lambda member: member.cluster):
        domain = TrustDomain(member.trust_domain)
        ends = revocations.trust.ends_at(domain) if domain in revocations.owed else None
        if ends is not None:
            yield Problem(
                f"bundle of {member.cluster}",
                "WithdrawnTooOften",
                f"it withdraws CAs again and again; open connections end for it once in {INTERVAL.seconds} s, next at "
                f"{ends:%H:%M:%SZ}, and new ones are refused at once",
            )


def _concerned(domain: TrustDomain, servers: Servers | None) -> Concerned:
    if servers is None:
        return None
    return frozenset(key for key, identities in servers.items() if domain in map(_trust_domain, identities))


def _joined(one: Concerned, other: Concerned) -> Concerned:
    return None if one is None or other is None else one | other


def _trust_domain(identity: str) -> TrustDomain:
    return TrustDomain(identity.removeprefix("spiffe://").partition("/")[0])
