"""The services whose objects are to be looked at, each by one worker at a time. In-memory state without I/O or clock.

A mark that comes while its service is worked on is kept for another round. What failed waits longer each time; a new
mark ends the wait, since it means that something is different now.
"""

from __future__ import annotations

from collections.abc import Iterable

from federation.model.names import ServiceKey


class Backlog:
    """Marked services, the oldest mark first; times are any seconds that only go forward."""

    def __init__(self, first_retry_seconds: float, last_retry_seconds: float) -> None:
        self._first, self._last = first_retry_seconds, last_retry_seconds
        self._due: dict[ServiceKey, float] = {}
        self._busy: set[ServiceKey] = set()
        self._failures: dict[ServiceKey, int] = {}

    @property
    def empty(self) -> bool:
        """Whether nothing is marked, waits, or is worked on."""
        return not (self._due or self._busy)

    def __contains__(self, key: ServiceKey) -> bool:
        return key in self._due

    def mark(self, keys: Iterable[ServiceKey]) -> None:
        """Something is new about these."""
        for key in keys:
            self._due[key] = 0.0

    def take(self, now: float) -> ServiceKey | None:
        """The next to be worked on, until it is ``done`` or ``failed``."""
        key = next((key for key, due in self._due.items() if due <= now and key not in self._busy), None)
        if key is not None:
            del self._due[key]
            self._busy.add(key)
        return key

    def done(self, key: ServiceKey) -> None:
        """All is as it should be, or the next mark will tell."""
        self._busy.discard(key)
        self._failures.pop(key, None)

    def failed(self, key: ServiceKey, now: float) -> None:
        """Keep it marked, for later; not later than a mark that came meanwhile."""
        self._busy.discard(key)
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self._due.setdefault(key, now + min(self._first * 2 ** min(failures, 20), self._last))

    def wait_seconds(self, now: float) -> float | None:
        """How long until one may be taken; None where only a mark, or the end of work, changes that."""
        return min((max(due - now, 0.0) for key, due in self._due.items() if key not in self._busy), default=None)
