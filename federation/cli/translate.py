"""`federation translate`: what directories of manifests come to, offline."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from federation.cli.output import DataFormat, data_text, printable


class Show(StrEnum):
    """What to print."""

    RECORDS = "records"
    IMPORTS = "imports"
    XDS = "xds"


def translate(
    directories: Annotated[
        list[Path],
        typer.Option(
            "--dir",
            "-f",
            metavar="DIRECTORY",
            help="A cluster's directory; the first is the one looked from, the others are its peers.",
        ),
    ],
    show: Annotated[Show, typer.Option("--show", "-s", help="What to print.")] = Show.IMPORTS,
    node: Annotated[
        str,
        typer.Option(
            "--node", metavar="NODE", help="With --show xds: the word gateway, or the path of a sidecar.yaml."
        ),
    ] = "gateway",
    output: Annotated[DataFormat, typer.Option("--output", "-o", help="How to print it.")] = DataFormat.YAML,
) -> None:
    """Print what directories of manifests come to, offline.

    The records that the first cluster publishes, the services that it imports, or the xDS of one of its nodes: as a
    controller would have them, without Redis, Envoy or a controller. Manifests that are not used are named on standard
    error, and the exit code is then 1.

    \b
    Examples:
      federation translate -f clusters/us-east --show records
      federation translate -f clusters/us-east -f clusters/eu-west
      federation translate -f clusters/us-east -f clusters/eu-west --show xds --node gateway -o json
    """
    from federation.app import offline  # noqa: PLC0415 - Envoy's messages take a while to import

    sites = [offline.load_site(directory) for directory in directories]
    projection = offline.project(sites[0], sites[1:])
    match show:
        case Show.RECORDS:
            found: object = offline.plain_records(sites[0].records)
        case Show.IMPORTS:
            found = offline.imports(projection)
        case Show.XDS:
            found = offline.plain_resources(offline.node_resources(sites[0], projection, node))
    typer.echo(data_text(found, output))
    problems = [problem for site in sites for problem in site.problems]
    for problem in problems:
        typer.echo(f"not used: {printable(str(problem))}", err=True)
    if problems:
        raise typer.Exit(1)
