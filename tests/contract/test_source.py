"""What every Source promises, whatever it reads from. A new implementation joins by a Site of its own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest

from controllers.sources.base import Source, SourceUpdate
from controllers.sources.files import FileSource
from federation.model.names import ServiceKey
from federation.model.state import ServiceState
from support.cluster_directory import endpoint_slice, export, next_update, service, settings_of, update_where
from support.kube.plane import REAL, STAND_IN
from support.kubernetes_site import kubernetes_site, real_site

ECHO = ServiceKey("demo", "echo")
OTHER = ServiceKey("demo", "other")


class Site(Protocol):
    """A place that holds objects, and a source over it."""

    source: Source

    @property
    def always(self) -> frozenset[str]:
        """Namespaces that are there before anything was put."""

    @property
    def present(self) -> frozenset[ServiceKey]:
        """Services that are."""

    def put(self, name: str, text: str) -> None:
        """Make the object exist as the text says; ``name`` is the test's own handle of it."""

    def remove(self, name: str) -> None: ...


class FileSite:
    always: frozenset[str] = frozenset()
    present: frozenset[ServiceKey] = frozenset()

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.source: Source = FileSource(directory, settings_of(directory))

    def put(self, name: str, text: str) -> None:
        aside = self._directory / f".{name}"
        aside.write_text(text)
        aside.rename(self._directory / f"{name}.yaml")

    def remove(self, name: str) -> None:
        (self._directory / f"{name}.yaml").unlink()


@asynccontextmanager
async def file_site(directory: Path) -> AsyncIterator[FileSite]:
    yield FileSite(directory)


@pytest.fixture(params=["files", STAND_IN, REAL])
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    opened: AbstractAsyncContextManager[Site]
    match request.param:
        case "files":
            opened = file_site(tmp_path)
        case str(param) if param == STAND_IN:
            opened = kubernetes_site(tmp_path)
        case _:
            opened = real_site(request.getfixturevalue("real_api_server"), tmp_path)
    async with opened as found:
        yield found


async def test_the_first_update_is_the_whole(site: Site) -> None:
    """It has everything there is, and names every service as changed."""
    site.put("a", service())
    site.put("b", export())
    site.put("c", service("other"))
    async with contextlib.aclosing(site.source.updates()) as updates:
        first = await next_update(updates)

    assert first.changed == {ECHO, OTHER, *site.present} == set(first.state.services)
    assert first.state.namespaces == {"demo"} | site.always
    assert first.problems == ()


async def test_an_empty_site_is_said_to_be_empty(site: Site) -> None:
    """Empty is knowledge too, and comes as an update."""
    async with contextlib.aclosing(site.source.updates()) as updates:
        first = await next_update(updates)

    assert set(first.state.services) == first.changed == site.present


async def test_a_change_names_the_services_that_differ(site: Site) -> None:
    """Only those whose value is another, and the earlier state stays as it was."""
    site.put("a", service())
    site.put("b", service("other"))
    async with contextlib.aclosing(site.source.updates()) as updates:
        first = await next_update(updates)
        site.put("a", service(port=81))
        second = await next_update(updates)

    assert second.changed == {ECHO}
    assert second.state.services[OTHER] == first.state.services[OTHER]
    assert second.state.services[ECHO] != first.state.services[ECHO]


async def test_what_is_removed_is_changed_and_gone(site: Site) -> None:
    """A service without any part left is no key of the state."""
    site.put("a", endpoint_slice(address="10.1.0.1"))
    async with contextlib.aclosing(site.source.updates()) as updates:
        await next_update(updates)
        site.remove("a")
        second = await next_update(updates)

    assert second.changed == {ECHO}
    assert set(second.state.services) == site.present


async def test_the_parts_of_a_service_come_together(site: Site) -> None:
    """Service, export and slices of one name are one state."""
    site.put("a", service())
    async with contextlib.aclosing(site.source.updates()) as updates:
        await next_update(updates)
        site.put("b", export())
        site.put("c", endpoint_slice(address="10.1.0.1"))

        def complete(update: SourceUpdate) -> bool:
            state = update.state.services.get(ECHO, ServiceState())
            return None not in {state.service, state.export} and len(state.slices) == 1

        assert complete(await update_where(updates, complete))


async def test_streams_are_independent(site: Site) -> None:
    """Each call begins with the whole, also after another was closed."""
    site.put("a", service())
    async with contextlib.aclosing(site.source.updates()) as updates:
        first = await next_update(updates)
    async with contextlib.aclosing(site.source.updates()) as updates:
        again = await next_update(updates)

    assert again == first
