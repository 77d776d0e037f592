"""`federation rotate`: replace keys without an outage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from federation.cli.cluster_command import on_cluster
from federation.cli.owner import ask
from federation.cli.processes import Directory
from federation.model.names import key_name

app = typer.Typer(help="Replace keys without an outage.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command("ca")
@on_cluster
def rotate_ca(
    directory: Directory = Path(),
    *,
    now: Annotated[bool, typer.Option("--now", help="Wait for the peers' word alone, and for the end.")] = False,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="With --now: how long to wait.")] = 120.0,
) -> None:
    """Replace the cluster's CA.

    The next one is published first, then signs; the old one stays until nothing needs it. No call fails meanwhile.
    Without --now it signs once it has been published for ca.propagation and no living peer lacks it; with --now, as
    soon as every living peer says that it verifies by it. Ctrl-C ends the waiting, not the rotation.

    \b
    Examples:
      federation rotate ca --dir clusters/us-east
      federation rotate ca --now --dir clusters/us-east
    """
    if not now:
        ask(directory, "/v1/rotations/ca", dict[str, object], method="POST")
        typer.echo("rotation of the CA begun; `federation trust show` tells how far it is")
        return
    from federation.cli.trust_progress import signing_of, trust_of, wait_until  # noqa: PLC0415 - much comes with it

    before = signing_of(trust_of(directory))
    ask(directory, "/v1/rotations/ca?now=true", dict[str, object], method="POST")
    report = wait_until(directory, lambda report: signing_of(report) not in {before, ""}, timeout)
    typer.echo(f"CA {signing_of(report)} signs, bundle {report.domains[0].sequence}")


@app.command("member-key")
@on_cluster
def rotate_member_key(
    directory: Directory = Path(),
    *,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait for the authority.")] = 60.0,
) -> None:
    """Replace the key that signs what this cluster publishes.

    The running controller makes the new one and has the old one vouch for it; the authority puts it into the roster,
    and the old one is believed for some minutes more. Nothing has to join again, no call fails. Ctrl-C ends the
    waiting, not the rotation.

    \b
    Example:
      federation rotate member-key --dir clusters/us-west
    """
    from federation.cli.member_key_progress import replaced_key  # noqa: PLC0415 - brings what a report is made of

    typer.echo(f"member key {replaced_key(directory, timeout)} signs")


@app.command("authority")
@on_cluster
def rotate_authority(directory: Directory = Path()) -> None:
    """Replace the key of the clusterset's authority; run where the authority is.

    The old key hands over to the new one in the roster, and is destroyed: no cluster has to join again. Tokens that
    are not used yet stay good.

    \b
    Example:
      federation rotate authority --dir clusters/us-east
    """
    import asyncio  # noqa: PLC0415 - as above

    from federation.app.admissions import opened_authority  # noqa: PLC0415
    from federation.app.sites import load_cluster  # noqa: PLC0415

    async def run() -> bytes:
        async with opened_authority(load_cluster(directory)) as (authority, _):
            return await authority.rotate_key()

    typer.echo(f"authority has the key {key_name(asyncio.run(run()))}")
