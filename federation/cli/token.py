"""`federation token`: the tokens that clusters join with, made and kept where the authority is."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from federation.cli.cluster_command import on_cluster
from federation.cli.output import DataFormat, Format, data_text, table_lines
from federation.cli.processes import Directory
from federation.cli.views import Output
from federation.model.durations import parse_duration
from federation.model.errors import ConfigError
from federation.model.names import ClusterId

app = typer.Typer(help="Tokens that clusters join with; run where the authority is.", no_args_is_help=True)


@app.command()
@on_cluster
def create(
    cluster: Annotated[str, typer.Option(metavar="NAME", help="The only cluster that may join with it.")],
    directory: Directory = Path(),
    ttl: Annotated[
        str, typer.Option(metavar="DURATION", help="How long it is good, as 15m or 1h; at most 24h.")
    ] = "15m",
    exchange_credentials: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="USER:PASSWORD made by hand for the cluster in a managed exchange."),
    ] = None,
) -> None:
    """Make a token and print it.

    It is good once, for one cluster, and until its time is up. Whoever has it can join as that cluster: send it as you
    would send a password.

    \b
    Example:
      federation token create --dir clusters/us-east --cluster us-west --ttl 15m
    """
    from federation.app.admissions import opened_authority  # noqa: PLC0415 - here and below: brings redis
    from federation.app.sites import from_outside, load_cluster  # noqa: PLC0415
    from federation.exchange.credentials import load_credentials  # noqa: PLC0415

    life = _ttl(ttl)
    access = load_credentials(exchange_credentials) if exchange_credentials is not None else None

    async def run() -> str:
        async with opened_authority(load_cluster(directory)) as (authority, _):
            return await authority.offer(ClusterId(cluster), life, access)

    token = asyncio.run(run())
    typer.echo(token)
    told = f"for cluster {cluster}, within {ttl}: federation join --token-file FILE --region NAME"
    typer.echo(f"{told}, in Kubernetes with its own --context" if from_outside(directory) else told, err=True)


@app.command("list")
@on_cluster
def list_tokens(directory: Directory = Path(), output: Output = Format.TABLE) -> None:
    """List the tokens of the last days, and what became of them. No secret is shown.

    \b
    Example:
      federation token list --dir clusters/us-east
    """
    from federation.app.clock import utc_now  # noqa: PLC0415
    from federation.app.sites import load_cluster  # noqa: PLC0415
    from federation.membership.authority_store import AuthorityStore  # noqa: PLC0415

    ledger = AuthorityStore(load_cluster(directory).authority_directory).read()
    now = utc_now()
    match output:
        case Format.JSON | Format.YAML:
            rows = [
                {
                    "id": token.id,
                    "cluster": token.cluster,
                    "state": token.state(now),
                    "createdAt": token.created_at,
                    "expiresAt": token.expires_at,
                }
                for token in ledger.tokens
            ]
            typer.echo(data_text(rows, DataFormat(output.value)))
        case Format.TABLE | Format.WIDE:
            table = [
                (
                    token.id,
                    token.cluster,
                    token.state(now),
                    f"{token.created_at:%Y-%m-%d %H:%M:%SZ}",
                    f"{token.expires_at:%Y-%m-%d %H:%M:%SZ}",
                )
                for token in ledger.tokens
            ]
            for line in table_lines(("id", "cluster", "state", "created", "expires"), table):
                typer.echo(line)


@app.command()
@on_cluster
def revoke(
    token: Annotated[str, typer.Argument(metavar="ID", help="As `federation token list` shows it.")],
    directory: Directory = Path(),
) -> None:
    """Make a token useless that was not used yet.

    \b
    Example:
      federation token revoke 3f9ac01b77 --dir clusters/us-east
    """
    from federation.app.admissions import opened_authority  # noqa: PLC0415
    from federation.app.sites import load_cluster  # noqa: PLC0415

    async def run() -> str:
        async with opened_authority(load_cluster(directory)) as (authority, _):
            return (await authority.revoke(token)).cluster

    typer.echo(f"token {token} for cluster {asyncio.run(run())} is revoked")


def _ttl(text: str) -> timedelta:
    from federation.membership.admission import MAX_TTL  # noqa: PLC0415

    try:
        ttl = parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"--ttl {error}", hint="for instance 15m") from None
    if not timedelta(0) < ttl <= MAX_TTL:
        raise ConfigError(f"--ttl {text} is not within 24h", hint="make the token when it is needed, it takes a second")
    return ttl
