"""What the committed text says: nothing of one machine or one registry, and only commands that exist."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import click
import pytest
import typer.main

from federation.cli.main import app

ROOT = Path(__file__).parents[2]

# Spelt in parts: this file is committed too.
REGISTRIES = re.compile(
    "|".join(["py" + r"pi\.(org|python)", "python" + "hosted", "npm" + r"js\.", "deb" + r"\.debian"])
)
ONE_MACHINE = re.compile(r"(?<![\w.~}/-])/" + r"(work|root|home|Users)/\w")

FENCE = re.compile(r"^```(?:sh|bash|shell|console)\n(?P<body>.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+)`")
END_OF_COMMAND = {"|", "||", "&", "&&", ";", ">", ">>", "<", "2>", "2>&1"}


def committed() -> Iterator[tuple[str, str]]:
    """Name and text of every committed text file."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file():
            yield name, path.read_text(errors="replace")


def documents() -> list[Path]:
    return [path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")] if path.is_file()]


def shell_lines(text: str) -> list[str]:
    """The commands in a document's shell blocks, one a line, without prompt."""
    blocks = (match["body"].replace("\\\n", " ") for match in FENCE.finditer(text))
    return [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]


def words_of(line: str) -> list[str]:
    """The words of a shell line's first command, up to a pipe, a redirection or the next command."""
    return list(takewhile(lambda word: word not in END_OF_COMMAND, shlex.split(line, comments=True)))


def commands(text: str) -> list[list[str]]:
    """Every command of a document: from its shell blocks, and between backquotes in its sentences."""
    lines = [*shell_lines(text), *INLINE.findall(FENCE.sub("", text))]
    return [words_of(line) for line in lines if line.startswith(("make ", "federation ", ".venv/bin/federation "))]


def told(program: str) -> Iterator[tuple[str, list[str]]]:
    for document in documents():
        for words in commands(document.read_text()):
            if words[0].removeprefix(".venv/bin/") == program:
                yield document.name, words[1:]


def refusal(command: click.Command, words: list[str], context: click.Context | None = None) -> str | None:
    """Why the command line is not one of ours; None for one that is. Placeholders like <name> stand for any value."""
    context = click.Context(command, parent=context)
    try:
        _, rest, _ = command.make_parser(context).parse_args(list(words))
    except click.UsageError as error:
        return error.format_message()
    if not isinstance(command, click.Group) or not rest:
        return None
    child = command.get_command(context, rest[0])
    return f"no command {rest[0]}" if child is None else refusal(child, rest[1:], context)


def test_no_committed_file_names_a_registry() -> None:
    """Where packages come from is the configuration of the machine that installs them."""
    assert [name for name, text in committed() if REGISTRIES.search(text)] == []


def test_no_committed_file_names_a_place_on_one_machine() -> None:
    """Paths are relative to the checkout, or found at run time."""
    assert [name for name, text in committed() if ONE_MACHINE.search(text)] == []


def test_every_make_target_that_is_told_exists() -> None:
    """README and docs name no target that the Makefile lacks."""
    rules = re.findall(r"^([a-z][a-z -]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    targets = {target for rule in rules for target in rule.split()}
    named = [(name, word) for name, words in told("make") for word in words if "=" not in word]

    assert {"demo", "test", "help"} <= targets
    assert [(name, word) for name, word in named if word not in targets] == []


def test_every_command_that_is_told_parses() -> None:
    """README and docs show no `federation` command, nor an option, that the program does not know."""
    program = typer.main.get_command(app)
    refused = [(name, " ".join(words), refusal(program, words)) for name, words in told("federation")]

    assert [(name, line, reason) for name, line, reason in refused if reason is not None] == []


def test_commands_are_found_in_blocks_and_in_sentences() -> None:
    """The reader of documents sees blocks, continued lines and backquotes, and stops at a pipe."""
    text = "Say `make test`.\n```sh\n$ federation status \\\n  --json | head\nls\n```\n"
    assert commands(text) == [["federation", "status", "--json"], ["make", "test"]]


def test_a_command_with_an_unknown_option_is_refused() -> None:
    """The check of commands can fail: an unknown option or command is named, also below a group."""
    group = click.Group(
        "federation", commands=[click.Command("status", params=[click.Option(["--json"], is_flag=True)])]
    )

    assert refusal(group, ["status", "--json"]) is None
    assert "--yaml" in str(refusal(group, ["status", "--yaml"]))
    assert refusal(group, ["stats"]) == "no command stats"


def test_fragments_of_the_changelog_are_named_by_kind() -> None:
    """A fragment is <number or name>.<kind>.md with one of the four kinds, and says something."""
    fragments = [path for path in (ROOT / "changes").iterdir() if path.name != "README.md"]
    named = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\.(added|changed|fixed|removed)\.md")
    assert [path.name for path in fragments if not named.fullmatch(path.name) or not path.read_text().strip()] == []


def test_decisions_are_numbered_without_gaps() -> None:
    """Decision records count from 000 (the template), each number once, and begin with their own number."""
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    numbers = [path.name[:3] for path in records]

    assert numbers == [f"{number:03}" for number in range(len(records))]
    assert [path.name for path in records[1:] if not path.read_text().startswith(f"# {path.name[:3]}: ")] == []
