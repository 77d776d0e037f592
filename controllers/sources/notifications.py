"""What the operating system tells of a directory: inotify's events, as advice on which files to look at.

Edge, of Linux only, and the one importer of asyncinotify. It translates, and keeps its watches; *when* to look is
``directory_watch``'s, and which directories there are is ``directory``'s.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from enum import Enum, auto
from itertools import islice
from typing import Final

from asyncinotify import Event, Inotify, Mask, Watch

from controllers.sources.directory import is_manifest

_CONFIG_MAP_LINK: Final = "..data"

# Not MODIFY: what is being written is looked at when its writer closes it, whole.
_WATCHED: Final = (
    Mask.CLOSE_WRITE
    | Mask.CREATE
    | Mask.DELETE
    | Mask.MOVED_FROM
    | Mask.MOVED_TO
    | Mask.DELETE_SELF
    | Mask.MOVE_SELF
    | Mask.ONLYDIR
)
# Plain numbers: operations on flags cost a microsecond each, and a checkout of a branch brings thousands of events.
_ARRIVED: Final = int(Mask.CREATE | Mask.MOVED_TO)
_CLOSED: Final = int(Mask.CLOSE_WRITE)
_IGNORED: Final = int(Mask.IGNORED)
_IS_DIRECTORY: Final = int(Mask.ISDIR)
_LEFT: Final = int(Mask.DELETE | Mask.MOVED_FROM)
_MOVED_FROM: Final = int(Mask.MOVED_FROM)
_MOVED_TO: Final = int(Mask.MOVED_TO)
_OVERFLOW: Final = int(Mask.Q_OVERFLOW)
_SELF: Final = int(Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.UNMOUNT)

_EVENTS_AT_ONCE: Final = 512
"""Taken from the queue before others get the event loop: some 10 ms."""
_EVENTS_PER_READ: Final = 64


class Advice(Enum):
    """What an event says of a file."""

    LOOK = auto()
    """Look at it: it is whole, or gone with its new place known."""
    LOOK_LATER = auto()
    """It is gone, perhaps to come back at once: many editors move a file aside before they write it anew."""
    WAIT = auto()
    """It is being written; its writer will close it."""
    LOOK_EVERYWHERE = auto()
    """More changed than can be said by names of files."""


class Notifications:
    """The watches of one site's directories, and the events that they gave."""

    def __init__(self, directory: str, excluded: Collection[str]) -> None:
        """Watch nothing yet; names are absolute. Raises OSError where the limit of inotify's instances is reached."""
        self._directory = directory
        self._excluded = excluded
        # Reading would block: the library's flag for that is another one by mistake, so it has to ask first.
        self._inotify = Inotify(cache_size=_EVENTS_PER_READ, sync_timeout=0)
        self._watched: dict[int, tuple[str, Watch]] = {}
        """Name (relative to the site, empty for its top) and watch, by the watch's descriptor."""
        self._more = False

    def watches_anything(self) -> bool:
        return bool(self._watched)

    def watch(self, name: str) -> None:
        """Watch a directory, or learn its new name; raises OSError where the limit of watches is reached.

        A directory that isn't there, or isn't ours to read, is left to the clock.
        """
        try:
            watch = self._inotify.add_watch(os.path.join(self._directory, name), _WATCHED)  # noqa: PTH118
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return
        self._watched[watch.wd] = (name, watch)

    def forget_all_but(self, names: Collection[str]) -> None:
        """Watch these directories only: others were moved away, or are excluded where they are now."""
        for descriptor, (name, watch) in list(self._watched.items()):
            if name not in names:
                del self._watched[descriptor]
                with suppress(OSError):  # it ended with its directory
                    self._inotify.rm_watch(watch)

    def close(self) -> None:
        self._inotify.close()

    async def wait(self) -> None:
        """Return when there is something to take; other tasks get their turn in any case."""
        if self._more:
            await asyncio.sleep(0)
            return
        # The library's own way to wait loses the events that come in the moment of a cancellation.
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._inotify.fd, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._inotify.fd)

    def take(self) -> Iterator[tuple[str, Advice]]:
        """What was told since, in order, up to a bound; with LOOK_EVERYWHERE the name means nothing."""
        moved: dict[int, str] = {}
        taken = 0
        for event in islice(self._inotify, _EVENTS_AT_ONCE):
            taken += 1
            yield from self._read(event, moved)
        self._more = taken == _EVENTS_AT_ONCE

    def _read(self, event: Event, moved: dict[int, str]) -> Iterator[tuple[str, Advice]]:
        bits = int(event.mask)
        if bits & _OVERFLOW:
            yield "", Advice.LOOK_EVERYWHERE
        if event.watch is None or event.watch.wd not in self._watched:
            return
        directory, _ = self._watched[event.watch.wd]
        if bits & _IGNORED:
            del self._watched[event.watch.wd]
        elif bits & _SELF:
            yield "", Advice.LOOK_EVERYWHERE
        elif event.name is not None:
            name = f"{directory}/{event.name}" if directory else str(event.name)
            yield from self._read_entry(name, event, moved)

    def _read_entry(self, name: str, event: Event, moved: dict[int, str]) -> Iterator[tuple[str, Advice]]:
        bits = int(event.mask)
        path = f"{self._directory}/{name}"
        bare = name.rpartition("/")[2]
        if bare == _CONFIG_MAP_LINK or (bits & _IS_DIRECTORY and not bare.startswith(".")):
            if path not in self._excluded:
                yield "", Advice.LOOK_EVERYWHERE
            return
        if bare.startswith("."):
            return
        is_link = bool(bits & _ARRIVED) and _is_link(path)
        if (is_link and os.path.isdir(path)) or (bits & _LEFT and self._is_watched(name)):  # noqa: PTH112
            yield "", Advice.LOOK_EVERYWHERE
        if not is_manifest(name):
            return
        if bits & _MOVED_FROM:
            moved[event.cookie] = name
        if bits & _MOVED_TO and event.cookie in moved:
            yield moved[event.cookie], Advice.LOOK
        if bits & _LEFT:
            yield name, Advice.LOOK_LATER
        elif bits & (_CLOSED | _MOVED_TO) or is_link:
            yield name, Advice.LOOK
        else:
            yield name, Advice.WAIT

    def _is_watched(self, name: str) -> bool:
        """Whether the name was a directory's: of a link to one, no event says so."""
        return any(name == watched for watched, _ in self._watched.values())


def _is_link(path: str) -> bool:
    """Whether the name was given to something that is whole already, in either way of linking."""
    try:
        info = os.lstat(path)
    except OSError:  # gone again, of which another event tells
        return False
    return stat.S_ISLNK(info.st_mode) or info.st_nlink > 1
