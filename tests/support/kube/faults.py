"""Faults that a real server cannot give on demand: what a test has set, and what is left of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from support.kube.refusals import Refusal, injected


@dataclass(slots=True)
class Failure:
    """A failure that requests meet: of some verbs, of one resource, or all; so often."""

    code: int
    times: int
    retry_after_seconds: int | None = None
    verbs: tuple[str, ...] = ()
    plural: str = ""

    def meets(self, verb: str, plural: str) -> bool:
        return self.times > 0 and (not self.verbs or verb in self.verbs) and self.plural in {"", plural}


@dataclass(slots=True)
class Faults:
    """The faults of one server, none to begin with."""

    watch_delay_seconds: float = 0.0
    """Every event of a watch comes this much later than it could."""
    duplicate_events: bool = False
    """Every event of a watch comes twice."""
    gone_as_status: bool = False
    """A watch from before a compaction is answered with HTTP 410, not with a watch that says so in its first event."""
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    """While this is not set the server is silent: it takes connections and requests, and never says a word."""
    _failures: list[Failure] = field(default_factory=list)

    def fail(self, failure: Failure) -> None:
        self._failures.append(failure)

    def clear_failures(self) -> None:
        self._failures.clear()

    def check(self, verb: str, plural: str) -> None:
        """Raises the failure that this request is to meet, and counts it off."""
        for failure in self._failures:
            if failure.meets(verb, plural):
                failure.times -= 1
                raise self._refusal(failure)

    def _refusal(self, failure: Failure) -> Refusal:
        return injected(failure.code, failure.retry_after_seconds)
