"""The command line as its users see it: help texts, what `translate` prints of directories, errors and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import typer.main
from msgspec import field

from federation.cli.main import app, run
from support.golden import StrictInput, cases, check_golden, name, read_input

ROOT = Path(__file__).parent / "cli"


class Input(StrictInput):
    command: tuple[str, ...]
    files: dict[str, str] = field(default_factory=dict)
    """Text by path; the command runs where they are."""


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A command sets up logging for its process; here that process goes on."""
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("case", cases(ROOT), ids=name)
def test_cli(
    case: Path,
    update_golden: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command prints what it should on each stream, and exits with the code that it should."""
    given = read_input(case, Input)
    for path, text in given.files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["federation", *given.command])
    with pytest.raises(SystemExit) as ended:
        run()
    streams = {
        file: text.replace(str(tmp_path), "<here>")
        for file, text in zip(("stdout.txt", "stderr.txt"), capsys.readouterr(), strict=True)
        if text
    }
    check_golden(case, {**streams, "exit-code.txt": f"{ended.value.code}\n"}, update=update_golden)


def test_every_command_has_its_help_held() -> None:
    """A new command comes with a case of its --help; one that nobody is to call is in no list of commands."""
    held = {tuple(read_input(case, Input).command) for case in cases(ROOT)}
    assert [words for words in _commands(typer.main.get_command(app)) if (*words, "--help") not in held] == []


def _commands(command: object, *above: str) -> Iterator[tuple[str, ...]]:
    yield above
    for name_, child in getattr(command, "commands", {}).items():
        if child.hidden:
            continue
        yield from _commands(child, *above, name_)
