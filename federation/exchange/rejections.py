"""Rejections: what of the members was not accepted, counted exactly, and told in the log as often as anybody reads.

The session's. A member that writes junk as fast as it can must cost its readers no more than a count.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping

import structlog

from federation.exchange.base import Rejected
from federation.model.names import ClusterId

_log = structlog.get_logger()

_RECENT = 100
_QUIET_SECONDS = 60.0
"""Between two lines about one member and one reason."""


class Rejections:
    """Of all present members, since the start."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._counts: Counter[tuple[ClusterId, str]] = Counter()
        self._recent: deque[Rejected] = deque(maxlen=_RECENT)
        self._logged: dict[tuple[ClusterId, str], tuple[float, int]] = {}
        """When a member and reason were in the log last, and how many there had been by then."""

    @property
    def counts(self) -> Mapping[tuple[ClusterId, str], int]:
        """How often, by member and reason."""
        return dict(self._counts)

    @property
    def recent(self) -> tuple[Rejected, ...]:
        """The last hundred, oldest first."""
        return tuple(self._recent)

    def count(self, rejected: Iterable[Rejected]) -> None:
        """Count each; the first of a member and reason is logged, then one a minute with the number of all."""
        for one in rejected:
            at = one.cluster, str(one.reason)
            self._counts[at] += 1
            self._recent.append(one)
            now = self._monotonic()
            last, before = self._logged.get(at, (now - _QUIET_SECONDS, 0))
            if now >= last + _QUIET_SECONDS:
                unsaid = self._counts[at] - before - 1
                more = {"unsaid": unsaid} if unsaid else {}
                _log.warning("rejected", peer=one.cluster, reason=one.reason, error=one.message, **more)
                self._logged[at] = now, self._counts[at]

    def forget(self, clusters: Collection[ClusterId]) -> None:
        """What was rejected of former members is of no interest any more."""
        for at in [at for at in self._counts if at[0] in clusters]:
            del self._counts[at]
            self._logged.pop(at, None)
        self._recent = deque((one for one in self._recent if one.cluster not in clusters), maxlen=_RECENT)
