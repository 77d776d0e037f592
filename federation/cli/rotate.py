"""`federation rotate`: replace keys without an outage."""

from __future__ import annotations

from pathlib import Path

import typer

from federation.cli.owner import ask
from federation.cli.processes import Directory

app = typer.Typer(help="Replace keys without an outage.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command("ca")
def rotate_ca(directory: Directory = Path()) -> None:
    """Replace the cluster's CA.

    The next one is published first, then signs; the old one stays until nothing needs it. No call fails meanwhile.

    \b
    Example:
      federation rotate ca --dir clusters/us-east
    """
    ask(directory, "/v1/rotations/ca", dict[str, object], method="POST")
    typer.echo("rotation of the CA begun; `federation status` shows the bundle's sequence grow")
