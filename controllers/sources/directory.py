"""The directory of a file-backed cluster, read: which files there are, and what those that may have changed contain.

Edge: I/O only, what the content means is ``manifest_store``'s. Blocking, so it runs in a thread. Files that vanish
between listing and reading are as good as never there; what can't be read is named as such and never taken for absent.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from controllers.sources.manifest_store import Reading

MAX_FILE_BYTES: Final = 32 * 1024 * 1024
"""Larger files are refused unread: 5,000 services fit ten times over, and a log given the wrong name doesn't."""
SUFFIXES: Final = (".yaml", ".yml", ".json")
SETTINGS_FILE: Final = "cluster.yaml"

_Stamp = tuple[int, int, int, int]


def is_manifest_name(name: str) -> bool:
    """Whether a file of this name is read at all; the settings at the top are left out besides."""
    hidden = name.startswith(".")
    return name.endswith(SUFFIXES) and not hidden and not (name.startswith("sidecar") and name.endswith(".yaml"))


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


class DirectoryReader:
    """Reads one directory again and again, and only what may have changed since."""

    def __init__(self, directory: Path, *, excluded: Collection[Path]) -> None:
        self._directory = directory
        self._excluded = frozenset(absolute_name(path) for path in excluded)
        self._seen: dict[str, _Seen] = {}

    def read(self, hinted: Collection[str] = ()) -> Reading:
        """Look at the whole directory; ``hinted`` are files to read whatever their stamp says.

        Never raises for what the file system does; that the directory itself can't be listed is said under ``.``.
        """
        listing = self._list()
        texts: dict[str, bytes] = {}
        for name, stamp in sorted(listing.stamps.items()):
            seen = self._seen.get(name)
            if seen is not None and seen.stamp == stamp and seen.settled and name not in hinted:
                continue
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
            self._seen[name] = _Seen(stamp, digest, settled=same)
            if not same:
                texts[name] = content
        present = frozenset(listing.stamps).union(listing.unreadable_files)
        reading = Reading(texts, present, listing.unreadable_files, listing.unreadable_directories)
        # What the reading's taker forgets must be told again when it comes back, however equal.
        self._seen = {name: seen for name, seen in self._seen.items() if not reading.is_absent(name)}
        return reading

    def _list(self) -> _Listing:
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
                entries = sorted(_entries(self._directory / name), key=lambda entry: entry.name, reverse=True)
            except (FileNotFoundError, NotADirectoryError) as error:
                if not name:
                    listing.unreadable_directories["."] = _cause(error)
                continue
            except OSError as error:
                listing.unreadable_directories[name or "."] = _cause(error)
                continue
            for entry in entries:
                path = f"{name}/{entry.name}" if name else entry.name
                if self._is_directory(entry):
                    if absolute_name(Path(entry.path)) not in self._excluded:
                        directories.append(path)
                elif is_manifest_name(entry.name) and path != SETTINGS_FILE:
                    self._stat(entry, path, listing)
        return listing

    @staticmethod
    def _stat(entry: os.DirEntry[str], path: str, listing: _Listing) -> None:
        try:
            info = entry.stat()
        except FileNotFoundError:
            return
        except OSError as error:
            listing.unreadable_files[path] = _cause(error)
            return
        if not stat.S_ISREG(info.st_mode):
            listing.unreadable_files[path] = "not a regular file"
        elif info.st_size > MAX_FILE_BYTES:
            listing.unreadable_files[path] = _TOO_LARGE
        else:
            listing.stamps[path] = (info.st_mtime_ns, info.st_size, info.st_ino, info.st_dev)

    @staticmethod
    def _is_directory(entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_dir()
        except OSError:  # a link that leads in a circle, for one
            return False


_TOO_LARGE: Final = f"larger than {MAX_FILE_BYTES // 1024**2} MiB"


def _entries(directory: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                yield entry


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise OSError(_TOO_LARGE)
    return content


def _cause(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
