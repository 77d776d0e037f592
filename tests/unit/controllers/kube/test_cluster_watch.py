"""What is read once for all who look at it, on the stand-in API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from controllers.kube.client import KubeAccess, open_client
from controllers.kube.cluster_watch import ClusterWatch
from controllers.kube.observed_objects import WRITER_RESOURCES
from controllers.kube.writer import ObjectWriter
from controllers.mcs.objects import Document, section, text
from controllers.sources.kubernetes import KubernetesSource
from controllers.sources.resource_watch import Patience
from controllers.sources.watched_objects import RESOURCES, Resource
from federation.model.names import ServiceKey
from support.builders import CREATED
from support.cluster_directory import export, next_update, service, update_where
from support.exchange import until
from support.kubernetes_site import QUICK, KubernetesSite, kubernetes_site

SERVICES = next(one for one in RESOURCES if one.kind == "Service")
EXPORTS = next(one for one in RESOURCES if one.kind == "ServiceExport")


class Names:
    """Knows the names of objects, and what can't be read."""

    def __init__(self) -> None:
        self.of: dict[str, set[str]] = {}
        self.unreadable: set[str] = set()
        self.news = 0

    def tell(self) -> None:
        self.news += 1

    def replace(self, resource: Resource, items: Iterable[Document]) -> None:
        self.of[resource.kind] = {_name(item) for item in items}

    def put(self, resource: Resource, item: Document) -> None:
        self.of[resource.kind].add(_name(item))

    def remove(self, resource: Resource, item: Document) -> None:
        self.of[resource.kind].discard(_name(item))

    def mark_unreadable(self, resource: Resource, cause: str) -> None:
        assert cause
        self.unreadable.add(resource.kind)

    def mark_readable(self, resource: Resource) -> None:
        self.unreadable.discard(resource.kind)


def _name(item: Document) -> str:
    return text(section(item, "metadata").get("name"))


@asynccontextmanager
async def reading(site: KubernetesSite, patience: Patience = QUICK) -> AsyncIterator[ClusterWatch]:
    """A watch that runs for the time of a block."""
    watch = ClusterWatch(partial(open_client, KubeAccess(site.kubeconfig)), patience)
    task = asyncio.get_running_loop().create_task(watch.run())
    try:
        yield watch
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[KubernetesSite]:
    async with kubernetes_site(tmp_path) as opened:
        opened.put("service", service())
        yield opened


async def test_source_and_writer_read_each_resource_once(site: KubernetesSite) -> None:
    """One list and one watch for what both look at, and either is told all of it."""
    async with reading(site, replace(QUICK, page=500)) as watch:
        opened = partial(open_client, KubeAccess(site.kubeconfig))
        source = KubernetesSource(KubeAccess(site.kubeconfig), watch=watch)
        writer = ObjectWriter(opened, lambda: CREATED, watch=watch, patience=QUICK)
        task = asyncio.get_running_loop().create_task(writer.run())
        async with aclosing(source.updates()) as updates:
            await next_update(updates)
            await until(
                lambda: writer.problems == () and site.server.watches.count == len({*RESOURCES, *WRITER_RESOURCES})
            )
            site.put("other", export("other"))
            await update_where(updates, lambda update: ServiceKey("demo", "other") in update.state.services)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await until(lambda: site.server.watches.count == 0)

    # Whoever comes second makes what both look at be listed again, unless it was not listed yet.
    assert site.lists("services") <= 2
    assert [site.lists(plural) for plural in ("serviceimports", "customresourcedefinitions")] == [1, 1]


async def test_whoever_comes_late_gets_the_whole(site: KubernetesSite) -> None:
    """By a list, which those who were there hear too; then both hear every event."""
    first, second = Names(), Names()
    async with reading(site) as watch:
        with watch.follow([SERVICES, EXPORTS], first, first.tell):
            await until(lambda: first.of == {"Service": {"echo"}, "ServiceExport": set()})
            with watch.follow([SERVICES], second, second.tell):
                assert (first.unreadable, second.unreadable) == (set(), {"Service"})
                await until(lambda: second.of == {"Service": {"echo"}} and not second.unreadable)
                site.put("other", service("other"))
                site.put("export", export())
                await until(lambda: first.of == {"Service": {"echo", "other"}, "ServiceExport": {"echo"}})

    assert second.of == {"Service": {"echo", "other"}}
    assert second.news > 0


async def test_nothing_is_read_for_those_who_left(site: KubernetesSite) -> None:
    """What nobody follows any more is not watched; the rest goes on as if nothing had been."""
    first, second = Names(), Names()
    async with reading(site) as watch:
        with watch.follow([SERVICES], first, first.tell):
            with watch.follow([SERVICES, EXPORTS], second, second.tell):
                await until(lambda: site.server.watches.count == 2)
            await until(lambda: site.server.watches.count == 1)
            before = site.lists("services")
            site.remove("service")
            await until(lambda: first.of == {"Service": set()})

    assert site.lists("services") == before
    assert second.of["Service"] == {"echo"}


async def test_whoever_comes_back_does_not_go_by_what_was(site: KubernetesSite) -> None:
    """What it followed before is not current until it was listed again."""
    names = Names()
    async with reading(site) as watch:
        with watch.follow([SERVICES], names, names.tell):
            await until(lambda: names.of == {"Service": {"echo"}})
        site.remove("service")
        with watch.follow([SERVICES], names, names.tell):
            assert names.unreadable == {"Service"}
            await until(lambda: not names.unreadable)

    assert names.of == {"Service": set()}


async def test_trouble_is_told_to_everybody(site: KubernetesSite) -> None:
    """And that it is over."""
    first, second = Names(), Names()
    async with reading(site) as watch:
        with watch.follow([SERVICES], first, first.tell), watch.follow([SERVICES], second, second.tell):
            await until(lambda: first.of == second.of == {"Service": {"echo"}})
            await site.server.vanish()
            await until(lambda: first.unreadable == second.unreadable == {"Service"})
            await site.server.come_back()
            await until(lambda: first.unreadable == second.unreadable == set())


async def test_a_fault_of_the_program_itself_is_raised(site: KubernetesSite) -> None:
    """Where it runs: what is no longer watched must not go unnoticed."""
    names = Names()
    site.server.fail(times=1_000_000, verbs=["list"], plural="services")
    broken = replace(QUICK, first_retry_seconds="no number")  # type: ignore[arg-type]
    watch = ClusterWatch(partial(open_client, KubeAccess(site.kubeconfig)), broken)
    with watch.follow([SERVICES], names, names.tell), pytest.raises(TypeError):
        await watch.run()
