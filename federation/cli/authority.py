"""`federation authority`: keeping the clusterset's authority."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federation.cli.cluster_command import on_cluster
from federation.cli.processes import Directory
from federation.model.errors import ConfigError
from federation.model.names import key_name

if TYPE_CHECKING:
    from federation.membership.adoption import Adoption
    from federation.membership.roster import Roster, RosterMember

app = typer.Typer(help="Keep the clusterset's authority; run where it is.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command()
@on_cluster
def adopt(
    directory: Directory = Path(),
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask whether those who come and go are right.")] = False,
) -> None:
    """Go on with the roster in the exchange, after authority/ was restored from a backup.

    Shows who comes and who goes, and asks. Whoever controls the exchange can show an older roster than the newest, with
    a member in it that was evicted: compare it with what you know. All tokens of the backup that were not used before
    it are revoked. Refused where the exchange holds nothing newer that this authority's key has signed. Make sure that
    no other copy of authority/ is in use.

    \b
    Examples:
      federation authority adopt --dir clusters/us-east
      federation authority adopt --yes --dir clusters/us-east
    """
    from federation.app.admissions import opened_authority  # noqa: PLC0415 - brings redis
    from federation.app.sites import load_cluster  # noqa: PLC0415

    async def run() -> Roster:
        async with opened_authority(load_cluster(directory)) as (authority, _):
            adoption = await authority.adoption()
            for line in adoption_lines(adoption):
                typer.echo(line)
            if not yes:
                _ask()
            return await authority.adopt(adoption)

    roster = asyncio.run(run())
    typer.echo(f"the authority goes on with roster {roster.serial}: {len(roster.members)} members")


def adoption_lines(adoption: Adoption) -> Iterator[str]:
    """What somebody has to know before it is done."""
    yield f"the exchange holds roster {adoption.roster.serial}: {len(adoption.roster.members)} members"
    for word, members in (("comes", adoption.coming), ("goes", adoption.going), ("changed", adoption.changed)):
        for member in members:
            yield f"{word:<9}{_shown(member)}"
    for token in adoption.tokens:
        yield f"revoked  token {token.id} for {token.cluster}"


def _shown(member: RosterMember) -> str:
    key = key_name(member.public_key)
    return f"{member.cluster}, {member.trust_domain}, key {key}, admitted {member.admitted_at:%Y-%m-%d %H:%M:%SZ}"


def _ask() -> None:
    """Raises ConfigError where nobody can be asked, and typer.Abort where the answer is no."""
    if not _is_asked():
        raise ConfigError(
            "nobody can be asked whether this is right: there is no terminal",
            hint="look at who comes and goes, then give --yes",
        )
    typer.confirm("Go on with this roster?", abort=True)


def _is_asked() -> bool:
    """Whether there is a person to ask."""
    return sys.stdin.isatty()
