"""`federation demo`: the product, on one machine, broken on purpose."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    *,
    keep: Annotated[
        bool, typer.Option("--keep", help="Stay up at the end and print URLs and commands to try, until Ctrl-C.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Write calls, failures and latencies of each phase as JSON."),
    ] = None,
    no_chaos: Annotated[bool, typer.Option("--no-chaos", help="Only show calls; break nothing.")] = False,
) -> None:
    """Run three clusters on this machine and break things.

    Sends calls across the clusters at a steady rate, and counts who noticed what was broken. Everything is real: a
    Redis, three controllers, three gateways and sidecars (Envoy), certificates, sockets. Takes under 90 seconds and
    leaves nothing behind. Exits with 1 if a call failed that should not have.

    \b
    Examples:
      federation demo
      federation demo --report demo.json
      federation demo --keep
    """
    from federation.demo.command import DemoOptions, run_demo  # noqa: PLC0415 - needs every part of the product

    raise typer.Exit(run_demo(DemoOptions(keep=keep, report=report, no_chaos=no_chaos)))
