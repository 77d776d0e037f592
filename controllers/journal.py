"""Journal: the little that a controller must remember across restarts beyond keys and replicas, in one JSON file.

Clusterset IPs (stable for the life of an import, KEP-1645), when an export without creationTimestamp was first seen
(the age that conflicts are resolved by), which trust was withdrawn (or a restart would end connections, or leave those
open that it must end), whose each CA key is (or after a restart another could take it), where the peers were told that
the gateways are, where a cluster says so itself (it may have no address to tell at the next start), what the names of
the peers' gateways resolved to (DNS may be down then), and what is drained (or a restart would bring calls back). A
journal that can't be read is an error: starting anew would move addresses. It remembers at once and writes when it is
told to: a disk that is full must not keep anybody from acting.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import msgspec

from controllers.drains import NOTHING_DRAINED, Drains, Slope
from controllers.revocations import Revocations
from federation.model.addresses import HostPort, parse_gateway_address
from federation.model.errors import ConfigError
from federation.model.names import ServiceKey, parse_service_key
from federation.storage.private_file import replace_private
from trustbundle.bundle import NO_CLAIMS, Claims
from trustbundle.generation import TrustGeneration
from trustbundle.identity import TrustDomain


class _Revocations(msgspec.Struct, forbid_unknown_fields=True):
    generation: int = 0
    trusted: dict[str, dict[str, datetime | None]] = {}
    everywhere: int = 0
    services: dict[str, int] = {}
    spent: dict[str, datetime] = {}
    owed: dict[str, list[str] | None] = {}


class _Slope(msgspec.Struct, forbid_unknown_fields=True):
    start: int
    goal: int
    began: datetime
    over_seconds: float = 0


class _Drains(msgspec.Struct, forbid_unknown_fields=True):
    cluster: _Slope | None = None
    gateways: dict[str, _Slope] = {}
    leaving: list[str] = []


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    vips: dict[str, str]
    first_seen: dict[str, datetime]
    revocations: _Revocations = msgspec.field(default_factory=_Revocations)
    claims: dict[str, list[str]] = {}
    gateway_addresses: list[str] | msgspec.UnsetType = msgspec.UNSET
    drains: _Drains | msgspec.UnsetType = msgspec.UNSET
    gateway_names: dict[str, list[str]] | msgspec.UnsetType = msgspec.UNSET


class Journal:
    """The file ``journal.json`` in the controller's state directory (0600)."""

    def __init__(self, directory: Path) -> None:
        """Read the journal; raises ConfigError where one is there that can't be read."""
        self._path = directory / "journal.json"
        self._vips: Mapping[ServiceKey, IPv4Address] = {}
        self._first_seen: Mapping[ServiceKey, datetime] = {}
        self._revocations = Revocations()
        self._claims: Claims = NO_CLAIMS
        self._gateway_addresses: tuple[HostPort, ...] = ()
        self._drains = NOTHING_DRAINED
        self._gateway_names: Mapping[str, tuple[str, ...]] = {}
        self._remembers_vips = True
        self._unsaved = False
        try:
            document = msgspec.json.decode(self._path.read_bytes(), type=_Document)
            self._vips = {parse_service_key(key): IPv4Address(ip) for key, ip in document.vips.items()}
            self._first_seen = {parse_service_key(key): when for key, when in document.first_seen.items()}
            self._revocations = _revocations(document.revocations)
            self._claims = {
                TrustDomain(domain): frozenset(map(bytes.fromhex, keys)) for domain, keys in document.claims.items()
            }
            self._gateway_addresses = tuple(map(parse_gateway_address, document.gateway_addresses or ()))
            self._gateway_names = {name: tuple(ips) for name, ips in (document.gateway_names or {}).items()}
            self._drains = _drains(document.drains or _Drains())
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"journal {self._path} can't be read: {error}",
                hint="restore it, or remove it and accept that clusterset IPs may move and conflicts be decided anew",
            ) from error

    @property
    def vips(self) -> Mapping[ServiceKey, IPv4Address]:
        return self._vips

    @property
    def first_seen(self) -> Mapping[ServiceKey, datetime]:
        return self._first_seen

    @property
    def revocations(self) -> Revocations:
        return self._revocations

    @property
    def claims(self) -> Claims:
        return self._claims

    @property
    def gateway_addresses(self) -> tuple[HostPort, ...]:
        """Where the gateways were last, as far as somebody else than the settings says so."""
        return self._gateway_addresses

    @property
    def drains(self) -> Drains:
        """What was ordered to be drained, and which gateways are about to end."""
        return self._drains

    @property
    def gateway_names(self) -> Mapping[str, tuple[str, ...]]:
        """The IP addresses that the names of peers' gateways last resolved to."""
        return self._gateway_names

    @property
    def unsaved(self) -> bool:
        """Whether a restart would find less than is known."""
        return self._unsaved

    def see(self, exported: Iterable[ServiceKey], gone: Iterable[ServiceKey], now: datetime) -> None:
        """Date exports that are new, forget those that are gone."""
        table = dict(self._first_seen)
        for key in gone:
            table.pop(key, None)
        for key in exported:
            table.setdefault(key, now)
        if table != self._first_seen:
            self._first_seen, self._unsaved = table, True

    def assign(self, vips: Mapping[ServiceKey, IPv4Address]) -> None:
        """Remember the clusterset IPs."""
        if vips != self._vips:
            self._vips, self._unsaved = dict(vips), True

    def take_vips(self, vips: Mapping[ServiceKey, IPv4Address]) -> None:
        """Go by clusterset IPs that somebody else allocates, and remembers."""
        self._vips, self._remembers_vips = vips, False

    def reload(self) -> None:
        """Read what another process of this cluster has written; raises ConfigError and then changes nothing."""
        read = Journal(self._path.parent)
        self._first_seen, self._revocations, self._claims = read.first_seen, read.revocations, read.claims
        if self._remembers_vips:
            self._vips = read.vips
        self._gateway_addresses, self._drains = read.gateway_addresses, read.drains
        # Each controller resolves for itself: another's answers count where there is none of its own.
        self._gateway_names = {**read.gateway_names, **self._gateway_names}
        self._unsaved = False

    def revoke(self, revocations: Revocations) -> None:
        """Remember which trust was withdrawn, and what is trusted."""
        if revocations != self._revocations:
            self._revocations, self._unsaved = revocations, True

    def claim(self, claims: Claims) -> None:
        """Remember which CA keys belong to whom."""
        if claims != self._claims:
            self._claims, self._unsaved = claims, True

    def place_gateways(self, addresses: tuple[HostPort, ...]) -> None:
        """Remember where the gateways are."""
        if addresses != self._gateway_addresses:
            self._gateway_addresses, self._unsaved = addresses, True

    def drain(self, drains: Drains) -> None:
        """Remember what is drained."""
        if drains != self._drains:
            self._drains, self._unsaved = drains, True

    def resolve(self, names: Mapping[str, tuple[str, ...]]) -> None:
        """Remember what the names of peers' gateways resolve to."""
        if names != self._gateway_names:
            self._gateway_names, self._unsaved = dict(names), True

    def save(self) -> None:
        """Write what has changed since the last time: durable when it returns. Raises OSError; then all of it is kept
        in memory, and written by the next one that succeeds."""
        if self._unsaved:
            self._save()
            self._unsaved = False

    def _save(self) -> None:
        vips = self._vips if self._remembers_vips else {}
        first_seen, revocations = self._first_seen, self._revocations
        document = _Document(
            {str(key): str(vips[key]) for key in sorted(vips)},
            {str(key): first_seen[key] for key in sorted(first_seen)},
            _Revocations(
                revocations.generation,
                {domain: dict(known) for domain, known in sorted(revocations.trust.trusted.items())},
                revocations.everywhere,
                {str(key): revocations.services[key] for key in sorted(revocations.services)},
                dict(sorted(revocations.trust.spent.items())),
                {
                    domain: None if keys is None else [str(key) for key in sorted(keys)]
                    for domain, keys in sorted(revocations.owed.items())
                },
            ),
            {domain: sorted(key.hex() for key in keys) for domain, keys in sorted(self._claims.items())},
            [str(address) for address in self._gateway_addresses] or msgspec.UNSET,
            _drains_document(self._drains),
            {name: list(ips) for name, ips in sorted(self._gateway_names.items())} or msgspec.UNSET,
        )
        replace_private(self._path, msgspec.json.format(msgspec.json.encode(document)))


