"""What the committed text says: nothing of one machine or one registry, and only commands that exist."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

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


def commands(lines: Iterable[str], *programs: str) -> list[list[str]]:
    return [words_of(line) for line in lines if line.startswith(tuple(f"{program} " for program in programs))]


def make_commands(text: str) -> list[list[str]]:
    """From the shell blocks of a document, and from between the backquotes of its sentences."""
    return commands([*shell_lines(text), *INLINE.findall(FENCE.sub("", text))], "make")


def federation_commands(text: str) -> list[list[str]]:
    """From the shell blocks alone: a sentence may speak of what is to come."""
    return commands(shell_lines(text), "federation", ".venv/bin/federation")


def refusal(program: typer.Typer, words: list[str]) -> str | None:
    """Why a command line is none of the program's, None for one that is: help is asked for after all is parsed."""
    result = CliRunner().invoke(program, [*words, "--help"])
    return None if result.exit_code == 0 else result.output.strip()


def test_no_committed_file_names_a_registry() -> None:
    """Where packages come from is the configuration of the machine that installs them."""
    assert [name for name, text in committed() if REGISTRIES.search(text)] == []


def test_no_committed_file_names_a_place_on_one_machine() -> None:
    """Paths are relative to the checkout, or found at run time."""
    assert [name for name, text in committed() if ONE_MACHINE.search(text)] == []


def test_every_make_target_that_is_told_exists() -> None:
    """README and docs name no target that the Makefile lacks."""
    rules = re.findall(r"^([a-z][a-z0-9 -]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    targets = {target for rule in rules for target in rule.split()}
    named = [
        (document.name, word)
        for document in documents()
        for words in make_commands(document.read_text())
        for word in words[1:]
        if "=" not in word
    ]

    assert {"demo", "test", "help"} <= targets
    assert [(name, word) for name, word in named if word not in targets] == []


def test_every_command_that_is_told_parses() -> None:
    """README and docs show no `federation` command, nor an option, that the program does not know."""
    told = [(document.name, words) for document in documents() for words in federation_commands(document.read_text())]
    reasons = [(name, " ".join(words), refusal(app, words[1:])) for name, words in told]

    assert told != []
    assert [(name, line, reason) for name, line, reason in reasons if reason is not None] == []


def test_commands_are_found_in_blocks_and_in_sentences() -> None:
    """The reader of documents sees blocks, continued lines and backquotes, and stops at a pipe."""
    text = "Say `make test`.\n```sh\nmake demo\n$ federation status \\\n  --json | head\nls\n```\n"

    assert make_commands(text) == [["make", "demo"], ["make", "test"]]
    assert federation_commands(text) == [["federation", "status", "--json"]]


@pytest.mark.parametrize("words", [["stats"], ["status", "--yaml"], ["credentials", "teleport"]])
def test_a_command_that_does_not_exist_is_refused(words: list[str]) -> None:
    """The check of commands can fail: for an unknown command, option, or command below a group."""
    assert "No such" in str(refusal(app, words))


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
