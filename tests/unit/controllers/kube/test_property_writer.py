"""The writer of properties where the API server answers what only a real one does, or another was faster."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from controllers.kube.client import KubeError
from support.exchange import until
from support.kube.server import StandIn
from support.property_site import ID, SET, PropertySite, property_site


@pytest.fixture
async def site(api_server: StandIn, tmp_path: Path) -> AsyncIterator[PropertySite]:
    async with property_site(tmp_path, api_server) as found:
        yield found


@pytest.mark.parametrize("code", [409, 429, 500, 503])
async def test_failures_of_the_api_server_pass(code: int, api_server: StandIn, site: PropertySite) -> None:
    """Whatever it answers for a while, in the end all is in order and nothing is told any more."""
    api_server.fail(code, times=2, verbs=["patch"])
    site.start()
    if code == 409:
        await until(lambda: ("patch", 409) in site.writes)
        site.writer.hurry()
        await until(lambda: site.writes.count(("patch", 409)) == 2)
        site.writer.hurry()
    await until(lambda: site.values == {ID: "east", SET: "acme"} and site.writer.settled)

    assert [answer for _, answer in site.writes].count(code) == 2
    await until(lambda: site.writer.problems == ())


async def test_each_write_ends_within_the_time_of_the_leader(site: PropertySite) -> None:
    """And none begins when it is over, between two of them either."""
    asked: list[float] = []
    opened = site.writer._opened

    @asynccontextmanager
    async def limited() -> AsyncIterator[Any]:
        async with opened() as api:
            apply = api.apply

            async def applied(document: Any, subresource: str | None = None, *, timeout_seconds: float) -> Any:
                asked.append(timeout_seconds)
                return await apply(document, subresource, timeout_seconds=timeout_seconds)

            api.apply = applied  # type: ignore[method-assign]
            yield api

    site.writer._opened = limited
    site.writer._seconds_left = lambda: 0.0 if asked else 7.0
    site.start()
    await until(lambda: len(site.values) == 1)
    first = list(asked)
    site.writer._seconds_left = lambda: math.inf
    site.writer.hurry()
    await until(lambda: site.writer.settled)

    assert (first, asked) == ([7.0], [7.0, 30.0])


async def test_trouble_is_told_by_the_leader(site: PropertySite) -> None:
    """And forgotten when it leads no longer."""
    site.writer._tell_trouble(KubeError("the API server does not answer in time"))
    led = site.writer.problems
    site.leading = False
    standby = site.writer.problems

    assert [(one.subject, one.reason, one.message) for one in led] == [
        (
            "ClusterProperty",
            "Unwritable",
            "the API server does not answer in time; what is not as it should be is written later",
        )
    ]
    assert standby == ()
