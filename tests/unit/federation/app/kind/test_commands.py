"""The command lines: where they run, what they name, and what they keep to themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from federation.app.kind.commands import Command, Ended, Kit, create
from federation.app.kind.topology import load_topology
from federation.cli.main import app
from support.fake_kind import CONFIGS

TOPOLOGY = load_topology(CONFIGS)
EAST, WEST = TOPOLOGY.clusters[:2]
KIT = Kit(Path("/private"), "1000:1000")
OURS = [
    KIT.install("image", WEST),
    KIT.init("image", EAST, "kind"),
    KIT.token("image", EAST, WEST),
    KIT.join("image", WEST, "s3cret"),
    KIT.dns_install("image", WEST),
]


def words_of_ours(command: Command) -> list[str]:
    return list(command.words[command.words.index("image") + 1 :])


@pytest.mark.parametrize("command", OURS[1:], ids=lambda command: " ".join(words_of_ours(command)[:2]))
def test_our_own_commands_exist(command: Command) -> None:
    """As `federation` parses them, with every option."""
    result = CliRunner().invoke(app, [*words_of_ours(command), "--help"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("command", OURS, ids=lambda command: " ".join(words_of_ours(command)[:2]))
def test_our_own_commands_run_where_names_of_containers_resolve(command: Command) -> None:
    """On docker's network, as the user, with the run's files read only, and gone when they end."""
    line = " ".join(command.words)
    assert line.startswith("docker run --rm --interactive --network kind --user 1000:1000 --volume /private:/work:ro,z")
    assert "/private" not in " ".join(words_of_ours(command))


def test_a_token_is_on_no_command_line() -> None:
    """Nor in what is shown of a command."""
    command = KIT.join("image", WEST, "s3cret")
    assert (command.stdin, "s3cret" in repr(command)) == ("s3cret", False)


def test_clusters_have_kubeconfigs_of_their_own_while_they_are_made() -> None:
    """kind locks the user's, and gives up where it is locked."""
    command = create(WEST, KIT.kubeconfig(WEST), "kindest/node:v1.34.0")
    assert command.words[-2:] == ("--image", "kindest/node:v1.34.0")
    assert command.words[command.words.index("--kubeconfig") + 1] == "/private/west.kubeconfig"


def test_the_last_lines_are_evidence() -> None:
    """Of the error output, or of the other where there is none."""
    assert Ended(1, "out", "a\nb  \n").last_lines == "a\nb"
    assert Ended(1, "out\n", "").last_lines == "out"
