"""Trouble with files, told as an error of ours: what failed and what to do about it is said where the file belongs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from federation.model.errors import FederationError


@contextmanager
def told_as(error_of: Callable[[str], FederationError]) -> Iterator[None]:
    """Where something within raises OSError, raises what ``error_of`` makes of its cause."""
    try:
        yield
    except OSError as error:
        raise error_of(error.strerror or str(error)) from error
