"""Phases of the story as values, what each of them may cost its callers, and the verdict. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from federation.demo.calls import Call, Stream, StreamNumbers, by_stream, summarise


@dataclass(frozen=True, slots=True)
class Rules:
    """The share of its calls that each stream may lose; a stream that is not named is only reported."""

    may_lose: Mapping[Stream, float] = field(default_factory=dict)
    excused: frozenset[Stream] = frozenset()
    """Streams whose calls under way when the fault struck don't count: a connection through a dead process is lost."""


HARMLESS = Rules(dict.fromkeys(Stream, 0.0))
"""Nothing that carries calls is touched, or it comes back: nobody loses anything."""

ENDPOINTS_DIE = Rules(
    {Stream.GET: 0.0, Stream.BILLING: 0.0, Stream.SLOW: 0.0, Stream.TCP: 0.0}, frozenset({Stream.TCP})
)
"""POSTs that had reached a server can't be repeated safely, so some are lost with it."""

CLUSTER_DIES = Rules(
    {Stream.GET: 0.001, Stream.BILLING: 0.0, Stream.SLOW: 0.001, Stream.TCP: 0.0}, frozenset({Stream.TCP})
)
"""A whole cluster, gateway and all: at most one GET of a thousand."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One chapter: what is done, and where the answers come from once it has settled."""

    key: str
    """For the report."""
    title: str
    words: str
    """What is about to happen, in one plain sentence."""
    rules: Rules
    answered_by: Mapping[Stream, str]
    """The cluster that answers each stream at the end of the phase."""
    seconds: float
    """How long it lasts at least; longer, where it takes longer until the answers come from there."""
    calm: bool = False
    """Whether every answer of the phase must come from there, not only the last ones."""


@dataclass(frozen=True, slots=True)
class PhaseNumbers:
    """What a phase came to."""

    phase: Phase
    seconds: float
    streams: Mapping[Stream, StreamNumbers]
    violations: tuple[str, ...] = ()

    @property
    def calls(self) -> int:
        return sum(numbers.calls for numbers in self.streams.values())

    @property
    def failed(self) -> int:
        return sum(numbers.failed for numbers in self.streams.values())


@dataclass(slots=True)
class PhaseRecord:
    """A phase while it goes on: the calls that ended in it. Times as in Call."""

    phase: Phase
    began: float
    struck_at: float | None = None
    """When its fault began; None where it has none (yet)."""
    fault_done_at: float | None = None
    """When every process that the fault is for was gone, frozen or up again."""
    calls: list[Call] = field(default_factory=list)

    def numbers(self, now: float) -> PhaseNumbers:
        """The numbers so far, with the verdict on them."""
        streams = {
            stream: summarise(calls, struck_at=self.struck_at, fault_done_at=self.fault_done_at)
            for stream, calls in by_stream(self.calls).items()
        }
        return PhaseNumbers(self.phase, now - self.began, streams, judge(self.phase, streams))

    def settled(self) -> bool:
        """Whether each stream's last calls, all due after the fault was done, were answered from where they should."""
        after = self.began if self.fault_done_at is None else self.fault_done_at
        later = by_stream(call for call in self.calls if call.due >= after)
        return all(
            len(last := later[stream][-_ENOUGH[stream] :]) == _ENOUGH[stream]
            and all(call.cluster == cluster for call in last)
            for stream, cluster in self.phase.answered_by.items()
        )


# About half a second of the fast streams at their usual rates, and a single one of those that take 2 s.
_ENOUGH = {Stream.GET: 60, Stream.POST: 5, Stream.BILLING: 5, Stream.SLOW: 1, Stream.TCP: 5}


def judge(phase: Phase, streams: Mapping[Stream, StreamNumbers]) -> tuple[str, ...]:
    """What broke the phase's rules, each in one sentence with its numbers."""
    found: list[str] = []
    for stream, share in phase.rules.may_lose.items():
        numbers = streams[stream]
        lost = numbers.failed - (numbers.excused if stream in phase.rules.excused else 0)
        if lost > share * numbers.calls:
            allowed = f"at most {share:.1%}" if share else "none"
            why = next(iter(numbers.errors), "")
            found.append(f"{phase.title}: {stream} lost {lost} of {numbers.calls} calls, {allowed} may be ({why})")
    if phase.calm:
        for stream, cluster in phase.answered_by.items():
            astray = sum(count for other, count in streams[stream].answered_by.items() if other != cluster)
            # A hedge that wins on a stalled machine is no fault of the routing.
            calls = streams[stream].calls
            if astray > 0.01 * calls:
                found.append(f"{phase.title}: {astray} of {calls} {stream} were not answered by {cluster}")
    return tuple(found)


def all_violations(phases: Sequence[PhaseNumbers]) -> tuple[str, ...]:
    return tuple(violation for phase in phases for violation in phase.violations)
