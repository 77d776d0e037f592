"""Callers: whose request the authority looks at next, fair to each and bounded against all. Pure: ``now`` is given.

Those that the ledger expects (members, and whom a token was given to) are always heard, before strangers, and of them
whoever was not looked at for longest. Nobody gets more than one look in a second, however often it calls.
"""

from __future__ import annotations

from collections.abc import Iterable

from federation.model.names import ClusterId

LOOK_SECONDS = 1.0
"""The shortest time between two looks at one cluster's request."""
MAX_STRANGERS = 256
"""So many names that the ledger does not know are looked at before the ledger is looked at again."""


class Callers:
    """Who has called, once each, until it was looked at."""

    def __init__(self) -> None:
        self._expected: dict[ClusterId, None] = {}
        """Longest not looked at first."""
        self._first: dict[ClusterId, bool] = {}
        """Who waits, and whether it has called."""
        self._then: dict[ClusterId, bool] = {}
        """Strangers, who wait until nobody else does."""
        self._spare = MAX_STRANGERS
        self._looked: dict[ClusterId, float] = {}
        """Who was looked at within the last second because it had called, and when."""
        self._again: set[ClusterId] = set()
        """Who of those has called since."""

    def expect(self, clusters: Iterable[ClusterId]) -> None:
        """Those who may have asked for something without being heard, by the ledger as it is now."""
        self._spare = MAX_STRANGERS
        expected = dict.fromkeys(sorted(clusters))
        known = [cluster for cluster in self._expected if cluster in expected]
        fresh = [cluster for cluster in expected if cluster not in self._expected]
        self._expected = dict.fromkeys([*fresh, *known])

    def call(self, cluster: ClusterId) -> bool:
        """Somebody called out this name; returns whether anything is new."""
        if self._first.get(cluster) or cluster in self._again:
            return False
        if cluster in self._looked:
            self._again.add(cluster)
        elif cluster in self._expected:
            self._then.pop(cluster, None)
            self._first[cluster] = True
        elif cluster not in self._then and self._spare > 0:
            self._spare -= 1
            self._then[cluster] = True
        else:
            return False
        return True

    def call_expected(self) -> None:
        """Look at all those expected, longest not looked at first; whoever calls right after is looked at again."""
        for cluster in self._expected:
            self._first.setdefault(cluster, False)

    def next(self, now: float) -> tuple[ClusterId | None, float | None]:
        """Who is looked at now. Without one: in how many seconds somebody will be, None where nobody waits."""
        self._forget(now)
        waiting = self._first or self._then
        if not waiting:
            return None, min((self._looked[cluster] + LOOK_SECONDS - now for cluster in self._again), default=None)
        cluster = next(iter(waiting))
        if waiting.pop(cluster):
            self._looked[cluster] = now
        if cluster in self._expected:
            del self._expected[cluster]
            self._expected[cluster] = None
        return cluster, None

    def dismiss(self) -> None:
        """Nobody waits any more."""
        for waiting in (self._first, self._then, self._again):
            waiting.clear()

    def _forget(self, now: float) -> None:
        """Looks that are long enough ago; whoever has called since waits again."""
        while self._looked and now >= next(iter(self._looked.values())) + LOOK_SECONDS:
            cluster = next(iter(self._looked))
            del self._looked[cluster]
            if cluster in self._again:
                self._again.discard(cluster)
                self.call(cluster)
