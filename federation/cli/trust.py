"""`federation trust`: whose certificates are believed, until when, and how to stop believing one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from federation.cli.cluster_command import on_cluster
from federation.cli.output import DataFormat, Format, data_text
from federation.cli.owner import ask
from federation.cli.processes import Directory
from federation.cli.views import Output

app = typer.Typer(help="Show, check and revoke trust.", no_args_is_help=True)


@app.command()
@on_cluster
def show(directory: Directory = Path(), output: Output = Format.TABLE) -> None:
    """Show every trust domain: its bundle, its authorities, and who verifies by which bundle of ours.

    \b
    Examples:
      federation trust show --dir clusters/us-east
      federation trust show --dir clusters/us-east -o wide
    """
    from federation.cli.trust_progress import trust_of  # noqa: PLC0415 - the rules of merging come with it
    from federation.cli.trust_text import trust_lines  # noqa: PLC0415

    report = trust_of(directory)
    match output:
        case Format.JSON | Format.YAML:
            typer.echo(data_text(report, DataFormat(output.value)))
        case Format.TABLE | Format.WIDE:
            for line in trust_lines(report, wide=output is Format.WIDE):
                typer.echo(line)


@app.command()
@on_cluster
def check(directory: Directory = Path(), output: Output = Format.TABLE) -> None:
    """Check trust: one line for each finding with its fix, and what would break.

    Exits with 1 if a check fails, with 3 if no controller answers.

    \b
    Example:
      federation trust check --dir clusters/us-east
    """
    from controllers.checks import Level  # noqa: PLC0415 - as above
    from controllers.trust_checks import trust_checks  # noqa: PLC0415
    from federation.cli.check_text import check_lines  # noqa: PLC0415
    from federation.cli.trust_progress import trust_of  # noqa: PLC0415

    checks = trust_checks(trust_of(directory))
    match output:
        case Format.JSON | Format.YAML:
            typer.echo(data_text(checks, DataFormat(output.value)))
        case Format.TABLE | Format.WIDE:
            for line in check_lines(checks):
                typer.echo(line)
    if any(one.level is Level.FAILED for one in checks):
        raise typer.Exit(1)


@app.command()
@on_cluster
def taint(
    authority: Annotated[
        str | None, typer.Argument(metavar="CA-ID", help="Beginning of its id; by default the CA that signs.")
    ] = None,
    directory: Directory = Path(),
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait for the end.")] = 180.0,
) -> None:
    """Stop trusting a CA of this cluster: for a key that may be in wrong hands.

    Another CA takes over, all that the tainted one signed is issued anew, and then it leaves the bundle at once. Peers
    and nodes that do not follow within a minute each do not hold this up. No call between those that do fails. A next
    CA made earlier has its key beside the others: taint it first if that may be known, too.

    \b
    Examples:
      federation trust taint --dir clusters/us-east
      federation trust taint 3f9a2c --dir clusters/us-east
    """
    from federation.cli.trust_progress import wait_until  # noqa: PLC0415 - as above

    query = "" if authority is None else f"?authority={quote(authority, safe='')}"
    tainted = ask(directory, f"/v1/taints{query}", dict[str, str], method="POST")["authority"]
    typer.echo(f"CA {tainted} is tainted")
    report = wait_until(directory, lambda now: all(one.id != tainted for one in now.domains[0].authorities), timeout)
    typer.echo(f"CA {tainted} is gone from bundle {report.domains[0].sequence}; peers follow within seconds")
