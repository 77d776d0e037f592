"""Waiting for the life of a CA: what was begun goes on in the controller, whether or not somebody watches."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import typer

from controllers.trust_report import TrustReport
from federation.cli.owner import StillUnderWayError, ask
from federation.cli.trust_text import progress

_POLL_SECONDS = 0.2


def trust_of(directory: Path) -> TrustReport:
    """The controller's report on trust."""
    return ask(directory, "/v1/trust", TrustReport)


def signing_of(report: TrustReport) -> str:
    """The id of the own CA that signs, tainted or not; empty where the CA is elsewhere or none does."""
    return next((one.id for one in report.domains[0].authorities if one.state in {"signing", "tainted"}), "")


def wait_until(directory: Path, done: Callable[[TrustReport], bool], seconds: float) -> TrustReport:
    """Ask until ``done``, and tell what is waited for whenever it changes.

    Raises StillUnderWayError after ``seconds``, with who is missing; Ctrl-C ends the waiting alone, with exit code 130.
    """
    ends = time.monotonic() + seconds
    told = ""
    try:
        while True:
            report = trust_of(directory)
            if done(report):
                return report
            words = progress(report.rotation)
            if words != told:
                typer.echo(words)
                told = words
            if time.monotonic() >= ends:
                raise StillUnderWayError(
                    f"not done after {seconds:g} s: {words}",
                    hint="it goes on; `federation trust show` tells how far it is, `federation trust check` why",
                )
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        typer.echo("it goes on; `federation trust show` tells how far it is")
        raise typer.Exit(130) from None
