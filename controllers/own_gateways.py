"""OwnGateways: what this cluster tells the others of its gateways, as it now is: where they are, and what is drained.

Every change of what is drained has a revision, by which the others say that they have taken it over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from controllers.drains import NOTHING_DRAINED, gateway_record
from controllers.journal import Journal
from federation.model.addresses import HostPort
from federation.model.configuration import ClusterSettings
from federation.model.names import is_dns_name
from federation.model.records import GatewayAddress, GatewayRecord


class OwnGateways:
    """Kept in the journal, as far as the settings don't say it."""

    def __init__(self, settings: ClusterSettings, journal: Journal, clock: Callable[[], datetime]) -> None:
        self._settings = settings
        self._journal = journal
        self._clock = clock
        self.addresses = settings.gateway.addresses or journal.gateway_addresses
        self.told: GatewayRecord | None = None
        """What was last given to the exchange to publish."""

    @property
    def changed(self) -> bool:
        """Whether the others are to be told something else than they were."""
        return self.told is not None and self._now() != self.told

    @property
    def ways(self) -> tuple[GatewayAddress, ...]:
        """Where the others reach the gateways, as far as that is said by address: nobody here resolves own names."""
        return tuple(
            GatewayAddress(address.host, address.port) for address in self.addresses if not is_dns_name(address.host)
        )

    def place(self, addresses: tuple[HostPort, ...]) -> None:
        """The others reach the gateways there from now on."""
        self.addresses = addresses
        self._journal.place_gateways(addresses)

    def reload(self) -> None:
        """The journal was read again."""
        self.addresses = self.addresses or self._journal.gateway_addresses

    def tell(self) -> GatewayRecord:
        """The record to publish now."""
        self._journal.drain(self._journal.drains.without_done(self._clock()))
        self.told = self._now()
        return self.told

    def _now(self) -> GatewayRecord:
        now, last = self._clock(), self.told
        settings, drains = self._settings, self._journal.drains
        record = gateway_record(self.addresses, settings.region, settings.network, drains, now)
        revision = 0 if last is None else last.revision
        if last is not None and replace(record, revision=revision) == last:
            return last
        if revision or drains != NOTHING_DRAINED:
            # By the clock, so that a number is not used again after a restart.
            revision = max(revision + 1, int(now.timestamp() * 1000))
        return replace(record, revision=revision)
