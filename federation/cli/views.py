"""`federation status` and `federation services`: what a running controller knows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from federation.cli.output import DataFormat, Format, data_text, table_lines
from federation.cli.owner import ask
from federation.cli.processes import Directory

Output = Annotated[Format, typer.Option("--output", "-o", help="How to print it.")]


def status(directory: Directory = Path(), output: Output = Format.TABLE) -> None:
    """Show what a cluster's controller knows, and what is wrong.

    Peers, connected Envoys, configuration that an Envoy refused, records of peers that were rejected, manifests that
    are not used. Exits with 1 while the controller is not ready, with 3 if none answers.

    \b
    Examples:
      federation status --dir clusters/us-east
      federation status --dir clusters/us-east -o wide
      federation status --dir clusters/us-east -o json
      federation status --context kind-east
    """
    from controllers.status import StatusReport  # noqa: PLC0415 - the rules of merging come with it
    from federation.cli.status_text import status_lines  # noqa: PLC0415

    report = ask(directory, "/v1/status", StatusReport)
    match output:
        case Format.JSON | Format.YAML:
            typer.echo(data_text(report, DataFormat(output.value)))
        case Format.TABLE | Format.WIDE:
            for line in status_lines(report, wide=output is Format.WIDE):
                typer.echo(line)
    if not report.ready:
        raise typer.Exit(1)


def services(directory: Directory = Path(), output: Output = Format.TABLE) -> None:
    """List the services of the clusterset.

    For each: who backs it, in the order in which calls go there, with the number of ready endpoints; in brackets, the
    clusters that get no calls.

    \b
    Examples:
      federation services --dir clusters/us-east
      federation services --dir clusters/us-east -o yaml
      federation services --context kind-east
    """
    from controllers.status import ServiceStatus  # noqa: PLC0415 - as above
    from federation.cli.service_text import service_rows  # noqa: PLC0415

    found = ask(directory, "/v1/services", tuple[ServiceStatus, ...])
    match output:
        case Format.JSON | Format.YAML:
            typer.echo(data_text(found, DataFormat(output.value)))
        case Format.TABLE | Format.WIDE:
            for line in table_lines(*service_rows(found, wide=output is Format.WIDE)):
                typer.echo(line)
