"""When to look at a directory again: notifications of the operating system, and a clock that repairs what they miss.

Edge: it says *when*, and as a hint *which files*; what there is to see is ``directory``'s. Where notifications are not
to be had (limits reached, an exotic file system, no such directory), the clock alone drives, and faster.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import structlog

# Not the public ``awatch``: that opens its watch when first awaited, and what changes between the first reading and
# that moment would be missed. This one watches from its construction.
from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

from controllers.sources.directory import SUFFIXES, absolute_name

REPAIR_SECONDS: Final = 2.0
"""Between looks that nothing asked for: a network file system notifies of nothing that another host did."""
SETTLE_SECONDS: Final = 0.1
"""Between the last notification and one more look. The watch hands its changes over and forgets them in two steps; one
that falls between them is lost, and without this would be found by the repair only."""
POLL_SECONDS: Final = 0.5
"""The same where there are no notifications at all."""
DEBOUNCE_MS: Final = 20
"""Longest time for which changes in quick succession are gathered."""
STEP_MS: Final = 2
"""Quiet time after which they count as complete. Costs 0.7 % of a core; 10 ms would cost each change 15 ms."""

_CONFIG_MAP_LINK: Final = "..data"

_log = structlog.get_logger()


class DirectoryWatch:
    """A watch over one directory, from construction until closed; a context manager."""

    def __init__(self, directory: Path, *, excluded: Collection[Path]) -> None:
        self._directory = absolute_name(directory)
        self._excluded = tuple(absolute_name(path) for path in excluded)
        self._stop = threading.Event()
        self._settled = True
        self._notify: RustNotify | None = None
        try:
            self._notify = RustNotify([self._directory], False, False, 0, True, False)  # noqa: FBT003  its signature
        except FileNotFoundError:
            pass  # the clock will find it, and the watch is then opened anew
        except (OSError, WatchfilesRustInternalError) as error:
            self._poll(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    async def wait(self) -> frozenset[str]:
        """Return when it is time to look again; the names are those of files known to have been touched."""
        if self._notify is None:
            await asyncio.sleep(POLL_SECONDS)
            return frozenset()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (REPAIR_SECONDS if self._settled else SETTLE_SECONDS)
        while (remaining := deadline - loop.time()) > 0:
            try:
                touched = await self._wait_for_notification(self._notify, int(remaining * 1000) + 1)
            except (OSError, WatchfilesRustInternalError) as error:
                # A directory that appeared could not be watched as well: the limit of watches, or no permission.
                self._poll(error)
                return frozenset()
            if touched:
                self._settled = False
                deadline = min(deadline, loop.time() + SETTLE_SECONDS)
            if relevant := [path for path in touched if self._is_relevant(path)]:
                return frozenset(os.path.relpath(path, self._directory) for path in relevant)
        self._settled = True
        return frozenset()

    async def _wait_for_notification(self, notify: RustNotify, timeout_ms: int) -> list[str]:
        waiting = asyncio.get_running_loop().run_in_executor(
            None, notify.watch, DEBOUNCE_MS, STEP_MS, timeout_ms, self._stop
        )
        try:
            found = await asyncio.shield(waiting)
        except asyncio.CancelledError:
            # The thread must have left the watch before it is closed, and nobody else would end it.
            self._stop.set()
            await asyncio.wait([waiting])
            raise
        return [path for _, path in found] if isinstance(found, set) else []

    def _poll(self, error: Exception) -> None:
        _log.warning("no file notifications, polling instead", directory=self._directory, reason=str(error)[:200])
        self._close()

    def _close(self) -> None:
        if self._notify is not None:
            self._notify.close()
            self._notify = None

    def _is_relevant(self, path: str) -> bool:
        """Whether the change may concern a manifest; our own writing to the state directory must not wake us."""
        if any(path == excluded or path.startswith(f"{excluded}{os.sep}") for excluded in self._excluded):
            return False
        parts = Path(os.path.relpath(path, self._directory)).parts
        if parts[-1:] == (_CONFIG_MAP_LINK,):
            return True
        if any(part.startswith(".") for part in parts):
            return False
        # Without a suffix it may be a directory, moved here with all it has.
        return Path(path).suffix in {"", *SUFFIXES}
