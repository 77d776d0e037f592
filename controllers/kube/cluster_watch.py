"""ClusterWatch: each resource of the API server is read once, however many look at it.

Edge: a ``ResourceWatch`` for each resource that anybody follows, and a fan that hands on what it is told.
EndpointSlices are two resources here, as their selectors say: those of this cluster's Services for the source, ours for
the writer. None is both, so none comes twice, and neither side gets what it would only throw away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Final

from controllers.mcs.objects import Document
from controllers.sources.resource_watch import Api, Objects, Patience, ResourceWatch
from controllers.sources.watched_objects import Resource

ABOUT_TO_BE_LISTED: Final = "they are about to be listed"
"""Why a resource can't be read that somebody has just begun to follow."""


class Fan:
    """Tells several what one watch tells."""

    def __init__(self) -> None:
        self.followers: list[tuple[Objects, Callable[[], None]]] = []

    def replace(self, resource: Resource, items: Iterable[Document]) -> None:
        """See Objects; likewise the others."""
        again = items if isinstance(items, Collection) else tuple(items)
        for objects, _ in self.followers:
            objects.replace(resource, again)

    def put(self, resource: Resource, item: Document) -> None:
        for objects, _ in self.followers:
            objects.put(resource, item)

    def remove(self, resource: Resource, item: Document) -> None:
        for objects, _ in self.followers:
            objects.remove(resource, item)

    def mark_unreadable(self, resource: Resource, cause: str) -> None:
        for objects, _ in self.followers:
            objects.mark_unreadable(resource, cause)

    def mark_readable(self, resource: Resource) -> None:
        for objects, _ in self.followers:
            objects.mark_readable(resource)

    def news(self) -> None:
        """Something was taken in."""
        for _, news in self.followers:
            news()


class ClusterWatch:
    """What is read of one cluster, in whose name ``opened`` gives clients; nothing is read while nobody runs it."""

    def __init__(
        self, opened: Callable[[], AbstractAsyncContextManager[Api]], patience: Patience | None = None
    ) -> None:
        self._opened = opened
        self._patience = patience or Patience()
        self._fans: dict[Resource, Fan] = {}
        self._watches: dict[Resource, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        """Of the watches, and of those that are about to end."""
        self._broken: asyncio.Future[None] | None = None
        """Not None while it runs; gets what ended a watch, which is a bug."""

    @contextmanager
    def follow(self, resources: Iterable[Resource], objects: Objects, news: Callable[[], None]) -> Iterator[None]:
        """For the time of a block, tell ``objects`` what these resources consist of, and call ``news`` after that.

        Whoever comes late makes its resources be listed anew, and the others hear that too.
        """
        follower, followed = (objects, news), tuple(resources)
        for resource in followed:
            self._fans.setdefault(resource, Fan()).followers.append(follower)
            # Whoever followed before, and comes back, must not take what it knew then for what is.
            objects.mark_unreadable(resource, ABOUT_TO_BE_LISTED)
            self._start_over(resource)
        try:
            yield
        finally:
            for resource in followed:
                self._fans[resource].followers.remove(follower)
                if not self._fans[resource].followers:
                    del self._fans[resource]
                    self._end(resource)

    async def run(self) -> None:
        """Read until cancelled."""
        self._broken = asyncio.get_running_loop().create_future()
        try:
            for resource in self._fans:
                self._start_over(resource)
            await self._broken
        finally:
            self._broken = None
            self._watches.clear()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start_over(self, resource: Resource) -> None:
        self._end(resource)
        if self._broken is None:
            return
        fan = self._fans[resource]
        watch = ResourceWatch(self._opened, resource, fan, fan.news, self._patience)
        # No task group: followers come and go while it runs, and what ends a watch is raised as it is.
        task = asyncio.get_running_loop().create_task(watch.run(), name=f"watch of {resource.plural}")
        task.add_done_callback(self._ended)
        self._watches[resource] = task
        self._tasks.add(task)

    def _end(self, resource: Resource) -> None:
        if (task := self._watches.pop(resource, None)) is not None:
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and self._broken is not None and not self._broken.done():
            self._broken.set_exception(error)
