"""A peer whose stored state is refused must not keep the others from being known."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime

from federation.exchange.base import StoredSnapshot
from federation.exchange.memory import MemoryExchange
from federation.exchange.session import ExchangeSession
from federation.exchange.timing import Timing
from federation.model.names import ClusterId
from support.exchange import CLUSTERSET, by_key, gateway, key_of, member_of, until

EAST, NORTH = ClusterId("east"), ClusterId("north")


def session(exchange: MemoryExchange, name: str, *peers: str) -> ExchangeSession:
    return ExchangeSession(
        exchange,
        clusterset=CLUSTERSET,
        member=member_of(name),
        key=key_of(name),
        peers=[member_of(peer) for peer in peers],
        disk=None,
        clock=lambda: datetime.now(UTC),
        monotonic=time.monotonic,
        rng=random.Random(1),
        on_change=lambda cluster, keys: None,
        timing=Timing(hold_off=0.001, beat=0.01, retry=0.001, retry_max=0.005),
    )


async def test_a_forged_snapshot_of_one_peer_delays_nobody() -> None:
    """At a cold start, a peer whose snapshot is forged is left out; the session is synced with the others."""
    exchange = MemoryExchange(time.monotonic)
    await exchange.replace(NORTH, StoredSnapshot(b"forged", {0: b"forged"}), b"forged", 60.0)
    east, west = session(exchange, "east"), session(exchange, "west", "east", "north")
    east.publish(by_key(gateway()))
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(each.run()) for each in (east, west)]
        await until(lambda: west.synced)
        members = west.snapshot().members
        for task in running:
            task.cancel()

    assert by_key(gateway()) == members[EAST].records
    assert not members[NORTH].synced
    assert {"north"} == {cluster for cluster, _ in west.rejections}
