"""`federation exchange`: a Redis of one's own with TLS and users, and the rules for one that others run."""

from __future__ import annotations

import asyncio
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federation.app.signals import run_until_signal
from federation.app.sites import load_cluster
from federation.cli.processes import Directory
from federation.exchange.access import authority_rules, authority_username, member_rules, username
from federation.model.addresses import HostPort, parse_host_port
from federation.model.errors import ConfigError
from federation.model.names import ClusterId, is_dns_label

if TYPE_CHECKING:
    from federation.exchange.secure_server import ExchangeServer

app = typer.Typer(help="The Redis where clusters meet.", no_args_is_help=True)

_CHECK_SECONDS = 0.5


@app.command("up")
def up(
    directory: Annotated[
        Path, typer.Option("--dir", metavar="DIRECTORY", help="Its keys, users and administrator (mode 0700).")
    ] = Path("exchange"),
    listen: Annotated[str, typer.Option("--listen", metavar="IP:PORT", help="Where it listens.")] = "127.0.0.1:6379",
    names: Annotated[
        list[str] | None,
        typer.Option("--name", metavar="NAME", help="Host name or IP that members call it by. Default: the IP."),
    ] = None,
    *,
    no_tls: Annotated[bool, typer.Option("--no-tls", help="Without TLS; on a loopback address only.")] = False,
) -> None:
    """Run an exchange for development: Redis with TLS and users.

    The first start makes a CA, a certificate for the names, and an administrator with a password; later ones keep them.
    It stays in the foreground until SIGTERM or Ctrl-C. What members wrote is not kept over a restart: they publish it
    again.

    \b
    Examples:
      federation exchange up
      federation exchange up --dir exchange --listen 0.0.0.0:6379 --name redis.example.com
    """
    # Imported here: nothing else of these commands needs cryptography and redis-py.
    from federation.app.clock import utc_now  # noqa: PLC0415
    from federation.exchange.secure_server import ExchangeServer  # noqa: PLC0415
    from federation.exchange.server import find_redis_server, find_tls_redis_server  # noqa: PLC0415

    address = _listen(listen)
    if no_tls and not address.is_loopback:
        raise ConfigError(
            f"{address} is no loopback address: without TLS, passwords would be read on the way",
            hint="leave out --no-tls, or listen on 127.0.0.1",
        )
    if address.is_unspecified and not names:
        raise ConfigError(f"{address} means every address of this host", hint="say with --name what members call it by")
    program = find_redis_server(os.environ) if no_tls else find_tls_redis_server(os.environ)
    server = ExchangeServer(directory, address, names or [address.host], program=program, now=utc_now(), tls=not no_tls)
    asyncio.run(run_until_signal(_serve(server, tls=not no_tls)))


@app.command("acl")
def acl(
    directory: Directory = Path(),
    cluster: Annotated[
        str, typer.Option("--cluster", metavar="NAME", help="The member. Default: the cluster of the directory.")
    ] = "",
) -> None:
    """Print the users of a Redis where they are made by hand.

    Two commands of Redis 7 or Valkey: the user of one member, and that of the clusterset's authority. They hold no
    password: replace PASSWORD. On Sentinel and Cluster every server needs them.

    \b
    Example:
      federation exchange acl --dir clusters/us-east --cluster eu-west
    """
    settings = load_cluster(directory)
    name = cluster or settings.cluster
    if not is_dns_label(name):
        raise ConfigError(f"{name!r} is no cluster: it must be a DNS label")
    member = ClusterId(name)
    typer.echo(_command(username(settings.clusterset, member), member_rules(settings.clusterset, member)))
    typer.echo(_command(authority_username(settings.clusterset), authority_rules(settings.clusterset)))


def _command(user: str, rules: tuple[str, ...]) -> str:
    """One line for redis-cli."""
    quoted = (f'"{rule}"' if set(rule) & set(' ">(') else rule for rule in ("reset", "on", ">PASSWORD", *rules))
    return " ".join(("ACL SETUSER", user, *quoted))


def _listen(text: str) -> HostPort:
    try:
        return parse_host_port(text)
    except ValueError as error:
        raise ConfigError(f"--listen: {error}") from error


async def _serve(server: ExchangeServer, *, tls: bool) -> None:
    server.start()
    try:
        typer.echo(f"exchange listens on {server.url}")
        pinned = ["--exchange-ca", str(server.ca_file)] if tls else []
        words = ["--exchange", server.url, *pinned, "--exchange-admin", str(server.admin_file)]
        names = "--clusterset NAME --cluster-id NAME --region NAME"
        typer.echo(f"next: federation init {names} {shlex.join(words)}")
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            server.check()
    finally:
        server.stop()
