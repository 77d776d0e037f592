"""Drains: how much of its calls this cluster, or one of its gateways, still takes at a moment. Pure.

What is drained goes down in steps of ten percent, so that the others recompute what they call by it a dozen times at
the most, however long it takes. An order is a line from one share to another; the share follows from it and the time,
and so goes on over a restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from federation.model.addresses import HostPort
from federation.model.records import GatewayAddress, GatewayRecord
from gateway.ir.shards import SHARDS

WHOLE: Final = 100
_STEP: Final = 10


@dataclass(frozen=True, slots=True)
class Slope:
    """The way from one share to another, in percent."""

    start: int
    goal: int
    began: datetime
    over: timedelta = timedelta()

    @property
    def ends(self) -> datetime:
        return self.began + self.over

    def share(self, now: datetime) -> int:
        """The share at a moment: the first step is taken at once, the last one at the end."""
        if not self.over or now >= self.ends:
            return self.goal
        steps = max(1, abs(self.goal - self.start) // _STEP)
        taken = 1 + int(max(now - self.began, timedelta()) / self.over * (steps - 1))
        return self.start + round((self.goal - self.start) * taken / steps)


@dataclass(frozen=True, slots=True)
class Drains:
    """All that was ordered, and the gateways that are about to end."""

    cluster: Slope | None = None
    gateways: Mapping[HostPort, Slope] = field(default_factory=dict)
    leaving: frozenset[HostPort] = frozenset()
    """Gateways that said that they end; each says so itself when it is back."""

    def share(self, target: HostPort | None, now: datetime) -> int:
        """What is ordered of a gateway, or of the cluster (None)."""
        slope = self.cluster if target is None else self.gateways.get(target)
        return WHOLE if slope is None else slope.share(now)

    def order(self, target: HostPort | None, goal: int, now: datetime, over: timedelta) -> Drains:
        """With the order to bring a gateway, or the cluster (None), to that share."""
        slope = Slope(self.share(target, now), goal, now, over)
        if target is None:
            return replace(self, cluster=slope)
        return replace(self, gateways={**self.gateways, target: slope})

    def without_done(self, now: datetime) -> Drains:
        """Without the orders after which nothing is drained any more."""

        def counts(slope: Slope | None) -> bool:
            return slope is not None and (slope.goal != WHOLE or slope.share(now) != WHOLE)

        return replace(
            self,
            cluster=self.cluster if counts(self.cluster) else None,
            gateways={address: slope for address, slope in self.gateways.items() if counts(slope)},
        )


NOTHING_DRAINED: Final = Drains()


def gateway_record(
    addresses: Iterable[HostPort], region: str, network: str, drains: Drains, now: datetime
) -> GatewayRecord:
    """What the others are told of the gateways at these addresses; the revision is left at 0."""
    cluster = drains.share(None, now)
    called: list[tuple[GatewayAddress, int]] = []
    drained: list[GatewayAddress] = []
    for address in addresses:
        told = GatewayAddress(address.host, address.port)
        share = 0 if address in drains.leaving else drains.share(address, now)
        if share and cluster:
            called.append((told, share))
        else:
            drained.append(told)
    shares = tuple(share for _, share in called)
    return GatewayRecord(
        tuple(address for address, _ in called),
        region,
        network,
        SHARDS,
        cluster or WHOLE,
        shares if len(set(shares)) > 1 else (),
        tuple(drained),
    )
