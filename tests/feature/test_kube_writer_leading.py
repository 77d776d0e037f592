"""The writer among replicas: only the leader writes, and whoever comes to lead has little to do."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from controllers.kube.writer import ObjectWriter, WritingApi
from federation.model.names import ServiceKey
from support.builders import CREATED, WEST
from support.exchange import until
from support.kube.plane import Plane
from support.kube.real import RealServer
from support.kube.server import StandIn
from support.kubernetes_site import QUICK
from support.writer_site import Opened, WriterSite, exported, writer_site

OBSERVED = (
    "customresourcedefinitions",
    "endpointslices",
    "namespaces",
    "serviceexports",
    "serviceimports",
    "services",
)


class Leadership:
    """Who may write, as a test says."""

    def __init__(self) -> None:
        self.leading = False
        self.seconds_left: float = math.inf

    def passes(self, writer: ObjectWriter, *, leading: bool) -> None:
        self.leading = leading
        writer.hurry()


class LedSite:
    """The usual site, with a writer that a test gives the lead."""

    def __init__(self, site: WriterSite, opened: Opened) -> None:
        self.site = site
        self.opened = opened
        self.leadership = Leadership()
        self._namespaces = 0
        self.site.writer = self.writer()

    def writer(self) -> ObjectWriter:
        """Another one, as after a restart of this replica."""
        return ObjectWriter(
            self.opened,
            lambda: CREATED,
            patience=QUICK,
            leading=lambda: self.leadership.leading,
            seconds_left=lambda: self.leadership.seconds_left,
        )

    def lead(self, *, leading: bool = True) -> None:
        self.leadership.passes(self.site.writer, leading=leading)

    async def warm(self) -> None:
        """Until the writer has listed everything, and had news to do something about."""
        await until(lambda: all(self.site.lists(one) for one in OBSERVED))
        self._namespaces += 1
        name = f"news-{self._namespaces}"
        self.site.namespace(name)
        await until(lambda: name in self.site.writer._objects.namespaces)
        self.site.tell()
        await asyncio.sleep(0.05)


@asynccontextmanager
async def led_site(
    directory: Path, server: StandIn | RealServer, around: Callable[[Opened], Opened] = lambda opened: opened
) -> AsyncIterator[LedSite]:
    kept: list[Opened] = []

    def keep(opened: Opened) -> Opened:
        kept.append(around(opened))
        return kept[0]

    async with writer_site(directory, server, around=keep) as site:
        site.namespace()
        yield LedSite(site, kept[0])


@pytest.fixture
async def led(kube_plane: Plane, tmp_path: Path) -> AsyncIterator[LedSite]:
    async with led_site(tmp_path, kube_plane.server) as found:
        yield found


async def test_a_standby_observes_and_writes_nothing(led: LedSite) -> None:
    """However much there is to write; once it leads it is written, without another list."""
    site = led.site
    site.tell()
    site.start()
    await led.warm()
    before, lists = site.writes, site.lists()
    settled = site.writer.settled
    led.lead()
    await site.in_order()

    assert (before, settled) == ([], False)
    assert site.lists() == lists
    assert site.writer.problems == ()


async def test_whoever_takes_over_writes_nothing_where_all_is_in_order(led: LedSite) -> None:
    """It looks at everything, finds it as it should be, and tells what is not; what was changed while nobody led is
    healed."""
    site, other = led.site, ServiceKey("demo", "other")
    site.create("ServiceImport", {"metadata": {"name": "other"}, "spec": {"type": "ClusterSetIP", "ports": []}})
    site.exports[WEST][other] = exported(other)
    site.tell()
    led.lead()
    site.start()
    await until(lambda: bool(site.of("EndpointSlice")) and site.writer.settled)
    problems = site.writer.problems
    await site.stop()
    written = site.writes

    led.leadership.leading = False
    site.writer = led.writer()
    site.tell()
    site.start()
    await led.warm()
    led.lead()
    await until(lambda: site.writer.settled)
    taken_over = site.writes

    led.lead(leading=False)
    site.delete("EndpointSlice")
    site.tell()
    await led.warm()
    meanwhile = site.writes
    led.lead()
    await until(lambda: bool(site.of("EndpointSlice")) and site.writer.settled)
    led.lead(leading=False)
    standby = site.writer.problems
    led.lead()
    await until(lambda: site.writer.settled)

    assert [(one.subject, one.reason) for one in problems] == [("ServiceImport demo/other", "NotOurs")]
    assert (standby, site.writer.problems) == ((), problems)
    assert taken_over == written
    assert meanwhile == written
    assert [name for _, name, _ in site.writes[len(written) :]] == ["endpointslices"]


async def test_a_leader_that_loses_the_lead_stops_between_two_writes(kube_plane: Plane, tmp_path: Path) -> None:
    """What was planned is not carried on with; when it leads again, it goes on where things are then."""
    tried: list[str] = []
    sites: list[LedSite] = []

    class Losing:
        """A client whose fourth write finds that the lead was lost during the third, which is of the same plan."""

        def __init__(self, api: WritingApi) -> None:
            self._api = api
            self.get, self.watch, self.delete = api.get, api.watch, api.delete

        async def apply(self, document: Any, subresource: str | None = None, *, timeout_seconds: float) -> Any:
            tried.append(document["kind"])
            applied = await self._api.apply(document, subresource, timeout_seconds=timeout_seconds)
            if len(tried) == 3:
                sites[0].lead(leading=False)
            return applied

    def around(opened: Opened) -> Opened:
        @asynccontextmanager
        async def opening() -> AsyncIterator[WritingApi]:
            async with opened() as api:
                yield Losing(api)

        return opening

    async with led_site(tmp_path, kube_plane.server, around) as led:
        sites.append(led)
        led.lead()
        led.site.tell()
        led.site.start()
        await until(lambda: len(tried) == 3)
        await led.warm()
        before = list(tried)
        led.lead()
        await led.site.in_order()

        assert before == ["Service", "ServiceImport", "EndpointSlice"]


async def test_a_write_ends_before_the_time_of_the_leader(led: LedSite) -> None:
    """An API server that hangs is not waited for longer than the lease holds; the standby tells of no trouble."""
    site = led.site
    site.tell()
    led.lead()
    site.start()
    await site.in_order()
    led.leadership.seconds_left = 0.2
    await site.cluster.vanish(hang=True)
    site.exports = {}
    site.tell(*site.writer._objects.keys)
    await until(lambda: any(one.reason == "Unwritable" for one in site.writer.problems))
    told = [one.message for one in site.writer.problems if one.reason == "Unwritable"]
    led.leadership.leading = False
    without = [one for one in site.writer.problems if one.reason == "Unwritable"]
    led.lead(leading=False)
    await site.cluster.come_back()
    led.leadership.seconds_left = 0.0
    led.lead()
    await led.warm()
    timeless = [verb for verb, _, code in site.writes if verb == "delete" and code == 200]
    led.leadership.seconds_left = math.inf
    led.lead()
    await until(lambda: not site.of("ServiceImport"))

    assert told == ["the API server does not answer in time; what is marked is written later"]
    assert (without, timeless) == ([], [])
