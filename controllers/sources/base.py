"""The Source protocol: the one way in which the rest of the program learns what its own cluster has.

Implementations don't know each other, and nobody behind the protocol knows which one it talks to; all of them are held
to ``tests/contract/test_source.py``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from federation.model.names import ServiceKey
from federation.model.problems import Problem
from federation.model.state import ClusterState


@dataclass(frozen=True, slots=True)
class SourceUpdate:
    """The whole state after a change. It can be kept: the next one never alters it."""

    state: ClusterState
    changed: frozenset[ServiceKey]
    """Services whose state differs by value from the update before, those that are gone among them; in the first update
    every service there is."""
    problems: tuple[Problem, ...]
    """All that is wrong at this moment, sorted; not only what is new."""


class Source(Protocol):
    def updates(self) -> AsyncGenerator[SourceUpdate, None]:
        """Yield the state, then again after each change of the state or of its problems, until closed.

        The first update comes after one complete reading, however long that takes: empty is not unknown. Later readings
        that fail leave the last good state in place and show as problems. Changes in quick succession may come as one
        update. Each call is a stream of its own; close it (``contextlib.aclosing``) to release what it holds.
        """
        ...
