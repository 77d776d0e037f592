"""`federation rotate`: replace keys without an outage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from federation.cli.owner import ask
from federation.cli.processes import Directory

app = typer.Typer(help="Replace keys without an outage.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command("ca")
def rotate_ca(
    directory: Directory = Path(),
    *,
    now: Annotated[bool, typer.Option("--now", help="Wait for the peers' word alone, and for the end.")] = False,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="With --now: how long to wait.")] = 120.0,
) -> None:
    """Replace the cluster's CA.

    The next one is published first, then signs; the old one stays until nothing needs it. No call fails meanwhile.
    Without --now it signs once it has been published for ca.propagation and no living peer lacks it; with --now, as
    soon as every living peer says that it verifies by it. Ctrl-C ends the waiting, not the rotation.

    \b
    Examples:
      federation rotate ca --dir clusters/us-east
      federation rotate ca --now --dir clusters/us-east
    """
    if not now:
        ask(directory, "/v1/rotations/ca", dict[str, object], method="POST")
        typer.echo("rotation of the CA begun; `federation trust show` tells how far it is")
        return
    from federation.cli.trust_progress import signing_of, trust_of, wait_until  # noqa: PLC0415 - much comes with it

    before = signing_of(trust_of(directory))
    ask(directory, "/v1/rotations/ca?now=true", dict[str, object], method="POST")
    report = wait_until(directory, lambda report: signing_of(report) not in {before, ""}, timeout)
    typer.echo(f"CA {signing_of(report)} signs, bundle {report.domains[0].sequence}")
