"""The writer where the API server answers what only a real one does: by clients that answer in its place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from controllers.kube.client import KubeError
from controllers.kube.writer import WritingApi
from controllers.mcs.export_status import Delivery, Publication
from controllers.sources.manifests import ObjectId
from federation.model.names import ServiceKey
from support.builders import EAST, ECHO, WEST, service
from support.exchange import until
from support.kube.server import running
from support.kube.services import CLUSTER_IPS
from support.writer_site import Opened, exported, writer_site


class Meddling:
    """A client that asks ``before`` each write: it may raise, or wait."""

    def __init__(self, api: WritingApi, before: Callable[[dict[str, Any]], Any]) -> None:
        self._api = api
        self._before = before
        self.get = api.get
        self.watch = api.watch

    async def apply(self, document: Any, subresource: str | None = None, *, timeout_seconds: float) -> Any:
        await self._before({**document, "subresource": subresource, "seconds": timeout_seconds})
        return await self._api.apply(document, subresource, timeout_seconds=timeout_seconds)

    async def delete(
        self, id_: ObjectId, uid: str, resource_version: str, *, api_version: str, timeout_seconds: float
    ) -> None:
        await self._before({"kind": id_.kind, "deleted": True, "seconds": timeout_seconds})
        await self._api.delete(id_, uid, resource_version, api_version=api_version, timeout_seconds=timeout_seconds)


def meddling(before: Callable[[dict[str, Any]], Any]) -> Callable[[Opened], Opened]:
    def wrapped(opened: Opened) -> Opened:
        @asynccontextmanager
        async def opening() -> AsyncIterator[WritingApi]:
            async with opened() as api:
                yield Meddling(api, before)

        return opening

    return wrapped


async def test_an_address_that_was_given_away_is_not_asked_for_again(tmp_path: Path) -> None:
    """Where the API server refuses the address of before, the import gets another one, and it is told."""
    lost: set[str] = set()
    refused: list[str] = []

    async def before(write: dict[str, Any]) -> None:
        asked = write.get("spec", {}).get("clusterIPs", [])
        if lost.intersection(asked):
            refused.extend(asked)
            raise KubeError("the address is taken", status=422, causes=(("FieldValueInvalid", "spec.clusterIPs"),))

    async with writer_site(tmp_path, around=meddling(before)) as site:
        site.namespace()
        site.tell()
        site.start()
        await site.in_order()
        (address,) = site.one("ServiceImport")["spec"]["ips"]
        lost.add(address)
        site.delete("Service")
        await until(lambda: bool(site.of("Service")))
        await until(lambda: site.one("ServiceImport")["spec"].get("ips") == site.one("Service")["spec"]["clusterIPs"])
        await until(lambda: site.writer.settled and site.writer.problems == ())

        assert refused == [address]
        assert site.one("ServiceImport")["spec"]["ips"] != [address]


async def test_what_is_refused_is_a_problem_and_is_tried_again(tmp_path: Path) -> None:
    """It keeps neither other objects nor other services from being written, and nothing is deleted meanwhile."""
    broken = {"now": True}

    async def before(write: dict[str, Any]) -> None:
        if write["kind"] == "EndpointSlice" and write["metadata"]["name"].startswith("echo") and broken["now"]:
            raise KubeError("the API server refuses: it is invalid", status=422)

    async with writer_site(tmp_path, around=meddling(before)) as site:
        other = ServiceKey("demo", "other")
        site.namespace()
        site.exports[WEST][other] = exported(other)
        site.tell()
        site.start()
        await until(lambda: len(site.of("EndpointSlice")) == 1 and bool(site.writer.problems))
        await until(lambda: all("status" in one for one in site.of("ServiceImport").values()))
        told = [(one.subject.partition("/")[0], one.reason, one.message) for one in site.writer.problems]
        broken["now"] = False
        await until(lambda: len(site.of("EndpointSlice")) == 2 and site.writer.settled)

        assert told == [("EndpointSlice demo", "Refused", "the API server refuses: it is invalid")]
        assert site.writer.problems == ()


async def test_a_namespace_that_is_about_to_go_is_no_missing_right(tmp_path: Path) -> None:
    """The API server forbids new objects there: the plan was overtaken, and nobody is told to change a role."""
    times = iter([True, True])

    async def before(_: dict[str, Any]) -> None:
        if next(times, False):
            raise KubeError("forbidden", status=403, causes=(("NamespaceTerminating", "metadata.namespace"),))

    async with writer_site(tmp_path, around=meddling(before)) as site:
        site.namespace()
        site.tell()
        site.start()
        await site.in_order()

        assert site.writer.problems == ()


async def test_a_wait_that_the_api_server_asks_for_holds_everybody(tmp_path: Path) -> None:
    """No service is written before it is over."""
    loop = asyncio.get_running_loop()
    tried: list[float] = []

    async def before(_: dict[str, Any]) -> None:
        tried.append(loop.time())
        if len(tried) == 1:
            raise KubeError("too many requests", status=429, retry_after_seconds=0.5)

    async with writer_site(tmp_path, around=meddling(before)) as site:
        site.namespace()
        site.tell()
        site.start()
        await site.in_order()

        assert tried[1] - tried[0] >= 0.5


async def test_few_writes_are_under_way_at_once(tmp_path: Path) -> None:
    """However many services are marked, and never two of one service."""
    under_way = most = 0

    async def before(_: dict[str, Any]) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1

    async with writer_site(tmp_path, around=meddling(before)) as site:
        site.namespace()
        keys = [ECHO, *(ServiceKey("demo", f"echo-{number}") for number in range(12))]
        site.exports[WEST] = {key: exported(key) for key in keys}
        site.tell()
        site.start()
        await until(lambda: len(site.of("EndpointSlice")) == len(keys) and site.writer.settled)

        assert 1 < most <= 4
        assert len(site.of("ServiceImport")) == len(keys)


async def test_a_plan_that_was_overtaken_deletes_nothing(tmp_path: Path) -> None:
    """What is exported again while the plan without it is carried out stays."""
    again: list[Callable[[], None]] = []

    async def before(write: dict[str, Any]) -> None:
        if "deleted" in write and again:
            again.pop()()

    async with writer_site(tmp_path, around=meddling(before)) as site:
        site.namespace()
        site.tell()
        site.start()
        await site.in_order()
        uid = site.one("ServiceImport")["metadata"]["uid"]
        exports, site.exports = site.exports, {WEST: {}}

        def export_again() -> None:
            site.exports = exports
            site.tell(ECHO)

        again.append(export_again)
        site.tell(ECHO)
        await until(lambda: not again)
        await site.in_order()

        assert site.one("ServiceImport")["metadata"]["uid"] == uid
        assert [write for write in site.writes if write[0] == "delete"] == [("delete", "endpointslices", 200)]


async def test_a_service_may_be_further_than_others(tmp_path: Path) -> None:
    """Its publication counts instead of everybody's."""
    other = ServiceKey("demo", "other")
    async with writer_site(tmp_path) as site:
        site.namespace()
        site.exports = {EAST: {key: exported(key) for key in (ECHO, other)}}
        for key in (ECHO, other):
            site.create("ServiceExport", {"metadata": {"name": key.name}})
        site.tell()
        assert site.writer._computed is not None
        late = {other: Publication(Delivery.PENDING, "the exchange has not taken it yet")}
        site.writer.tell(replace(site.writer._computed, publications=late), [other])
        site.start()
        await until(lambda: all("status" in one for one in site.of("ServiceExport").values()) and site.writer.settled)
        told = {
            id_.name: next(one["reason"] for one in found["status"]["conditions"] if one["type"] == "Ready")
            for id_, found in site.of("ServiceExport").items()
        }

        assert told == {"echo": "Exported", "other": "Pending"}


