"""`federation drain` and `federation undrain`: take the calls of other clusters off, and bring them back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

import typer

from federation.cli.output import DataFormat, data_text
from federation.cli.owner import ask
from federation.cli.processes import Directory
from federation.model.durations import parse_duration
from federation.model.errors import ConfigError

Target = Annotated[
    str,
    typer.Argument(metavar="CLUSTER|GATEWAY", help="This cluster by its id, or one of its gateways by IP or IP:PORT."),
]
Over = Annotated[
    str, typer.Option(metavar="DURATION", help="How long it takes, as 90s or 5m: in steps of ten percent.")
]
Timeout = Annotated[
    float, typer.Option(metavar="SECONDS", help="How long to wait for the others once the last step is taken.")
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until every other cluster has taken it over.")]
Output = Annotated[
    DataFormat | None,
    typer.Option("--output", "-o", help="Print the outcome as data, progress to standard error."),
]


def drain(
    target: Target,
    directory: Directory = Path(),
    *,
    over: Over = "0s",
    force: Annotated[
        bool, typer.Option("--force", help="Also where nobody else serves what this cluster exports.")
    ] = False,
    timeout: Timeout = 60.0,
    wait: Wait = True,
    output: Output = None,
) -> None:
    """Take the calls of other clusters off.

    They are taken off this cluster, or off one of its gateways. Of a cluster: what others call goes to the next
    clusters that serve it; what this cluster calls itself, its own pods go on answering. Of a gateway: the cluster's
    other gateways take over. Connections that are open stay until they end; those of HTTP end with the calls that are
    under way.

    It lasts, over restarts too, until `federation undrain`, which may come at any moment. Ctrl-C ends the waiting, not
    the drain.

    Exits with 0 when every cluster has acknowledged; those of which nothing is heard and whose gateway does not answer
    are named and not waited for. With 1 when somebody has not in time: who, it says.

    \b
    Examples:
      federation drain us-west --over 5m --dir clusters/us-west
      federation drain us-west --over 5m --context us-west
      federation drain 192.0.2.7 --dir clusters/us-west
    """
    from federation.cli.drain_progress import followed  # noqa: PLC0415 - the rules of merging come with it

    _order(directory, "POST", target=target, over=over, force="true" if force else "false")
    if wait:
        report = followed(directory, target, timeout, quiet=output is not None)
        if output is not None:
            typer.echo(data_text(report, output))


def undrain(
    target: Target,
    directory: Directory = Path(),
    *,
    over: Over = "0s",
    timeout: Timeout = 60.0,
    wait: Wait = True,
    output: Output = None,
) -> None:
    """Bring the calls of other clusters back.

    To this cluster or one of its gateways, which was drained or is being drained.

    \b
    Examples:
      federation undrain us-west --dir clusters/us-west
      federation undrain us-west --over 2m --context us-west
    """
    from federation.cli.drain_progress import followed  # noqa: PLC0415 - as above

    _order(directory, "DELETE", target=target, over=over)
    if wait:
        report = followed(directory, target, timeout, quiet=output is not None)
        if output is not None:
            typer.echo(data_text(report, output))


def _order(directory: Path, method: str, **query: str) -> None:
    try:
        parse_duration(query["over"])
    except ValueError as error:
        raise ConfigError(f"--over: {error}") from error
    ask(directory, f"/v1/drains?{urlencode(query)}", dict[str, object], method=method)
