"""Printing: tables for people, JSON and YAML for programs, and errors that name the next step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum

import msgspec
import typer
import yaml

from federation.model.errors import ConfigError, FederationError

# A cell that is longer moves its own row only, not every row of the table.
_WIDEST = 48


class Format(StrEnum):
    """How a view is printed."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


class DataFormat(StrEnum):
    """How data is printed that is no table."""

    JSON = "json"
    YAML = "yaml"


def data_text(value: object, output: DataFormat) -> str:
    """A value as JSON or YAML."""
    plain = msgspec.to_builtins(value)
    if output is DataFormat.JSON:
        return json.dumps(plain, indent=2)
    text: str = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    return text.rstrip("\n")


def table_lines(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in kubectl's manner: upper-case headers, no frame, nothing cut."""
    cells = [[header.upper() for header in headers], *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(cell) for cell in column if len(cell) <= _WIDEST) for column in zip(*cells, strict=True)]
    return ["   ".join(map(str.ljust, row, widths)).rstrip() for row in cells]


def printable(text: str) -> str:
    """Text of a peer or an Envoy on one line, with what could steer a terminal spelt out."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def tell(error: FederationError) -> None:
    """Say on standard error what is wrong, with every violation, and what to do."""
    message = str(error)
    if isinstance(error, ConfigError) and error.violations:
        # The message repeats the violations for those who have nothing else; here each gets a line.
        message = message.removesuffix("; ".join(error.violations)).rstrip(": ")
    typer.echo(f"error: {printable(message)}", err=True)
    for violation in error.violations if isinstance(error, ConfigError) else ():
        typer.echo(f"  {printable(violation)}", err=True)
    if error.hint:
        typer.echo(f"hint: {printable(error.hint)}", err=True)
