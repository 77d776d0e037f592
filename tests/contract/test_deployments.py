"""Every kind of URL, started for real: the exchange on Sentinels and on a Cluster, plain and with TLS, under faults."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from redis.crc import key_slot

from federation.exchange.connection import ExchangeAccess
from federation.exchange.credentials import Credentials
from federation.exchange.redis_board import RedisBoard
from federation.exchange.server import EmbeddedRedis, find_redis_server
from federation.exchange.users import RedisUsers
from federation.model.names import ClusterId
from support.exchange import CLUSTERSET, by_key, endpoints, gateway, until
from support.exchange_site import Site, publish, site
from support.redis_deployments import Deployment, cluster, make_tls, sentinels, settled
from support.redis_server import tls_program

EAST, WEST = ClusterId("east"), ClusterId("west")
DIGEST = hashlib.sha256(b"password").hexdigest()


@pytest.fixture(params=["plain", "tls"])
def secured(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "tls")


@asynccontextmanager
async def both(access: ExchangeAccess, tmp_path: Path) -> AsyncIterator[tuple[Site, Site]]:
    """Sessions of east and west under their own users, each following the other."""
    east = replace(access, credentials=lambda: Credentials("fg.test.east", "password"))
    west = replace(access, credentials=lambda: Credentials("fg.test.west", "password"))
    async with site(east, "east", "west", tmp_path) as one, site(west, "west", "east", tmp_path) as other:
        yield one, other


async def set_users(access: ExchangeAccess) -> None:
    users = RedisUsers(access, CLUSTERSET)
    for name in (EAST, WEST):
        await users.set_user(name, [DIGEST])
    assert await users.users() == {EAST: {DIGEST}, WEST: {DIGEST}}
    await users.aclose()


async def exchanged(east: Site, west: Site, ready: int) -> None:
    """What east publishes now reaches west."""
    wanted = by_key(endpoints("echo", ready), gateway())
    east.session.publish(wanted)
    await until(lambda: west.of("east") == wanted)


async def test_sentinels_lead_to_the_new_master(tmp_path: Path, *, secured: bool) -> None:
    """The master is killed: sessions publish and follow again on the one that took its place, under the same users, and
    no record is dropped on the way."""
    program = tls_program() if secured else find_redis_server(os.environ)
    tls = make_tls(tmp_path / "tls", program) if secured else None
    async with sentinels(tmp_path, program, tls) as deployment:
        await set_users(deployment.access)
        async with both(deployment.access, tmp_path) as (east, west):
            await publish(east, by_key(endpoints("echo", 1), gateway()))
            await exchanged(east, west, 1)
            board = RedisBoard(deployment.access, CLUSTERSET)
            await board.publish_roster(b"roster")
            emptied = watch_for_loss(west)
            deployment.servers[0].kill()
            await until(lambda: not east.session.connected)
            await exchanged(east, west, 2)
            await until(lambda: west.session.snapshot().members[EAST].fresh)

            async def readable() -> bool:
                return await board.read_roster() == b"roster"

            await settled(readable)
            await board.aclose()
            assert emptied == []
            assert dict(west.session.rejections) == {}


def watch_for_loss(west: Site) -> list[object]:
    """Notes each change of west's picture in which a record of east is missing."""
    losses: list[object] = []
    hear = west.session._on_change

    def on_change(peer: ClusterId, keys: frozenset) -> None:  # type: ignore[type-arg]
        if peer == EAST and len(west.of("east")) < 2:
            losses.append(keys)
        hear(peer, keys)

    west.session._on_change = on_change
    return losses


def owner(deployment: Deployment, key: str) -> EmbeddedRedis:
    slot = key_slot(key.encode())
    return deployment.servers[0 if slot <= 5460 else 1 if slot <= 10922 else 2]


async def test_a_cluster_is_followed_through_faults(tmp_path: Path, *, secured: bool) -> None:
    """Members in different slots meet; a slot that moves, connections that are cut and a server that dies are each got
    over by the same sessions."""
    program = tls_program() if secured else find_redis_server(os.environ)
    tls = make_tls(tmp_path / "tls", program) if secured else None
    async with cluster(tmp_path, program, tls) as deployment:
        await set_users(deployment.access)
        async with both(deployment.access, tmp_path) as (east, west):
            await exchanged(east, west, 1)
            await cut_connections(deployment)
            await exchanged(east, west, 2)
            old = owner(deployment, "{east}")
            new = next(server for server in deployment.servers if server is not old)
            await move_slot(deployment, key_slot(b"east"), old, new)
            await exchanged(east, west, 3)
            spare = next(server for server in deployment.servers if server not in {old, new})
            spare.kill()
            for ready in range(4, 8):
                await exchanged(east, west, ready)
            assert dict(west.session.rejections) == {}


async def cut_connections(deployment: Deployment) -> None:
    """Every connection of a member ends, on all servers."""
    for server in deployment.servers:
        for name in (EAST, WEST):
            await deployment.ask(server, "CLIENT", "KILL", "USER", f"fg.test.{name}")


async def move_slot(deployment: Deployment, slot: int, old: EmbeddedRedis, new: EmbeddedRedis) -> None:
    """Give a slot to another server; what it held is lost, and its member has to publish again."""
    name = (await deployment.ask(new, "CLUSTER", "MYID")).decode()
    await deployment.ask(new, "CLUSTER", "SETSLOT", slot, "IMPORTING", (await deployment.ask(old, "CLUSTER", "MYID")))
    await deployment.ask(new, "CLUSTER", "SETSLOT", slot, "NODE", name)

    async def given_up() -> bool:
        # Keys hold the slot back, and the session writes until it is sent elsewhere.
        for key in await deployment.ask(old, "CLUSTER", "GETKEYSINSLOT", slot, 100):
            await deployment.ask(old, "DEL", key)
        await deployment.ask(old, "CLUSTER", "SETSLOT", slot, "NODE", name)
        return True

    await settled(given_up)
