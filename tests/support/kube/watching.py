"""Watches: what each is to be told, in order, with the faults that a test wants in between."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from support.kube.faults import Faults
from support.kube.kinds import ResourceType
from support.kube.objects import GroupResource, Json
from support.kube.refusals import Refusal, expired, too_large_version
from support.kube.registry import served
from support.kube.selectors import Selector
from support.kube.store import Change, Compacted, Store

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
BOOKMARK_SECONDS = 60.0
Send = Callable[[Json], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """What a client wants to be told."""

    kind: ResourceType
    selector: Selector
    since: int | None = None
    """Events after this revision; None, as 0, begins with what there is."""
    bookmarks: bool = False
    initial_events: bool = False
    """Begin with what there is, and say with a bookmark where that ends."""
    seconds: float | None = None


@dataclass(eq=False, slots=True)
class OpenWatch:
    """One watch under way."""

    resource: GroupResource
    user: str
    abort: Callable[[], None]
    pending: deque[Change] = field(default_factory=deque)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False
    bookmark: bool = False


class Watches:
    """The watches of one server."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store = store
        self._faults = faults
        self._open: set[OpenWatch] = set()
        store.listeners.append(self._heard)

    @property
    def count(self) -> int:
        return len(self._open)

    def resources(self) -> list[GroupResource]:
        """The resources that are being watched, each as often as it is, sorted."""
        return sorted(watch.resource for watch in self._open)

    def end(self, resource: GroupResource | None = None, *, user: str | None = None) -> None:
        """Close watches as a server does that is done with them: all, those of a resource, those of a user."""
        for watch in self._chosen(resource, user):
            watch.ended = True
            watch.wake.set()

    def drop(self, resource: GroupResource | None = None) -> None:
        """Cut the connections of watches, in the middle of an answer."""
        for watch in self._chosen(resource, None):
            watch.abort()

    def bookmark(self) -> None:
        """Send a bookmark now to everyone who asked for bookmarks."""
        for watch in self._open:
            watch.bookmark = True
            watch.wake.set()

    def _chosen(self, resource: GroupResource | None, user: str | None) -> list[OpenWatch]:
        return [
            watch
            for watch in self._open
            if (resource is None or watch.resource == resource) and (user is None or watch.user == user)
        ]

    def _heard(self, resource: GroupResource, change: Change) -> None:
        for watch in self._open:
            if watch.resource == resource:
                watch.pending.append(change)
                watch.wake.set()

    def check(self, request: WatchRequest) -> None:
        """Raises what is answered in place of a watch: a 504 for a future revision, a 410 where a test says so."""
        if request.since is not None and request.since > self._store.revision:
            raise too_large_version(request.since, self._store.revision)
        if self._faults.gone_as_status:
            self._history(request)

    async def run(self, request: WatchRequest, user: str, abort: Callable[[], None], send: Send) -> None:
        """Tell all that is wanted until the time is over, the watch is ended, or the client has gone."""
        kind, loop = request.kind, asyncio.get_running_loop()
        watch = OpenWatch(kind.resource, user, abort)
        ends = None if request.seconds is None else loop.time() + request.seconds
        next_bookmark = loop.time() + BOOKMARK_SECONDS
        self._open.add(watch)
        try:
            try:
                opening = list(self._opening(request))
            except Compacted:
                await send({"type": "ERROR", "object": too_old(request.since, self._store).body})
                return
            revision = self._store.revision
            for event in opening:
                await self._tell(event, send)
            if request.initial_events:
                await send(bookmark(kind, revision, initial=True))
            while True:
                await self._tell_pending(request, watch, send)
                if watch.ended or (ends is not None and loop.time() >= ends):
                    break
                if request.bookmarks and (watch.bookmark or loop.time() >= next_bookmark):
                    watch.bookmark, next_bookmark = False, loop.time() + BOOKMARK_SECONDS
                    await send(bookmark(kind, self._store.revision))
                watch.wake.clear()
                if watch.pending or watch.ended:
                    continue
                due = min(next_bookmark, ends or next_bookmark)
                try:
                    async with asyncio.timeout_at(due):
                        await watch.wake.wait()
                except TimeoutError:
                    continue
            if request.bookmarks and not watch.ended:
                await send(bookmark(kind, self._store.revision))
        finally:
            self._open.discard(watch)

    def _opening(self, request: WatchRequest) -> Iterator[Json]:
        if request.since in {None, 0} or request.initial_events:
            for _, body in sorted(self._store.objects(request.kind.resource).items()):
                if request.selector.matches(body):
                    yield {"type": "ADDED", "object": served(request.kind, body)}
            return
        for change in self._history(request):
            event = event_of(request, change)
            if event is not None:
                yield event

    def _history(self, request: WatchRequest) -> list[Change]:
        if not request.since or request.initial_events:
            return []
        try:
            return self._store.changes_after(request.kind.resource, request.since)
        except Compacted:
            if self._faults.gone_as_status:
                raise too_old(request.since, self._store) from None
            raise

    async def _tell_pending(self, request: WatchRequest, watch: OpenWatch, send: Send) -> None:
        while watch.pending:
            event = event_of(request, watch.pending.popleft())
            if event is not None:
                await self._tell(event, send)

    async def _tell(self, event: Json, send: Send) -> None:
        if self._faults.watch_delay_seconds:
            await asyncio.sleep(self._faults.watch_delay_seconds)
        for _ in range(2 if self._faults.duplicate_events else 1):
            await send(event)


def too_old(since: int | None, store: Store) -> Refusal:
    """The 410 of a watch from before the last compaction."""
    return expired(f"too old resource version: {since} ({store.revision})")


def event_of(request: WatchRequest, change: Change) -> Json | None:
    """What a change means to a watch: an object may come into its selection, or leave it."""
    selects = request.selector.matches
    was = change.old is not None and selects(change.old)
    now = change.kind != "DELETED" and selects(change.new)
    if not was and not now:
        return None
    name = "MODIFIED" if was and now else "ADDED" if now else "DELETED"
    body = change.new
    if name == "DELETED" and change.old is not None:
        version = {"resourceVersion": change.new["metadata"]["resourceVersion"]}
        body = {**change.old, "metadata": {**change.old["metadata"], **version}}
    return {"type": name, "object": served(request.kind, body)}


def bookmark(kind: ResourceType, revision: int, *, initial: bool = False) -> Json:
    """An event that says no more than how far the watch has come."""
    notes = {"annotations": {INITIAL_EVENTS_END: "true"}} if initial else {}
    metadata = {"resourceVersion": str(revision), "creationTimestamp": None, **notes}
    return {"type": "BOOKMARK", "object": {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata}}