async def test_families_that_become_known_count_for_every_import(tmp_path: Path) -> None:
    """One that was made before gets an address of the other family too, and keeps the one that it has."""
    both = ("IPv4", "IPv6")
    async with running(service_ranges=CLUSTER_IPS) as server, writer_site(tmp_path, server) as site:
        site.namespace()
        dual = replace(exported(), service=service(ip_families=both))
        site.exports[WEST] = {ECHO: dual}
        site.tell()
        site.start()
        await site.in_order()
        first = site.one("ServiceImport")["spec"]["ips"]
        site.writer.on_ip_families(both)
        await until(lambda: site.one("ServiceImport")["spec"]["ips"] != first and site.writer.settled)

        assert len(first) == 1
        assert site.one("ServiceImport")["spec"]["ips"] == site.one("Service")["spec"]["clusterIPs"]
        assert site.one("ServiceImport")["spec"]["ips"][0] == first[0]
        assert site.one("ServiceImport")["spec"]["ipFamilies"] == list(both)


async def test_a_new_import_is_written_once(tmp_path: Path) -> None:
    """It is made once its address is known, and what belongs to it once it is there: no object is written twice."""
    async with writer_site(tmp_path) as site:
        site.namespace()
        site.tell()
        site.start()
        await site.in_order()

        assert [(verb, resource) for verb, resource, _ in site.writes] == [
            ("patch", "services"),
            ("patch", "serviceimports"),
            ("patch", "endpointslices"),
            ("patch", "serviceimports/status"),
        ]
