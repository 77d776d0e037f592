"""Waiting for a drain: it goes on in the controller, whether or not somebody watches."""

from __future__ import annotations

import time
from pathlib import Path

import typer

from controllers.drain_report import DrainReport, TargetStatus
from federation.app.clock import utc_now
from federation.app.readiness import names_of
from federation.cli.owner import StillUnderWayError, ask

_POLL_SECONDS = 0.2


def followed(directory: Path, target: str, seconds: float, *, quiet: bool) -> DrainReport:
    """Tell how far it is whenever that changes, until it is done; ``quiet``: on standard error.

    Raises StillUnderWayError where somebody has not acknowledged ``seconds`` after the last step; Ctrl-C ends the
    waiting alone, with exit code 130.
    """
    told = ""
    bound: float | None = None
    try:
        while True:
            report = ask(directory, "/v1/drains", DrainReport)
            words = drain_words(report, target)
            if words != told:
                typer.echo(words, err=quiet)
                told = words
            if is_done(report):
                return report
            bound = bound or _last_step(report) + seconds
            if time.monotonic() >= bound:
                raise StillUnderWayError(
                    f"not done in time: {words}", hint="it goes on; `federation status` tells how far it is"
                )
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        typer.echo("it goes on; `federation undrain` brings the calls back", err=quiet)
        raise typer.Exit(130) from None


def is_done(report: DrainReport) -> bool:
    """Whether all that was ordered is taken over by everybody who may call."""
    return report.arrived and report.settled and not report.waiting_for and not report.silent


def drain_words(report: DrainReport, target: str) -> str:
    """How far it is, on one line."""
    status = target_of(report, target)
    parts = [f"{target} takes {share_words(status)}"]
    if report.published:
        known = len(report.acknowledged) + len(report.waiting_for) + len(report.silent)
        parts.append(f"acknowledged by {len(report.acknowledged)} of {known}")
    else:
        parts.append("the exchange does not have it yet")
    if report.waiting_for and report.published:
        parts.append(f"waiting for {names_of(report.waiting_for)}")
    if report.silent:
        parts.append(f"not heard: {names_of(report.silent)}")
    if report.dead:
        parts.append(f"dead, and not waited for: {names_of(report.dead)}")
    return "; ".join(parts)


def share_words(status: TargetStatus) -> str:
    """How much is taken, and what comes."""
    now = {0: "no calls of other clusters", 100: "all calls"}.get(status.share, f"{status.share} % of its calls")
    if status.share == status.goal or status.ends is None:
        return now
    return f"{now} ({status.goal} % at {status.ends:%H:%M:%SZ})"


def target_of(report: DrainReport, target: str) -> TargetStatus:
    """The status of what was named."""
    for gateway in report.gateways:
        if target in {gateway.address, gateway.address.rpartition(":")[0].strip("[]")}:
            return gateway.drain
    return report.drain


def _last_step(report: DrainReport) -> float:
    """When the last step is due, by the monotonic clock."""
    ends = [one.ends for one in (report.drain, *(gateway.drain for gateway in report.gateways)) if one.ends is not None]
    left = max(((end - utc_now()).total_seconds() for end in ends), default=0.0)
    return time.monotonic() + max(left, 0.0)
