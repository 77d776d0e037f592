"""One controller per state directory: two would sign with one CA's keys and publish against each other."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from federation.model.errors import ConfigError

LOCK_FILE = "controller.lock"


@contextmanager
def only_controller(directory: Path) -> Iterator[None]:
    """Hold the state directory, made if need be (0700), while the context lasts.

    Raises ConfigError where another controller holds it or it can't be used. The system lets go of it when the process
    ends, however it ends; the file stays.
    """
    path = directory / LOCK_FILE
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(
            f"state directory {directory} can't be used: {error.strerror}",
            hint="stateDirectory must be on a writable disk and belong to the user this program runs as",
        ) from error
    try:
        _hold(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _hold(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(descriptor, 32).decode(errors="replace").strip()
        raise ConfigError(
            f"another controller runs on {path.parent}" + (f" (process {holder})" if holder else ""),
            hint="stop it first; every cluster has a directory of its own",
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{path} can't be locked: {error.strerror}", hint="keep stateDirectory on a local disk"
        ) from error
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
