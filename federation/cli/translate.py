"""`federation translate`: what directories of manifests come to, offline."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from federation.cli.output import Format, print_data
from federation.model.errors import ConfigError


class Show(StrEnum):
    """What to print."""

    RECORDS = "records"
    IMPORTS = "imports"
    XDS = "xds"


def translate(
    directories: Annotated[
        list[Path],
        typer.Option(
            "--dir", "-f", help="A cluster's directory; the first is the one looked from, the others are its peers."
        ),
    ],
    show: Annotated[Show, typer.Option("--show", "-s", help="What to print.")] = Show.IMPORTS,
    node: Annotated[
        str, typer.Option("--node", help="With --show xds: the word gateway, or the path of a sidecar.yaml.")
    ] = "gateway",
    output: Annotated[Format, typer.Option("--output", "-o", help="json or yaml.")] = Format.YAML,
) -> None:
    """Print the records, the imports or a node's xDS that manifests come to, without Redis, Envoy or a controller.

    Manifests that are not used are named on standard error, and the exit code is then 1.

    Examples:
      federation translate -f clusters/us-east --show records
      federation translate -f clusters/us-east -f clusters/eu-west
      federation translate -f clusters/us-east -f clusters/eu-west --show xds --node gateway -o json
    """
    from federation.app import offline  # noqa: PLC0415 - Envoy's messages take a while to import

    if output in {Format.TABLE, Format.WIDE}:
        raise ConfigError(f"translate prints json or yaml, not {output}")
    sites = [offline.load_site(directory) for directory in directories]
    if show is Show.RECORDS:
        print_data(offline.plain_records(sites[0].records), output)
    else:
        projection = offline.project(sites[0], sites[1:])
        if show is Show.IMPORTS:
            print_data(offline.imports(projection), output)
        else:
            print_data(offline.plain_resources(offline.node_resources(sites[0], projection, node)), output)
    problems = [problem for site in sites for problem in site.problems]
    for problem in problems:
        typer.echo(f"not used: {problem}", err=True)
    if problems:
        raise typer.Exit(1)
