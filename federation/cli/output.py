"""Printing: tables for people, JSON and YAML for programs, and errors that name the next step."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import NoReturn

import msgspec
import typer
import yaml
from rich.console import Console
from rich.table import Table

from federation.model.errors import ConfigError, FederationError


class Format(StrEnum):
    """How a view is printed."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


def console() -> Console:
    """Standard output; colours only on a terminal, and tables as wide as they need where nobody measures."""
    return Console(width=None if sys.stdout.isatty() else 200, highlight=False)


def print_data(value: object, output: Format) -> None:
    """A view as JSON or YAML."""
    plain = msgspec.to_builtins(value)
    if output is Format.JSON:
        typer.echo(json.dumps(plain, indent=2))
    else:
        typer.echo(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), nl=False)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table in kubectl's manner: upper-case headers, no frame."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for header in headers:
        table.add_column(header.upper(), no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console().print(table)


def fail(error: FederationError) -> NoReturn:
    """Say what is wrong and what to do, on standard error, and exit with the error's code."""
    typer.echo(f"error: {error}", err=True)
    for violation in error.violations if isinstance(error, ConfigError) else ():
        typer.echo(f"  {violation}", err=True)
    if error.hint:
        typer.echo(f"hint: {error.hint}", err=True)
    raise typer.Exit(error.exit_code)
