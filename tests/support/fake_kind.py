"""A host with fakes of docker, kind, kubectl and our own commands, for tests of `federation kind`.

They are found on PATH like the real ones. What they do is done in the test's process, which is quick, or by a process
each, with ``in_processes``.
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from controllers.dns.corefile_edit import with_forward
from federation.app.kind.commands import Command, Ended
from federation.model.addresses import HostPort
from support import fake_kind_program
from support.corefiles import KUBEADM

PROGRAM = Path(fake_kind_program.__file__)
PROGRAMS = ("docker", "kind", "kubectl", "federation")
VERSIONS = {"docker": "28.2.2", "kind": "v0.30.0", "kubectl": "v1.34.1"}
CONFIGS = Path(__file__).parents[2] / "kind-configs"


def first_state() -> dict[str, Any]:
    """No cluster, no image, and room for all."""
    return {
        "engine": True,
        "versions": dict(VERSIONS),
        "memory": 64 * 1024**3,
        "images": {},
        "built": "sha256:0123456789abcdef",
        "clusters": {},
        "nodes": {"east": 3, "west": 2, "north": 2},
        "exported": [],
        "tokens": [],
        "forwarding": with_forward(KUBEADM, HostPort("10.96.0.20", 53)),
        # Parts of command lines that fail.
        "broken": [],
        # The cluster whose API does not answer.
        "silent": "",
        # Whether docker's ids of images are others than the nodes'.
        "containerd": False,
        # How many commands find nobody who leads.
        "leaderless": 0,
        # How many calls of the sample get no answer.
        "deaf": 0,
    }


class FakeKind:
    """The host. What the fakes know is ``state``, what they were asked ``log``: command lines with standard input."""

    def __init__(self, directory: Path) -> None:
        self.state = first_state()
        self.log: list[tuple[str, str]] = []
        self.checkout = directory
        self._directory = directory
        self._bin = directory / "bin"
        self._bin.mkdir(parents=True)
        for program in PROGRAMS:
            path = self._bin / program
            path.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {PROGRAM} {directory} {program} "$@"\n')
            path.chmod(0o755)

    def install(self, patch: pytest.MonkeyPatch, *, in_processes: bool = False) -> None:
        """Be what is found on PATH, and nothing else."""
        patch.setenv("PATH", str(self._bin))
        patch.setattr("federation.cli.kind.OWN", ("federation",))
        if in_processes:
            (self._directory / "state.json").write_text(json.dumps(self.state))
        else:
            patch.setattr("federation.app.kind.programs.execute", self.execute)

    def read_back(self) -> None:
        """What came of it in processes."""
        self.state = json.loads((self._directory / "state.json").read_text())
        lines = (self._directory / "log.jsonl").read_text().splitlines()
        self.log = [(" ".join(words), stdin) for words, stdin in map(json.loads, lines)]

    def remove(self, program: str) -> None:
        (self._bin / program).unlink()

    def asked(self, *parts: str) -> list[str]:
        """Command lines that have all these parts."""
        return [line for line, _ in self.log if all(part in line for part in parts)]

    async def execute(self, program: str, command: Command) -> Ended:
        """What a program does, in this process."""
        await asyncio.sleep(0)
        name, words = Path(program).name, list(command.words[1:])
        self.log.append((" ".join([name, *words]), command.stdin))
        code, out, err = 0, io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                fake_kind_program.answer(self.state, name, words, command.stdin)
            except SystemExit as ended:
                code = int(str(ended.code))
        return Ended(code, out.getvalue(), err.getvalue())
