"""Printing: tables, data, errors; and nothing that steers a terminal."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
import pytest
import yaml

from federation.cli.output import DataFormat, data_text, printable, table_lines, tell
from federation.model.errors import ConfigError, FederationError


class Sample(msgspec.Struct, rename="camel"):
    last_seen: datetime
    names: tuple[str, ...]


SAMPLE = Sample(datetime(2026, 1, 1, tzinfo=UTC), ("ä", "no"))
PLAIN = {"lastSeen": "2026-01-01T00:00:00Z", "names": ["ä", "no"]}


@pytest.mark.parametrize(("output", "read"), [(DataFormat.JSON, json.loads), (DataFormat.YAML, yaml.safe_load)])
def test_data_can_be_read_back(output: DataFormat, read: object) -> None:
    """JSON and YAML hold the same, field names in camelCase, and a text stays a text."""
    assert callable(read)
    assert read(data_text(SAMPLE, output)) == PLAIN


def test_columns_are_as_wide_as_they_need() -> None:
    """Headers in upper case, cells below each other, no trailing blanks."""
    assert table_lines(["name", "state"], [["us-east", "Live"], ["eu", ""]]) == [
        "NAME      STATE",
        "us-east   Live",
        "eu",
    ]


def test_nothing_is_cut_and_a_long_cell_moves_its_own_row_only() -> None:
    """A name of 200 characters is printed whole and leaves the other rows as narrow as they were."""
    long = "x" * 200
    assert table_lines(["name", "state"], [[long, "Live"], ["eu", "Live"]]) == [
        "NAME   STATE",
        f"{long}   Live",
        "eu     Live",
    ]


def test_control_characters_are_spelt_out() -> None:
    """What a peer or an Envoy says can't move the cursor, colour the terminal or begin a line."""
    assert printable("a\x1b[31mb\nc\u202ed ü") == "a\\x1b[31mb\\nc\\u202ed ü"


def test_an_error_is_told_with_its_hint_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output stays clean for programs."""
    tell(FederationError("redis refused", hint="is it running?"))
    assert capsys.readouterr() == ("", "error: redis refused\nhint: is it running?\n")


def test_every_violation_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Violations get a line each, although the message repeats them."""
    broken = ["a: is required", "b: is no key"]
    tell(ConfigError(f"cluster.yaml: unusable: {'; '.join(broken)}", violations=broken))
    assert capsys.readouterr().err == "error: cluster.yaml: unusable\n  a: is required\n  b: is no key\n"
