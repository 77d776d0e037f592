"""`federation in-pod`: takes a command of an operator's, in the pod of the controller that leads."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import Callable
from typing import Final

import typer

from federation.cli.processes import Directory
from federation.model.errors import ConfigError

IN_POD: Final = "in-pod"


def in_pod_of(run: Callable[[list[str]], None]) -> Callable[[Directory], None]:
    """The command that has ``run`` carry out the words that it is given."""

    def in_pod(directory: Directory) -> None:
        """Take one command by the standard input and run it on the cluster's directory; `--context` calls it."""
        from federation.app.kube.keeping import wait_kept  # noqa: PLC0415
        from federation.app.kube.remote import laid_out, read_invocation  # noqa: PLC0415
        from federation.app.kube.shared_state import shared_files  # noqa: PLC0415

        invocation = read_invocation(sys.stdin)
        if not invocation.words or invocation.words[0].startswith("-") or invocation.words[0] == IN_POD:
            raise ConfigError("what came is no command", hint="this is run by `federation … --context`, not by hand")
        os.environ["COLUMNS"] = str(invocation.columns)
        if not invocation.colors:
            os.environ["NO_COLOR"] = "1"
        sys.stdin = io.StringIO(invocation.given)
        before = shared_files(directory)
        with laid_out(invocation) as words:
            _carry_out(run, [*words, "--dir", str(directory)])
        # What was made here goes with the pod until all controllers have it: it is no success before.
        asyncio.run(wait_kept(directory, before))
        raise typer.Exit

    return in_pod


def _carry_out(run: Callable[[list[str]], None], words: list[str]) -> None:
    """Return where the command ends well, as a program ends or as a function does."""
    try:
        run(words)
    except SystemExit as ended:
        if ended.code:
            raise
