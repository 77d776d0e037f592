"""Child processes of a test: a group of their own, so that a program and the Envoy that it supervises stop, freeze
and die together, and none outlives the test.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import federation

REPOSITORY = Path(federation.__file__).parents[1]
STOP_SECONDS = 10.0


def eventually(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Wait until the condition holds; an OSError or a ValueError counts as "not yet"."""
    deadline = time.monotonic() + seconds
    reason = ""
    while time.monotonic() < deadline:
        try:
            if condition():
                return
            reason = "it does not hold"
        except (OSError, ValueError) as error:
            reason = repr(error)
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {seconds:g} s ({reason})")


def python_environment() -> dict[str, str]:
    """For a Python of ours: it finds the packages under test and ``support``, whatever its working directory."""
    path = [str(REPOSITORY), str(REPOSITORY / "tests"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in path if part)}


def federation_command(*arguments: str) -> list[str]:
    """The command line, as a process of its own."""
    return [sys.executable, "-P", "-m", "federation.cli.main", *arguments]


class Child:
    """One program, started as often as the test likes. Started from the main thread: it dies with its starter."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._environment = dict(environment) if environment is not None else python_environment()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        assert not self.running, f"{self.name} runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - takes no lock
            )

    def terminate(self, seconds: float = STOP_SECONDS) -> int:
        """Ask for a clean end with SIGTERM, sent to the program alone; returns its exit code."""
        os.kill(self.pid, signal.SIGTERM)
        assert self._process is not None
        return self._process.wait(seconds)

    def kill(self) -> None:
        """kill -9 of the program and all that it has started."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(STOP_SECONDS)

    def freeze(self) -> None:
        """Stop the program and what it started; returns when every thread of theirs stands still."""
        self._signal(signal.SIGSTOP)
        eventually(lambda: all(map(_stands, self._group())), f"{self.name} stands still")

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def group_is_empty(self) -> bool:
        """Whether neither the program nor anything that it started is left."""
        return not self._group()

    def _group(self) -> list[int]:
        return [pid for pid, _, group in _processes() if group == self.pid]

    def child(self, name: str) -> int:
        """Process id of the program's own child of that name."""
        found = [pid for pid, parent, _ in _processes() if parent == self.pid and _command_name(pid) == name]
        if not found:
            raise ValueError(f"{self.name} has no child {name}")
        return found[0]

    def end(self) -> None:
        """Whatever its state: end it, politely first (SIGINT, on which nobody is told to call others)."""
        if self._process is None:
            return
        self.thaw()
        if self.running:
            os.kill(self.pid, signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        self.kill()

    def words(self) -> str:
        """The end of its log, for the message of a failure."""
        return self.log.read_text(errors="replace")[-2000:]

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)


# Loaded before any fork: a child of a process with threads may do no more than a system call.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _processes() -> list[tuple[int, int, int]]:
    """All living processes: id, parent, group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                # The command, in parentheses, may hold anything.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    found.append((int(entry.name), int(fields[1]), int(fields[2])))
    return found


def _stands(pid: int) -> bool:
    """Whether a process is stopped, or gone."""
    states = []
    with suppress(OSError):
        for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
            with suppress(OSError):
                states.append(stat.read_text().rpartition(")")[2].split()[0])
    return all(state in {"T", "t", "Z", "X"} for state in states)


def _command_name(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""
