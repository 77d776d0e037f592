"""Which families Services can have, as the stand-in API server is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from controllers.kube.client import KubeAccess, open_client
from controllers.kube.ip_families import IpFamilies, parse_families
from support.exchange import until
from support.kube.server import StandIn, running
from support.kube.services import CLUSTER_IPS
from support.kubernetes_site import QUICK, SERVICES


class Asked:
    """What was told, in order."""

    def __init__(self, server: StandIn, kubeconfig: Path) -> None:
        self.told: list[tuple[str, ...]] = []
        self.server = server
        opened = partial(open_client, KubeAccess(kubeconfig))
        self.families = IpFamilies(opened, "default", self.told.append, patience=QUICK, again_seconds=0.02)

    @property
    def times(self) -> int:
        """How often the API server was asked."""
        return sum(1 for one in self.server.audit if (one.asked.verb, one.asked.plural) == ("create", "services"))


@asynccontextmanager
async def asked(directory: Path, ranges: Sequence[str]) -> AsyncIterator[Asked]:
    async with running(service_ranges=ranges) as server:
        found = Asked(server, server.write_kubeconfig(directory / "kubeconfig"))
        task = asyncio.get_running_loop().create_task(found.families.run())
        yield found
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize(
    ("ranges", "families"),
    [
        (CLUSTER_IPS[:1], ("IPv4",)),
        (CLUSTER_IPS[1:], ("IPv6",)),
        (CLUSTER_IPS, ("IPv4", "IPv6")),
        (CLUSTER_IPS[::-1], ("IPv6", "IPv4")),
    ],
)
async def test_families_are_those_that_a_service_would_get(
    ranges: Sequence[str], families: tuple[str, ...], tmp_path: Path
) -> None:
    """The first one first; they are told once, however often they are asked for, and no Service is made."""
    async with asked(tmp_path, ranges) as found:
        before = found.server.objects(SERVICES)
        await until(lambda: found.times > 2)

        assert (found.told, found.families.families, found.families.problems) == ([families], families, ())
        assert found.server.objects(SERVICES) == before


async def test_an_api_server_that_does_not_say_is_asked_again(tmp_path: Path) -> None:
    """What it said before stays, and the problem says what is assumed."""
    async with asked(tmp_path, CLUSTER_IPS) as found:
        await until(lambda: bool(found.told))
        found.server.fail(500, times=1_000_000, verbs=["create"], plural="services")
        await until(lambda: bool(found.families.problems))
        (problem,) = found.families.problems
        assert problem.reason == "Unknown"
        assert problem.message.endswith("imports get IPv4 and IPv6 only")
        found.server.heal()
        await until(lambda: not found.families.problems)

        assert found.told == [("IPv4", "IPv6")]


def test_what_is_no_family_is_left_out() -> None:
    """Only a broken server says it."""
    assert parse_families({"spec": {"ipFamilies": ["IPv6", "IPX", 4]}}) == ("IPv6",)
    assert parse_families({"spec": "none"}) == ()
