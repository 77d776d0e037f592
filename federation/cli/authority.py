"""`federation authority`: keeping the clusterset's authority."""

from __future__ import annotations

import asyncio
from pathlib import Path

import typer

from federation.cli.processes import Directory

app = typer.Typer(help="Keep the clusterset's authority; run where it is.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command()
def adopt(directory: Directory = Path()) -> None:
    """Go on with the roster in the exchange, after authority/ was restored from a backup.

    Clusters that joined or were evicted since the backup are then as they were. Refused where the exchange holds
    nothing that this authority's key has signed. Make sure that no other copy of authority/ is in use.

    \b
    Example:
      federation authority adopt --dir clusters/us-east
    """
    from federation.app.admissions import opened_authority  # noqa: PLC0415 - brings redis
    from federation.app.sites import load_cluster  # noqa: PLC0415
    from federation.membership.roster import Roster  # noqa: PLC0415

    async def run() -> Roster:
        async with opened_authority(load_cluster(directory)) as (authority, _):
            return await authority.adopt()

    roster = asyncio.run(run())
    typer.echo(f"the authority goes on with roster {roster.serial}: {len(roster.members)} members")
