"""`federation credentials`: the tokens of a site without Kubernetes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from federation.app.sites import load_cluster
from federation.cli.processes import Directory
from federation.membership.tokens import create_token
from federation.model.errors import ConfigError
from federation.model.names import parse_service_key

app = typer.Typer(help="Tokens of a site without Kubernetes.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command("node-token")
def node_token(
    workload: Annotated[str, typer.Argument(help="NAMESPACE/SERVICEACCOUNT, or the word gateway.", metavar="WORKLOAD")],
    directory: Directory = Path(),
) -> None:
    """Make the token of a sidecar or of the gateway.

    By it a proxy proves to the controller who it is; whoever holds it gets the certificate of that workload. Prints the
    path of the file (mode 0600).

    \b
    Examples:
      federation credentials node-token gateway --dir clusters/us-east
      federation credentials node-token demo/echo --dir clusters/us-east
    """
    name = "gateway"
    if workload != "gateway":
        try:
            name = str(parse_service_key(workload)).replace("/", ".")
        except ValueError as error:
            raise ConfigError(f"{workload!r} is neither NAMESPACE/SERVICEACCOUNT nor gateway") from error
    tokens = load_cluster(directory).tokens_directory
    path = tokens / f"{name}.token"
    try:
        tokens.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{tokens} can't be made: {error.strerror}") from error
    try:
        create_token(path)
    except FileExistsError as error:
        raise ConfigError(f"{path} is there already", hint="remove it first to replace it") from error
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {error.strerror}") from error
    typer.echo(str(path))
