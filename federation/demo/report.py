"""The report of a run as JSON, and its summary for people. Pure but for ``save``.

``calls``, ``failed``, ``answered_by`` and the latencies of a phase are those of the steady load (GETs of echo); every
stream by itself is under ``streams``. Latencies are milliseconds from the moment a call was due; null where no call
succeeded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from federation.demo.calls import Stream, StreamNumbers
from federation.demo.phases import PhaseNumbers, all_violations
from federation.model.errors import FederationError


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a whole run came to."""

    phases: tuple[PhaseNumbers, ...]
    seconds: float
    """From the start to the end of the last phase."""
    rate: float
    trouble: str = ""
    """Why the story was broken off; empty where it was told to its end."""

    @property
    def violations(self) -> tuple[str, ...]:
        """All that went wrong, one sentence each."""
        return (*all_violations(self.phases), *((self.trouble,) if self.trouble else ()))

    @property
    def ok(self) -> bool:
        return not self.violations


def build_report(run: RunReport) -> dict[str, Any]:
    """The report as a JSON object."""
    return {
        "ok": run.ok,
        "violations": list(run.violations),
        "seconds": round(run.seconds, 1),
        "rate": run.rate,
        "phases": [_phase(numbers) for numbers in run.phases],
    }


def save_report(path: Path, run: RunReport) -> None:
    """Write the report; raises FederationError where the file can't be written."""
    try:
        path.write_text(json.dumps(build_report(run), indent=2) + "\n")
    except OSError as error:
        raise FederationError(f"report {path} can't be written: {error.strerror}") from error


def summary_lines(run: RunReport) -> list[str]:
    """The verdict in words: first whether it held, then every violation with its numbers."""
    calls = sum(phase.calls for phase in run.phases)
    failed = sum(phase.failed for phase in run.phases)
    told = f"{calls} calls in {len(run.phases)} phases, {failed} failed ({_which(run.phases)})"
    if run.ok:
        return [f"PASSED: {told}; no call failed that should not have."]
    return [f"FAILED: {told}.", *(f"  - {violation}" for violation in run.violations)]


def _which(phases: Sequence[PhaseNumbers]) -> str:
    lost = {stream: sum(phase.streams[stream].failed for phase in phases) for stream in Stream}
    return ", ".join(f"{count} {stream}" for stream, count in lost.items() if count) or "none"


def _phase(numbers: PhaseNumbers) -> dict[str, Any]:
    steady = _stream(numbers.streams[Stream.GET])
    return {
        "phase": numbers.phase.key,
        "title": numbers.phase.title,
        "seconds": round(numbers.seconds, 2),
        **steady,
        "violations": list(numbers.violations),
        "streams": {str(stream): _stream(of) for stream, of in numbers.streams.items()},
    }


def _stream(numbers: StreamNumbers) -> dict[str, Any]:
    return {
        "calls": numbers.calls,
        "failures": numbers.failed,
        "excused": numbers.excused,
        "answered_by": dict(numbers.answered_by),
        "errors": dict(numbers.errors),
        "slow": numbers.slow,
        "p50_ms": _milliseconds(numbers.p50),
        "p99_ms": _milliseconds(numbers.p99),
        "worst_ms": _milliseconds(numbers.worst),
        "back_to_normal_seconds": None if numbers.settled_after is None else round(numbers.settled_after, 3),
    }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
