"""One resource of the API server, kept current: list, watch, and what to do when either ends.

Edge: it drives the client and hands on what comes; what objects mean is ``watched_objects``'s. A watch that ends goes
on where it was; one that the server can't resume (410 Gone) starts over with a list. Nothing that fails ends it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

import msgspec
import structlog

from controllers.kube.client import KubeError, status_error
from controllers.mcs.objects import Document
from controllers.sources.watched_objects import Resource

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited, in seconds."""

    first_retry_seconds: float = 0.25
    last_retry_seconds: float = 30.0
    """What the time between attempts doubles up to."""
    list_seconds: float = 60.0
    silence_seconds: float = 100.0
    """Without a word on a watch: a server that lives sends a bookmark each minute, one that hangs does not."""
    watch_seconds: int = 290
    """After which the server is asked to end a watch, so that watches spread over its replicas."""
    page: int = 500
    """Objects in one answer of a list."""


class Api(Protocol):
    """What is needed of a client of the API server; see ``controllers.kube.client.KubeClient``."""

    async def get(self, path: str, query: Mapping[str, str], *, timeout_seconds: float) -> Mapping[str, object]: ...

    def watch(
        self, path: str, query: Mapping[str, str], *, silence_seconds: float
    ) -> AbstractAsyncContextManager[AsyncIterator[Mapping[str, object]]]: ...


class Objects(Protocol):
    """Who is told what a resource consists of; see ``controllers.sources.watched_objects.WatchedObjects``."""

    def replace(self, resource: Resource, items: Iterable[Document]) -> None: ...

    def put(self, resource: Resource, item: Document) -> None: ...

    def remove(self, resource: Resource, item: Document) -> None: ...

    def mark_unreadable(self, resource: Resource, cause: str) -> None: ...

    def mark_readable(self, resource: Resource) -> None: ...


class Packed(Collection[Document]):
    """Objects as JSON, unpacked one after the other as often as they are gone through: thousands of them, as Python has
    them, take ten times the room."""

    def __init__(self, packed: Sequence[bytes]) -> None:
        self._packed = packed

    def __len__(self) -> int:
        return len(self._packed)

    def __iter__(self) -> Iterator[Document]:
        return (msgspec.json.decode(one, type=dict[str, object]) for one in self._packed)

    def __contains__(self, item: object) -> bool:
        return any(one == item for one in self)


class ResourceWatch:
    """Keeps one resource of ``objects`` current; ``news`` is called when something was taken in.

    Each client that ``opened`` gives is used until something fails.
    """

    def __init__(
        self,
        opened: Callable[[], AbstractAsyncContextManager[Api]],
        resource: Resource,
        objects: Objects,
        news: Callable[[], None],
        patience: Patience,
    ) -> None:
        self._opened = opened
        self.resource = resource
        self._objects = objects
        self._news = news
        self._patience = patience
        self._served = 0
        """Which of the resource's versions is read."""
        self._version = ""
        """Where the next watch begins; empty: a list is needed."""
        self._failures = 0
        self._reported = ""
        self._listed = False
        """Whether it ever was: what is not served any more is not gone, an API server that starts serves less."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                async with self._opened() as client:
                    while True:
                        await self._follow(client)
            except KubeError as error:
                await self._wait(error)

    async def _follow(self, client: Api) -> None:
        if not self._version:
            self._version = await self._list(client)
        try:
            await self._watch(client)
        except KubeError as error:
            if not error.expired:
                raise
            self._version = ""
        # A server that ends every watch at once must not be asked without a pause.
        await self._pause(self._patience.first_retry_seconds)

    async def _list(self, client: Api) -> str:
        """Take in all objects, once the last page is here; returns the version that they are of."""
        packed: list[bytes] = []
        query = {"limit": str(self._patience.page)}
        while True:
            page = await client.get(
                self._path, {**query, **self._selection}, timeout_seconds=self._patience.list_seconds
            )
            found, metadata = page.get("items"), page.get("metadata")
            if not isinstance(found, list) or not isinstance(metadata, Mapping):
                raise KubeError(f"the API server's list of {self.resource.plural} is none")
            packed += (msgspec.json.encode(self._trimmed(item)) for item in found if isinstance(item, Mapping))
            if not (rest := metadata.get("continue")):
                break
            query["continue"] = str(rest)
        self._objects.replace(self.resource, Packed(packed))
        self._listed = True
        self._read()
        return str(metadata.get("resourceVersion", ""))

    async def _watch(self, client: Api) -> None:
        """Take in events until the server ends the watch."""
        query = {
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(self._patience.watch_seconds),
            **self._selection,
        }
        async with client.watch(self._path, query, silence_seconds=self._patience.silence_seconds) as events:
            self._read()
            async for event in events:
                self._take(event)

    def _take(self, event: Mapping[str, object]) -> None:
        told = event.get("object")
        if not isinstance(told, Mapping):
            raise KubeError(f"the API server's event of {self.resource.plural} has no object")
        item = self._trimmed(told)
        match event.get("type"):
            case "ADDED" | "MODIFIED":
                self._objects.put(self.resource, item)
            case "DELETED":
                self._objects.remove(self.resource, item)
            case "ERROR":
                raise status_error(told)
            case _:
                pass  # a bookmark, of which only the version counts; unknown events are to be ignored
        metadata = item.get("metadata")
        if isinstance(metadata, Mapping) and (version := metadata.get("resourceVersion")):
            self._version = str(version)
        self._read()

    def _trimmed(self, item: Document) -> Document:
        return item if self.resource.trim is None else self.resource.trim(item)

    def _read(self) -> None:
        """The API server answers as it should."""
        if self._failures:
            _log.info("resource is read again", resource=self.resource.plural)
        self._failures, self._reported = 0, ""
        self._objects.mark_readable(self.resource)
        self._news()

    async def _wait(self, error: KubeError) -> None:
        """Tell of a failure, and wait before the next attempt, longer each time."""
        if error.not_served and self.resource.optional and not self._listed:
            self._objects.replace(self.resource, ())
        if error.not_served:
            self._version = ""
            self._served = (self._served + 1) % len(self.resource.api_versions)
        self._failures += 1
        cause = f"the API server does not serve {self.resource.plural}" if error.not_served else str(error)
        if cause != self._reported:
            _log.warning("resource can't be read", resource=self.resource.plural, reason=cause, hint=error.hint)
            self._reported = cause
        self._objects.mark_unreadable(self.resource, cause)
        self._news()
        longer = self._patience.first_retry_seconds * 2 ** min(self._failures - 1, 20)
        await self._pause(min(longer, self._patience.last_retry_seconds))

    async def _pause(self, longest_seconds: float) -> None:
        # Not all at the same instant: an API server that comes back has many who wait for it.
        await asyncio.sleep(longest_seconds * random.uniform(0.5, 1.0))  # noqa: S311

    @property
    def _path(self) -> str:
        return self.resource.path(self.resource.api_versions[self._served])

    @property
    def _selection(self) -> dict[str, str]:
        selectors = {"labelSelector": self.resource.label_selector, "fieldSelector": self.resource.field_selector}
        return {name: selector for name, selector in selectors.items() if selector}
