"""The entry point: all commands, and the one place where errors become words and an exit code."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from federation import __version__
from federation.cli import (
    authority,
    check,
    credentials,
    demo,
    dns,
    drain,
    exchange,
    inject,
    install,
    kind,
    membership,
    processes,
    proxy_config,
    redirect,
    rotate,
    token,
    translate,
    trust,
    views,
)
from federation.cli.cluster_command import on_cluster
from federation.cli.in_pod import IN_POD, in_pod_of
from federation.cli.output import tell
from federation.model.errors import FederationError

_EXIT_CODES = """
\b
Exit codes:
  0  done
  1  failed, or something is not as it should be
  2  the command line or a file of settings is wrong
  3  no controller answers
"""

app = typer.Typer(
    name="federation",
    help="Multi-cluster federation gateway: export a service in one cluster, call it from every other.",
    epilog=_EXIT_CODES,
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
app.command("redirect")(redirect.redirect)
app.command("inject")(inject.inject)
app.command("install")(install.install)
app.command("uninstall")(install.uninstall)
app.command("init")(on_cluster(membership.init))
app.command("join")(on_cluster(membership.join))
app.command("leave")(on_cluster(membership.leave))
app.command("evict")(on_cluster(membership.evict))
app.command("members")(on_cluster(membership.members))
app.command("drain")(on_cluster(drain.drain))
app.command("undrain")(on_cluster(drain.undrain))
app.command("check")(on_cluster(check.check))
app.command("status")(on_cluster(views.status))
app.command("services")(on_cluster(views.services))
app.command("translate")(translate.translate)
app.add_typer(token.app, name="token")
app.add_typer(authority.app, name="authority")
app.add_typer(rotate.app, name="rotate")
app.add_typer(trust.app, name="trust")
app.add_typer(credentials.app, name="credentials")
app.add_typer(exchange.app, name="exchange")
app.add_typer(dns.app, name="dns")
app.add_typer(proxy_config.app, name="proxy-config", hidden=True)
app.add_typer(kind.app, name="kind")


app.command(IN_POD, hidden=True)(in_pod_of(lambda words: app(words, prog_name="federation")))


def _print_version(value: bool) -> None:  # noqa: FBT001 - typer's callback protocol
    if value:
        typer.echo(f"federation {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    *,
    version: Annotated[  # noqa: ARG001 - answered by its callback
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    # Colours are for terminals, and only where nobody has said no (no-color.org).
    context.color = False if os.environ.get("NO_COLOR") else None


def run() -> None:
    """Run the command line and exit. Expected errors are told with their hint; only a bug of ours shows a traceback."""
    try:
        app(prog_name="federation")
    except FederationError as error:
        tell(error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    run()
