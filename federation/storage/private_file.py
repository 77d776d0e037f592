"""Files that only their owner may read: how every package opens, creates and replaces them.

An edge without knowledge of what is inside. Writes are durable when they return.
"""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

MAX_BYTES = 64 * 1024
"""No key or token is larger; a larger file is something else."""


class WideModeError(OSError):
    """A private file that others than its owner can read or write."""


def read_private(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The first ``limit`` bytes of a private file; raises WideModeError where its mode is wider than 0600, OSError
    where it can't be read.

    Symbolic links are followed: mounted secrets are made of them. The mode is that of the file which is
    then read.
    """
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise WideModeError(f"mode is {mode:04o}, it must not be wider than 0600")
        return file.read(limit)


def create_private(path: Path, content: bytes) -> None:
    """Write a new private file; raises FileExistsError where one is there, OSError where it can't be
    written."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_private(path: Path, content: bytes) -> None:
    """Write a private file, or put it in the place of the one that is there, whole or not at all; raises
    OSError.

    A command and a controller may write the same file at the same time: then one after the other.
    """
    fresh = path.with_name(f".{path.name}.new")
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        # Left over by a crash; created exclusively, so that the mode is ours from the first byte.
        fresh.unlink(missing_ok=True)
        create_private(fresh, content)
        fresh.replace(path)
        os.fsync(folder)
    finally:
        os.close(folder)
