"""Flood: how many questions each source may ask, so that one that asks without pause is not the work of the controller.

Pure; the server asks it before it reads a packet. Memory is bounded: of more sources than are kept, whoever was silent
longest starts anew.
"""

from __future__ import annotations

from collections import OrderedDict


class SourceBudgets:
    """A budget of questions for each source, which refills with time."""

    def __init__(self, per_second: float, burst: float, sources: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._sources = sources
        self._left: OrderedDict[bytes | str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._left)

    def take(self, source: bytes | str, now: float) -> bool:
        """Take one question from the source's budget, at ``now`` in monotonic seconds; False where it has none left."""
        left, since = self._left.pop(source, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._per_second)
        allowed = left >= 1
        self._left[source] = left - allowed, now
        if len(self._left) > self._sources:
            self._left.popitem(last=False)
        return allowed
