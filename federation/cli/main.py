"""The entry point: all commands, and the one place where errors become words and an exit code."""

from __future__ import annotations

import sys
from typing import Annotated

import click
import typer

from federation import __version__
from federation.cli import credentials, demo, processes, rotate, translate, views
from federation.cli.output import fail
from federation.model.errors import FederationError

app = typer.Typer(
    name="federation",
    help="Multi-cluster federation gateway: export a service in one cluster, call it from every other.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("demo")(demo.demo)
app.command("controller")(processes.controller)
app.command("gateway")(processes.gateway)
app.command("sidecar")(processes.sidecar)
app.command("status")(views.status)
app.command("services")(views.services)
app.command("translate")(translate.translate)
app.add_typer(rotate.app, name="rotate")
app.add_typer(credentials.app, name="credentials")


def _print_version(value: bool) -> None:  # noqa: FBT001 - typer's callback protocol
    if value:
        typer.echo(f"federation {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def run() -> None:
    """Run the command line. Expected errors are printed with their hint; exit 2 is for bad usage or configuration."""
    try:
        app(standalone_mode=False)
    except FederationError as error:
        try:
            fail(error)
        except typer.Exit as end:
            sys.exit(end.exit_code)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)


if __name__ == "__main__":
    run()