def _revocations(found: _Revocations) -> Revocations:
    trusted = {TrustDomain(domain): known for domain, known in found.trusted.items()}
    services = {parse_service_key(key): number for key, number in found.services.items()}
    spent = {TrustDomain(domain): full for domain, full in found.spent.items()}
    owed = {
        TrustDomain(domain): None if keys is None else frozenset(map(parse_service_key, keys))
        for domain, keys in found.owed.items()
    }
    trust = TrustGeneration(found.generation, trusted, spent, frozenset(owed))
    return Revocations(trust, found.everywhere, services, owed)


def _drains(found: _Drains) -> Drains:
    def slope(told: _Slope) -> Slope:
        return Slope(told.start, told.goal, told.began, timedelta(seconds=told.over_seconds))

    return Drains(
        None if found.cluster is None else slope(found.cluster),
        {parse_gateway_address(address): slope(told) for address, told in found.gateways.items()},
        frozenset(map(parse_gateway_address, found.leaving)),
    )


def _drains_document(drains: Drains) -> _Drains | msgspec.UnsetType:
    if drains == NOTHING_DRAINED:
        return msgspec.UNSET

    def told(slope: Slope) -> _Slope:
        return _Slope(slope.start, slope.goal, slope.began, slope.over.total_seconds())

    return _Drains(
        None if drains.cluster is None else told(drains.cluster),
        {str(address): told(slope) for address, slope in sorted(drains.gateways.items(), key=lambda one: str(one[0]))},
        sorted(map(str, drains.leaving)),
    )
