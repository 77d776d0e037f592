"""Shards: how the endpoints behind a peer's gateways are told apart, though the gateways pass TLS through.

A proxy shares out requests among the hosts that it knows. Were a peer's gateway one host, a caller's one HTTP/2
connection would end at one endpoint, and all its requests with it. So the endpoints of a service port are parted into
shards, and each shard is a host of the callers with an SNI of its own, which the gateway leads to the endpoints of that
shard. What travels between clusters are counts of ready endpoints still: an endpoint has a *slot*, and the gateway
alone knows which (docs/decisions/023). Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

from gateway.ir.model import Upstream, Way

SHARDS = 16
"""Shards that our gateways part a service port into: a bound on the hosts, and so on the connections, that a caller has
for one service of one peer. Endpoint slot ``s`` is in shard ``s`` modulo this."""

_MAX_WAYS = 4
"""Addresses that a shard is tried at: a bound on the size of what callers are sent."""


def shard_sizes(ready: int, shards: int) -> tuple[int, ...]:
    """Endpoints in each shard that has one, where ``ready`` endpoints have the slots from 0 on."""
    if shards < 1:
        return ()
    share, rest = divmod(ready, shards)
    return tuple(size for shard in range(shards) if (size := share + (shard < rest)))


def keep_slots(before: Sequence[Upstream], now: Sequence[Upstream]) -> tuple[Upstream, ...]:
    """``now`` in the order of slots: who had a slot keeps it, who is new takes a free one, no slot stays free.

    A caller's connections to a shard stay at the endpoint that they were opened to. If slots moved, two shards could
    come to hold connections to one endpoint, and another endpoint would have none. Where endpoints become fewer, those
    of the last slots take the places of those that are gone: the shards at the end are no longer called.
    """
    present = set(now)
    slots: list[Upstream | None] = [upstream if upstream in present else None for upstream in before[: len(now)]]
    slots += [None] * (len(now) - len(slots))
    kept = {upstream for upstream in slots if upstream is not None}
    waiting = iter([*(upstream for upstream in before if upstream in present - kept), *sorted(present - set(before))])
    return tuple(next(waiting) if upstream is None else upstream for upstream in slots)


def ways(addresses: Sequence[Way], weights: Sequence[int], start: int, count: int) -> tuple[tuple[Way, ...], ...]:
    """For each of ``count`` shards the addresses to try, at most 4; the first ones in proportion to ``weights``.

    They take turns (smooth weighted round robin), beginning at turn ``start``: so services that have one shard each
    are spread over the addresses too. An address of weight 0 is tried last, and where there is nothing else.
    """
    if not addresses:
        return ()
    preferred = [index for index, weight in enumerate(weights) if weight > 0] or list(range(len(addresses)))
    rest = [index for index in range(len(addresses)) if index not in preferred]
    turns = _turns([max(weights[index], 1) for index in preferred], start, count)
    found = []
    for turn in turns:
        order = [*preferred[turn:], *preferred[:turn], *rest]
        found.append(tuple(addresses[index] for index in order[:_MAX_WAYS]))
    return tuple(found)


def _turns(weights: Sequence[int], start: int, count: int) -> list[int]:
    common = gcd(*weights)
    shares = [weight // common for weight in weights]
    total = sum(shares)
    credit = [0] * len(shares)
    order = []
    for _ in range(start % total + count):
        credit = [held + share for held, share in zip(credit, shares, strict=True)]
        chosen = max(range(len(credit)), key=credit.__getitem__)
        credit[chosen] -= total
        order.append(chosen)
    return order[-count:] if count else []
