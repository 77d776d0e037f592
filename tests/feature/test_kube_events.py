"""What users see of their exports and imports in ``kubectl describe``: Events on an API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from controllers.kube.event_recorder import EventRecorder
from controllers.kube.writer import ObjectWriter
from controllers.mcs.export_status import Delivery, Publication
from federation.model.names import ServiceKey
from federation.model.state import ServiceState
from support.builders import CREATED, EAST, ECHO, WEST, service, service_export
from support.exchange import until
from support.kube.plane import STAND_IN, Plane
from support.kubernetes_site import QUICK
from support.writer_site import Opened, WriterSite, exported, writer_site

EVENTS = ("", "events")


class TellingSite:
    """The usual site, whose writer tells in Events what became of objects."""

    def __init__(self, site: WriterSite, opened: Opened) -> None:
        self.site = site
        self.recorder = EventRecorder(opened, lambda: CREATED, "pod-a", pause_seconds=0.0, retry_seconds=0.05)
        site.writer = ObjectWriter(opened, lambda: CREATED, patience=QUICK, record=self.recorder.record)

    def events(self, kind: str) -> list[dict[str, Any]]:
        """About objects of a kind, by name."""
        found = self.site.cluster.objects(EVENTS).values()
        return [body for body in found if body["involvedObject"]["kind"] == kind]

    def told(self, kind: str) -> list[str]:
        """Type, reason and count of each, sorted."""
        return sorted(f"{one['type']} {one['reason']} {one['count']}" for one in self.events(kind))


@pytest.fixture
async def telling(kube_plane: Plane, tmp_path: Path) -> AsyncIterator[TellingSite]:
    """With a ServiceExport for demo/echo, and a recorder that runs."""
    kept: list[Opened] = []

    def keep(opened: Opened) -> Opened:
        kept.append(opened)
        return opened

    async with writer_site(tmp_path, kube_plane.server, around=keep) as site:
        site.namespace()
        site.create("ServiceExport", {"metadata": {"name": "echo"}})
        found = TellingSite(site, kept[0])
        task = asyncio.get_running_loop().create_task(found.recorder.run())
        yield found
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_an_export_tells_its_story(telling: TellingSite) -> None:
    """What is wrong and what to do, that it is exported, that others disagree; the same again is counted."""
    site = telling.site
    missing = ServiceState(None, service_export(), ())
    site.exports = {EAST: {ECHO: missing}}
    site.tell()
    site.start()
    await until(lambda: telling.told("ServiceExport") == ["Warning NoService 1"])
    (event,) = telling.events("ServiceExport")
    site.exports = {EAST: {ECHO: exported()}}
    site.tell()
    await until(lambda: telling.told("ServiceExport") == ["Normal Exported 1", "Warning NoService 1"])
    site.exports = {EAST: {ECHO: missing}}
    site.tell()
    await until(lambda: telling.told("ServiceExport") == ["Normal Exported 1", "Warning NoService 2"])
    site.exports = {EAST: {ECHO: exported()}, WEST: {ECHO: ServiceState(service(headless=True), service_export(), ())}}
    site.tell()
    await until(lambda: "Warning Conflict 1" in telling.told("ServiceExport"))

    export = site.one("ServiceExport")["metadata"]
    assert event["involvedObject"]["uid"] == export["uid"]
    assert (
        event["message"] == "service demo/echo does not exist; create it in this namespace, or delete the ServiceExport"
    )
    assert telling.told("ServiceImport")[0] == "Normal Imported 1"
    assert telling.recorder.dropped == 0


async def test_where_nothing_changes_nothing_is_told(telling: TellingSite) -> None:
    """A writer that comes after another finds every condition as it is, and has no news."""
    site = telling.site
    site.exports = {EAST: {ECHO: exported()}}
    site.publication = Publication(Delivery.EXPORTED)
    site.tell()
    site.start()
    await until(lambda: telling.told("ServiceExport") == ["Normal Exported 1"])
    await until(lambda: telling.told("ServiceImport") == ["Normal Imported 1"])
    await site.in_order()
    writes = site.writes
    site.writer.hurry()
    await until(lambda: site.writer.settled)
    site.tell()
    await until(lambda: site.writer.settled)

    assert site.writes == writes


async def test_an_import_of_somebody_else_is_told_why_it_is_left(telling: TellingSite) -> None:
    """On the object that has the name."""
    site, other = telling.site, ServiceKey("demo", "other")
    site.create("ServiceImport", {"metadata": {"name": "other"}, "spec": {"type": "ClusterSetIP", "ports": []}})
    site.exports = {WEST: {other: exported(other)}}
    site.tell()
    site.start()
    await until(lambda: telling.told("ServiceImport") == ["Warning NotOurs 1"])


@pytest.mark.parametrize("kube_plane", [STAND_IN], indirect=True)
async def test_events_that_are_refused_hinder_nothing(telling: TellingSite) -> None:
    """Objects are as they should be, and what was not told is counted."""
    site = telling.site
    site.server.fail(500, times=10_000, verbs=["patch"], plural="events")
    site.tell()
    site.start()
    await site.in_order()
    await until(lambda: telling.recorder.dropped > 0)

    assert telling.events("ServiceImport") == []
    assert site.writer.problems == ()
