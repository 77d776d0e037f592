"""When to look at a directory again: notifications of the operating system, and a clock that repairs what they miss.

Edge: it says *when*, and *at which files*; what there is to see is ``directory``'s. Where notifications are not to be
had (limits reached, another system than Linux, no such directory), the clock alone drives, and faster.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import structlog

from controllers.sources.directory import absolute_name

if sys.platform == "linux":
    from controllers.sources.notifications import Advice, Notifications

REPAIR_SECONDS: Final = 4.0
"""Longest time between looks at the whole: a network file system notifies of nothing that another host did, and a
writer may keep its file open."""
POLL_SECONDS: Final = 0.5
"""The same where there are no notifications at all."""
GONE_SECONDS: Final = 0.05
"""For which a file has to be gone before that is news: editors move it aside for a moment, ``git`` deletes it first."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Notice:
    """What to look at."""

    files: frozenset[str] = frozenset()
    """Relative to the site; to be read whatever their stamps say."""
    everything: bool = False
    """Whether these files are not all."""


class DirectoryWatch:
    """A watch over one directory, from its first round until closed; a context manager."""

    def __init__(self, directory: Path, *, excluded: Collection[Path]) -> None:
        self._directory = absolute_name(directory)
        self._gone: dict[str, float] = {}
        """When to look at files that are gone."""
        self._whole_at: float | None = None
        """When to look at everything; None until that is known."""
        # A round goes on in its thread when the task that waits for it is cancelled and closes the watch.
        self._lock = threading.Lock()
        self._notifications: Notifications | None = None
        if sys.platform == "linux":
            try:
                self._notifications = Notifications(
                    self._directory, frozenset(absolute_name(path) for path in excluded)
                )
            except OSError as error:
                self._report(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._close()

    @contextmanager
    def round(self) -> Iterator[Callable[[str], None]]:
        """While everything is looked at: what it gives is called with each directory before that is listed.

        So nothing falls between listing and watching, and watches that are missing or wrong are mended like all else.
        May run in a thread, but not beside ``wait``.
        """
        entered: set[str] = set()

        def enter(name: str) -> None:
            entered.add(name)
            with self._lock:
                self._watch(name)

        yield enter
        with self._lock:
            if self._notifications is not None:
                self._notifications.forget_all_but(entered)

    async def wait(self) -> Notice:
        """Return when it is time to look again; other tasks get their turn in any case."""
        now = asyncio.get_running_loop().time
        notifications = self._notifications
        if notifications is not None and not notifications.watches_anything():
            notifications = None
        if self._whole_at is None:
            self._whole_at = now() + (POLL_SECONDS if notifications is None else REPAIR_SECONDS)
        notice = Notice()
        while notice == Notice():
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min([self._whole_at, *self._gone.values()])):
                    await (asyncio.Event() if notifications is None else notifications).wait()
            told = () if notifications is None else notifications.take()
            notice = self._heed(told, now(), self._whole_at)
        if notice.everything:
            self._gone.clear()
            self._whole_at = None
        return notice

    def _heed(self, told: Iterable[tuple[str, Advice]], now: float, whole_at: float) -> Notice:
        files: set[str] = set()
        everything = now >= whole_at
        for name, advice in told:
            match advice:
                case Advice.LOOK:
                    files.add(name)
                    self._gone.pop(name, None)
                case Advice.LOOK_LATER:
                    files.discard(name)
                    self._gone.setdefault(name, now + GONE_SECONDS)
                case Advice.WAIT:
                    self._gone.pop(name, None)
                case Advice.LOOK_EVERYWHERE:
                    everything = True
        for name in [name for name, due in self._gone.items() if due <= now]:
            files.add(name)
            del self._gone[name]
        return Notice(frozenset(files), everything)

    def _watch(self, name: str) -> None:
        if self._notifications is None:
            return
        try:
            self._notifications.watch(name)
        except OSError as error:
            self._report(error)
            self._close()

    def _report(self, error: OSError) -> None:
        _log.warning("no file notifications, polling instead", directory=self._directory, reason=str(error)[:200])

    def _close(self) -> None:
        if self._notifications is not None:
            self._notifications.close()
            self._notifications = None
