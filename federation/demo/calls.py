"""Calls and what they come to: the values that the load produces, and the numbers per phase. Pure.

Latency counts from the moment a call was due, not from when it was sent: a client that is held up by a dead server
must not flatter the numbers by calling less often (coordinated omission).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil

SLOW_CALL_SECONDS = 0.4
"""A GET of ``echo`` that takes longer is felt by its caller: normal ones take a few milliseconds, and a hedge is sent
only after 500 ms."""


class Stream(StrEnum):
    """The kinds of calls, each with a rate of its own."""

    GET = "echo GET"
    POST = "echo POST"
    BILLING = "billing GET"
    SLOW = "slow GET"
    TCP = "ledger TCP"


@dataclass(frozen=True, slots=True)
class Call:
    """One finished call. Times are seconds of the machine's monotonic clock, the same in all processes."""

    stream: Stream
    due: float
    ended: float
    cluster: str = ""
    """Who answered; empty where the call failed."""
    error: str = ""
    """Why it failed, in a few words; empty where it did not."""

    @property
    def failed(self) -> bool:
        return bool(self.error)

    @property
    def seconds(self) -> float:
        return self.ended - self.due


@dataclass(frozen=True, slots=True)
class StreamNumbers:
    """What one stream came to in one phase; latencies in seconds, of the calls that succeeded."""

    calls: int = 0
    failed: int = 0
    excused: int = 0
    """Failed calls among ``failed`` that were under way when the fault struck."""
    answered_by: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    slow: int = 0
    """Successful calls above SLOW_CALL_SECONDS."""
    p50: float | None = None
    p99: float | None = None
    worst: float | None = None
    settled_after: float | None = None
    """Seconds from the fault to the end of the last call due after it that failed or was slow; None: there was none."""


def summarise(
    calls: Sequence[Call], *, struck_at: float | None = None, fault_done_at: float | None = None
) -> StreamNumbers:
    """The numbers of one stream. A fault is at work from ``struck_at``, and done (all its processes gone or frozen) at
    ``fault_done_at``.
    """
    failed = [call for call in calls if call.failed]
    good = sorted(call.seconds for call in calls if not call.failed)
    slow = [call for call in calls if not call.failed and call.seconds > SLOW_CALL_SECONDS]
    settled = None
    if struck_at is not None:
        settled = max((call.ended - struck_at for call in (*failed, *slow) if call.ended > struck_at), default=None)
    return StreamNumbers(
        calls=len(calls),
        failed=len(failed),
        excused=sum(fault_done_at is not None and call.due < fault_done_at for call in failed),
        answered_by=dict(sorted(Counter(call.cluster for call in calls if call.cluster).items())),
        errors=dict(Counter(call.error for call in failed).most_common()),
        slow=len(slow),
        p50=quantile(good, 0.5),
        p99=quantile(good, 0.99),
        worst=good[-1] if good else None,
        settled_after=settled,
    )


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that at least ``share`` of the (sorted) values don't exceed; None where there is no value."""
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else None


def by_stream(calls: Iterable[Call]) -> dict[Stream, list[Call]]:
    """The calls of each stream, in the streams' order; a stream without calls is there too."""
    found: dict[Stream, list[Call]] = {stream: [] for stream in Stream}
    for call in calls:
        found[call.stream].append(call)
    return found
