"""The exchange is gone for long: nobody notices, and not even what starts meanwhile needs it.

One long story, because each of its states is the next one's start: calls between three clusters, Redis killed, then
every controller, gateway and sidecar killed and started without it, then Redis back, empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from support.load import all_calls_reach, failures, report, steady_load, until
from support.triangle import Triangle, three_clusters

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(240)]

RATE = 500
"""Calls per second, of all three clusters together."""
SECONDS_AFTER_THE_LAST_START = 10.0


@pytest.fixture
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triangle]:
    """Three clusters that call one another."""
    with three_clusters(tmp_path_factory.mktemp("outage")) as sites:
        sites.restore()
        yield sites


@pytest.mark.parametrize(
    "outage",
    [
        pytest.param(60, id="a minute"),
        pytest.param(600, id="ten minutes", marks=[pytest.mark.soak, pytest.mark.timeout(1200)]),
    ],
)
async def test_a_dead_redis_costs_no_call_and_restarts_need_none(sites: Triangle, outage: int) -> None:
    """No call fails for as long as Redis is dead; all controllers, gateways and sidecars that are killed and started
    meanwhile carry calls between clusters within 10 s, from disk; Redis may come back empty without a failed call."""
    redis = sites.set.redis
    assert redis is not None
    known = sites.endpoints()
    async with steady_load(sites.targets(RATE)) as outcomes:
        await all_calls_reach(outcomes, 2 * RATE, 30)
        redis.kill()
        killed_at = datetime.now(UTC)
        await all_calls_reach(outcomes, outage * RATE, 2 * outage)
        assert sites.endpoints() == known
        assert states(sites) == {"Unheard"}
    report(f"redis dead for {outage} s", outcomes)
    assert failures(outcomes) == {}

    for site in sites.sites.values():
        site.cluster.controller.kill()
        site.cluster.gateway.kill()
        site.pod.sidecar.child.kill()
    for site in sites.sites.values():
        site.cluster.controller.start()
        site.cluster.gateway.start()
        site.pod.sidecar.start()
    await until(sites.crosses, "calls cross clusters again, without Redis", SECONDS_AFTER_THE_LAST_START)
    assert sites.endpoints() == known
    assert all(saved <= killed_at for saved in saved_ats(sites))
    assert publications(sites) == [0, 0, 0]

    async with steady_load(sites.targets(RATE)) as outcomes:
        await all_calls_reach(outcomes, 2 * RATE, 30)
        redis.start()
        for site in sites.sites.values():
            await until(site.all_live, f"{site.name} finds all live")
        await all_calls_reach(outcomes, 2 * RATE, 30)
        assert sites.endpoints() == known
    report("redis back, empty", outcomes)
    assert failures(outcomes) == {}
    assert publications(sites) == [1, 1, 1]
    assert {peer["savedAt"] for site in sites.sites.values() for peer in site.cluster.status()["peers"]} == {None}


def states(sites: Triangle) -> set[str]:
    return {peer["state"] for site in sites.sites.values() for peer in site.cluster.status()["peers"]}


def saved_ats(sites: Triangle) -> list[datetime]:
    """How old what every cluster knows of every other is, by its status."""
    return [
        datetime.fromisoformat(peer["savedAt"])
        for site in sites.sites.values()
        for peer in site.cluster.status()["peers"]
    ]


def publications(sites: Triangle) -> list[float]:
    return [site.cluster.metric("publications_total") for site in sites.sites.values()]
