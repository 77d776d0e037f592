"""`federation check`: the preflight, one line for each check with its fix, printed as it is made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federation.cli.membership import token_text
from federation.cli.output import DataFormat, Format, data_text
from federation.cli.owner import ControllerUnavailableError, ask
from federation.cli.processes import Directory
from federation.cli.views import Output
from federation.model.errors import ConfigError

if TYPE_CHECKING:
    from controllers.checks import Check
    from controllers.status import StatusReport

_ASK_SECONDS = 1.0


def check(
    directory: Directory = Path(),
    token: Annotated[
        str | None,
        typer.Option(metavar="TOKEN", help="Check what a join with this token would need; it is not used up."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File that holds the token; - reads standard input.")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Check what a cluster needs to run.

    Files, membership, exchange, clock, versions, gateways, addresses. One line for each check, with the fix where one
    is needed; docs/troubleshooting.md explains every line. Takes a few seconds, changes nothing, and needs no running
    controller. Exits with 1 if a check failed.

    \b
    Examples:
      federation check --dir clusters/us-east
      federation check --dir clusters/us-west --token-file token
    """
    from controllers.checks import Level  # noqa: PLC0415 - most commands need none of it
    from federation.app.clock import utc_now  # noqa: PLC0415
    from federation.app.preflight import JoinPreflight, Preflight  # noqa: PLC0415

    if token is None and token_file is None:
        report, hangs = _report(directory)
        made = Preflight(directory, report, utc_now, hangs).checks()
    else:
        made = JoinPreflight(directory, token_text(token, token_file), utc_now).checks()
    checks = asyncio.run(_printed(made, lines=output in {Format.TABLE, Format.WIDE}))
    if output in {Format.JSON, Format.YAML}:
        typer.echo(data_text(checks, DataFormat(output.value)))
    if any(one.level is Level.FAILED for one in checks):
        raise typer.Exit(1)


async def _printed(made: AsyncIterator[Check], *, lines: bool) -> list[Check]:
    from federation.app.preflight_lines import WIDTH  # noqa: PLC0415 - as above
    from federation.cli.check_text import check_line  # noqa: PLC0415

    checks = []
    async for one in made:
        checks.append(one)
        if lines:
            typer.echo(check_line(one, WIDTH))
    return checks


def _report(directory: Path) -> tuple[StatusReport | None, bool]:
    """What the controller says, if one answers, and whether one is there that does not."""
    from controllers.status import StatusReport  # noqa: PLC0415 - as above

    try:
        return ask(directory, "/v1/status", StatusReport, timeout_seconds=_ASK_SECONDS), False
    except ControllerUnavailableError as error:
        return None, isinstance(error.__cause__, TimeoutError)
    except ConfigError:
        return None, False
