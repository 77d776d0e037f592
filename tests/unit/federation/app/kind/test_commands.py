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
KIT = Kit(Path("/private"), ("federation",))
OURS = [
    KIT.install(WEST),
    KIT.init(EAST, "kind"),
    KIT.token(EAST, WEST),
    KIT.join(WEST, "s3cret"),
    KIT.dns_install(WEST),
]


@pytest.mark.parametrize("command", OURS, ids=lambda command: command.told)
def test_our_own_commands_exist(command: Command) -> None:
    """As `federation` parses them, with every option."""
    result = CliRunner().invoke(app, [*command.words[1:], "--help"])
    assert result.exit_code == 0, result.output


def test_our_own_commands_name_their_cluster() -> None:
    """By a kubeconfig that has no other; messages show the command as a user would give it."""
    assert [command.told for command in OURS[:2]] == [
        "federation install --context kind-west",
        "federation init --context kind-east",
    ]
    assert "--kubeconfig /private/west.kubeconfig --context kind-west" in " ".join(OURS[0].words)


def test_a_token_is_on_no_command_line() -> None:
    """Nor in what is shown of a command."""
    command = KIT.join(WEST, "s3cret")
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
