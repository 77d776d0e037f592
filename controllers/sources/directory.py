"""The directory of a file-backed cluster, read: which files there are, and what those that may have changed contain.

Edge: I/O only, what the content means is ``manifest_store``'s. Blocking, so it runs in a thread. Files that vanish
between listing and reading are as good as never there; what can't be read is named as such and never taken for absent.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from controllers.sources.manifest_store import Reading

MAX_FILE_BYTES: Final = 32 * 1024 * 1024
"""Larger files are refused unread: 5,000 services fit ten times over, and a log given the wrong name doesn't."""
SUFFIXES: Final = (".yaml", ".yml", ".json")
SETTINGS_FILE: Final = "cluster.yaml"

_Stamp = tuple[int, int, int, int]


def is_manifest(name: str) -> bool:
    """Whether a file of this name, relative to the site, is read at all; of directories on its way nothing is asked."""
    bare = name.rpartition("/")[2]
    return (
        bare.endswith(SUFFIXES)
        and not bare.startswith(".")
        and not (bare.startswith("sidecar") and bare.endswith(".yaml"))
        and name != SETTINGS_FILE
    )


def absolute_name(path: Path) -> str:
    """The absolute spelling of a path, links left as they are: ``state`` is what the settings call it."""
    return os.path.normpath(path.absolute())


@dataclass(frozen=True, slots=True)
class _Seen:
    stamp: _Stamp
    digest: bytes
    settled: bool
    """Whether two readings under this stamp gave the same content. File systems count time in ticks of milliseconds: a
    file written twice within one tick, with equal size, has one stamp and two contents."""


@dataclass(slots=True)
class _Listing:
    """What one walk found."""

    stamps: dict[str, _Stamp] = field(default_factory=dict)
    unreadable_files: dict[str, str] = field(default_factory=dict)
    unreadable_directories: dict[str, str] = field(default_factory=dict)


def _enter_unseen(_name: str) -> None:
    """For readings that nobody watches."""


class DirectoryReader:
    """Reads one directory again and again, and only what may have changed since."""

    def __init__(self, directory: Path, *, excluded: Collection[Path]) -> None:
        self._directory = directory
        self._excluded = frozenset(absolute_name(path) for path in excluded)
        self._seen: dict[str, _Seen] = {}

    def read(self, hinted: Collection[str] = (), enter: Callable[[str], None] = _enter_unseen) -> Reading:
        """Look at the whole directory; ``hinted`` are files to read whatever their stamp says.

        ``enter`` is called with each directory (relative, empty for the top) before it is listed. Never raises for what
        the file system does; that the directory itself can't be listed is said under ``.``.
        """
        listing = self._list(enter)
        # Of thousands of files all but a few are as they were: this loop is what the repair costs.
        unread = [
            name
            for name, stamp in listing.stamps.items()
            if (seen := self._seen.get(name)) is None or seen.stamp != stamp or not seen.settled or name in hinted
        ]
        texts = self._read(unread, listing)
        present = frozenset(listing.stamps).union(listing.unreadable_files)
        reading = Reading(texts, present, listing.unreadable_files, listing.unreadable_directories)
        self._forget(name for name in self._seen.keys() - present if reading.is_absent(name))
        return reading

    def read_files(self, names: Collection[str]) -> Reading:
        """Look at these files only, whatever their stamps say; of all others nothing is known."""
        listing = _Listing()
        for name in filter(is_manifest, names):
            self._stat(name, listing)
        texts = self._read(list(listing.stamps), listing)
        present = frozenset(listing.stamps).union(listing.unreadable_files)
        looked_at = frozenset(names)
        if not looked_at <= present and not self._directory.is_dir():
            looked_at = present  # what went with the whole directory is unknown, not absent
        self._forget(looked_at - present)
        return Reading(texts, present, listing.unreadable_files, looked_at=looked_at)

    def size_of(self, names: Collection[str]) -> int:
        """How much there is to read in these files at the moment, in bytes."""
        size = 0
        for name in names:
            with suppress(OSError):
                size += (self._directory / name).stat().st_size
        return size

    def _read(self, names: list[str], listing: _Listing) -> dict[str, bytes]:
        """The content of those of the listed files that have another than before; corrects the listing."""
        texts: dict[str, bytes] = {}
        for name in sorted(names):
            seen = self._seen.get(name)
            try:
                content = _read_file(self._directory / name)
            except (FileNotFoundError, NotADirectoryError):
                del listing.stamps[name]
                continue
            except OSError as error:
                listing.unreadable_files[name] = _cause(error)
                continue
            digest = hashlib.blake2b(content, digest_size=16).digest()
            same = seen is not None and seen.digest == digest
            self._seen[name] = _Seen(listing.stamps[name], digest, settled=same)
            if not same:
                texts[name] = content
        return texts

    def _forget(self, names: Iterable[str]) -> None:
        # What the reading's taker forgets must be told again when it comes back, however equal.
        for name in names:
            self._seen.pop(name, None)

    def _list(self, enter: Callable[[str], None]) -> _Listing:
        listing = _Listing()
        visited: set[tuple[int, int]] = set()
        directories = [""]
        while directories:
            name = directories.pop()
            try:
                info = (self._directory / name).stat()
                # A directory that links lead to twice is read once, and a circle of links ends.
                if (info.st_dev, info.st_ino) in visited:
                    continue
                visited.add((info.st_dev, info.st_ino))
                enter(name)
                found = self._scan(name, listing)
            except (FileNotFoundError, NotADirectoryError) as error:
                if not name:
                    listing.unreadable_directories["."] = _cause(error)
                continue
            except OSError as error:
                listing.unreadable_directories[name or "."] = _cause(error)
                continue
            directories.extend(sorted(found, reverse=True))
        return listing

    def _scan(self, directory: str, listing: _Listing) -> list[str]:
        """List one directory; returns those inside."""
        prefix = f"{directory}/" if directory else ""
        directories: list[str] = []
        with os.scandir(self._directory / directory) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                name = prefix + entry.name
                if _is_directory(entry):
                    if absolute_name(Path(entry.path)) not in self._excluded:
                        directories.append(name)
                elif is_manifest(name):
                    self._stat(name, listing)
        return directories

    def _stat(self, name: str, listing: _Listing) -> None:
        try:
            # Not the entry's own method, which holds up all other threads.
            info = os.stat(f"{self._directory}/{name}")  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            listing.unreadable_files[name] = _cause(error)
            return
        if stat.S_ISREG(info.st_mode):
            if info.st_size > MAX_FILE_BYTES:
                listing.unreadable_files[name] = _TOO_LARGE
            else:
                listing.stamps[name] = (info.st_mtime_ns, info.st_size, info.st_ino, info.st_dev)
        elif not stat.S_ISDIR(info.st_mode):
            listing.unreadable_files[name] = "not a regular file"


_TOO_LARGE: Final = f"larger than {MAX_FILE_BYTES // 1024**2} MiB"


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in a circle, for one
        return False


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise OSError(_TOO_LARGE)
    return content


def _cause(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
