"""The file source: a directory of manifests as a Source.

Drives the three parts that do the work: ``directory_watch`` says when to look and where, ``directory`` what is there,
``manifest_store`` what it means. Looking and parsing happen in a thread, so that 5,000 services read at the start don't
hold up the event loop; only a few small files are looked at on the loop itself, since changing threads takes longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection
from pathlib import Path
from typing import Final

import structlog

from controllers.sources.base import SourceUpdate
from controllers.sources.directory import DirectoryReader
from controllers.sources.directory_watch import DirectoryWatch, Notice
from controllers.sources.manifest_store import ManifestStore
from federation.model.configuration import ClusterSettings
from federation.model.errors import ConfigError

_SHORT_FILES: Final = 8
_SHORT_BYTES: Final = 8 * 1024
"""Some 3 ms, were all of it to be parsed."""

_log = structlog.get_logger()


class FileSource:
    """Source of a file-backed cluster: the manifests below its directory, and every edit of them."""

    def __init__(self, directory: Path, settings: ClusterSettings) -> None:
        self._directory = directory
        self._excluded = _excluded(settings)

    async def updates(self) -> AsyncGenerator[SourceUpdate, None]:
        """See Source; a directory that doesn't exist or can't be listed is waited for."""
        inspection = _Inspection(self._directory, self._excluded)
        while True:
            watched = _identity(self._directory)
            with DirectoryWatch(self._directory, excluded=self._excluded) as watch:
                notice = Notice(everything=True)
                # A directory put in the place of the one that is watched (a link swapped, a checkout renewed) needs a
                # watch of its own.
                while watched == _identity(self._directory):
                    if inspection.is_short(notice):
                        update = inspection.look(notice, watch)
                    else:
                        update = await asyncio.to_thread(inspection.look, notice, watch)
                    if update is not None:
                        yield update
                    notice = await watch.wait()


def load_directory(directory: Path, settings: ClusterSettings) -> SourceUpdate:
    """Read the directory once, for commands that look at files offline; raises ConfigError where it can't be listed."""
    reading = DirectoryReader(directory, excluded=_excluded(settings)).read()
    if (cause := reading.unreadable_directories.get(".")) is not None:
        raise ConfigError(f"directory {directory} can't be read: {cause}")
    return ManifestStore().update(reading)


class _Inspection:
    """Looks at the directory and keeps what it saw last; called from one thread at a time."""

    def __init__(self, directory: Path, excluded: Collection[Path]) -> None:
        self._directory = directory
        self._reader = DirectoryReader(directory, excluded=excluded)
        self._store = ManifestStore()
        self._last: SourceUpdate | None = None
        self._reported = ""

    def is_short(self, notice: Notice) -> bool:
        """Whether looking is done sooner than a thread has taken it over, or almost."""
        return (
            not notice.everything
            and len(notice.files) <= _SHORT_FILES
            and self._reader.size_of(notice.files) <= _SHORT_BYTES
        )

    def look(self, notice: Notice, watch: DirectoryWatch) -> SourceUpdate | None:
        """The update, if there is news; nothing before the directory was listed for the first time."""
        if notice.everything:
            with watch.round() as enter:
                reading = self._reader.read(notice.files, enter)
        else:
            reading = self._reader.read_files(notice.files)
        if self._last is None and (cause := reading.unreadable_directories.get(".")) is not None:
            if cause != self._reported:
                _log.warning("waiting for the source directory", directory=str(self._directory), reason=cause)
                self._reported = cause
            return None
        last, update = self._last, self._store.update(reading)
        if last is not None and update.state is last.state and update.problems == last.problems:
            return None
        self._last = update
        return update


def _excluded(settings: ClusterSettings) -> tuple[Path, ...]:
    return (settings.state_directory, settings.tokens_directory, settings.authority_directory)


def _identity(directory: Path) -> tuple[int, int] | None:
    """What stays the same while the path leads to the same directory; None while it leads nowhere."""
    try:
        info = directory.stat()
    except OSError:
        return None
    return info.st_dev, info.st_ino
