"""How a proxy ends: told first, then quiet, and never without an end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from federation.app import farewell
from federation.app.farewell import Farewell, Owner
from federation.model.addresses import HostPort


class World:
    """A controller and an Envoy, as far as a farewell asks them."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.open = [0]
        self.waiting = [["us-east"], []]
        """What the controller waits for, look by look; the last one stays."""
        self.refuses = False

    def stats(self) -> list[dict[str, object]]:
        value = self.open.pop(0) if len(self.open) > 1 else self.open[0]
        self.asked.append(f"open {value}")
        return [{"name": "listener.gateway.downstream_cx_active", "value": value}, {"histograms": {}}]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(farewell, "_LOOK_SECONDS", 0.01)


@pytest.fixture
async def told(world: World, tmp_path: Path) -> AsyncIterator[tuple[Owner, HostPort]]:
    """The two servers, really listening: the owner's socket, and Envoy's admin port."""

    async def leaving(request: web.Request) -> web.Response:
        world.asked.append(f"{request.method} {request.query['address']}")
        return web.json_response({}, status=409 if world.refuses else 200)

    async def drains(_: web.Request) -> web.Response:
        waiting = world.waiting.pop(0) if len(world.waiting) > 1 else world.waiting[0]
        world.asked.append(f"waiting for {waiting}")
        return web.json_response({"published": True, "settled": True, "waitingFor": waiting, "more": 1})

    async def stats(_: web.Request) -> web.Response:
        return web.Response(text=json.dumps({"stats": world.stats()}))

    runners = []
    for routes in (
        [web.route("*", "/v1/leaving/gateways", leaving), web.get("/v1/drains", drains)],
        [web.get("/stats", stats)],
    ):
        app = web.Application()
        app.add_routes(routes)
        runners.append(web.AppRunner(app))
        await runners[-1].setup()
    await web.UnixSite(runners[0], str(tmp_path / "s")).start()
    site = web.TCPSite(runners[1], "127.0.0.1", 0)
    await site.start()
    port = int(runners[1].addresses[0][1])
    yield Owner(tmp_path / "s", "gateways", HostPort("127.0.0.1", port)), HostPort("127.0.0.1", port)
    for runner in runners:
        await runner.cleanup()


def made(world: World, told: tuple[Owner, HostPort], drain: float = 20.0) -> Farewell:
    owner, admin = told
    return Farewell(
        owner=owner,
        admin=admin,
        drain=timedelta(seconds=drain),
        open_statistics="active",
        end_calls=lambda: world.asked.append("end calls"),
    )


async def test_it_is_told_then_acknowledged_then_quiet(world: World, told: tuple[Owner, HostPort]) -> None:
    """In this order; quiet is what stays so for several looks."""
    world.open = [2, 0, 1, 0]
    await made(world, told).leave()
    address = f"POST {told[0].address}"
    assert world.asked[:4] == [address, "waiting for ['us-east']", "waiting for []", "end calls"]
    assert world.asked[4:] == ["open 2", "open 0", "open 1", *["open 0"] * 5]


async def test_what_never_ends_is_cut_when_time_is_up(world: World, told: tuple[Owner, HostPort]) -> None:
    world.open = [1]
    await made(world, told, drain=0.2).leave()
    assert set(world.asked[4:]) == {"open 1"}


async def test_without_a_drain_it_just_ends(world: World, told: tuple[Owner, HostPort]) -> None:
    await made(world, told, drain=0).leave()
    assert world.asked == []


async def test_without_a_controller_it_waits_for_its_connections(
    world: World, told: tuple[Owner, HostPort], tmp_path: Path
) -> None:
    """Also where the controller does not know it by its address."""
    _, admin = told
    world.refuses = True
    await made(world, told).leave()
    assert world.asked[1:] == ["end calls", *["open 0"] * 5]
    world.asked.clear()
    nobody = Owner(tmp_path / "nobody", "gateways", admin)
    await made(world, (nobody, admin)).leave()
    assert world.asked == ["end calls", *["open 0"] * 5]


async def test_it_says_that_it_serves_when_it_listens(world: World, told: tuple[Owner, HostPort]) -> None:
    """Once, and it goes on asking until a controller answers."""
    async with asyncio.timeout(10):
        await made(world, told).arrive()
    assert world.asked == [f"DELETE {told[0].address}"]
