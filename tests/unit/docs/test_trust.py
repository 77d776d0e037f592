"""docs/trust.md speaks of commands, metrics and bounds as they are."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import typer.main

from federation.app.trust import HANDOVER_BOUND
from federation.cli.main import app
from trustbundle.rotation import ACKNOWLEDGE_BOUND, CLOCK_SKEW, REISSUE_BOUND

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "trust.md").read_text()


def test_every_command_exists() -> None:
    """Each line of a block of commands is one of the program's, with options that it has."""
    lines = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    assert len(lines) == 6
    for line in lines:
        _, *words = line.split()
        command = typer.main.get_command(app)
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= options


def test_every_metric_exists() -> None:
    """The page names none that the reference does not."""
    named = set(re.findall(r"`(federation_\w+)`", PAGE))
    assert named - set(re.findall(r"`(federation_\w+)`", (DOCS / "reference" / "metrics.md").read_text())) == set()
    assert len(named) == 4


def test_the_bounds_are_those_of_the_program() -> None:
    """Seconds that the page promises."""
    seconds = timedelta(seconds=1)
    assert [10 * seconds, 15 * seconds] == [CLOCK_SKEW, HANDOVER_BOUND]
    assert ACKNOWLEDGE_BOUND == REISSUE_BOUND == 60 * seconds
    assert all(words in PAGE for words in ("and 10 s more", "for 15 s at the most", "or 60 s after it was published"))
    assert "or 60 s after it stopped signing" in PAGE
