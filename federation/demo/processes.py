"""Child processes of the demo: each the leader of a process group that can be killed, frozen and thawed as a whole.

An edge. Whatever happens to the demo, nothing stays behind: ``Fleet.stop`` ends every group, and where the demo itself
is killed, Linux kills its children (and each supervisor's Envoy with it).
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from federation.app.programs import die_with_parent
from federation.model.errors import FederationError

POLL_SECONDS = 0.02
_STOP_SECONDS = 6.0
_KILL_SECONDS = 5.0
_LAST_WORDS = 12
_LONGEST_WORDS = 200


class ProcessDiedError(FederationError):
    """A process of ours ended that should have run; the message has its last line."""


class Child:
    """One started program and everything that it starts itself."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process
        self._gone = False

    @property
    def pid(self) -> int:
        """Process id of the leader, and id of the group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Of the leader, negative for the signal that ended it; None while it runs."""
        return self._process.poll()

    def check(self) -> None:
        """Raise ProcessDiedError if the leader has ended."""
        code = self.exit_code
        if code is not None:
            words = (self.last_words() or ["it said nothing"])[-1][:_LONGEST_WORDS]
            raise ProcessDiedError(f"{self.name} ended with {code}: {words}", hint=f"see {self.log}")

    def last_words(self) -> list[str]:
        """The end of the program's log."""
        try:
            return self.log.read_text(errors="replace").splitlines()[-_LAST_WORDS:]
        except OSError:
            return []

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the whole group."""
        if not self._gone:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def terminate(self) -> None:
        """Ask the leader to end; what it started is its own to end."""
        self.signal_group(signal.SIGCONT)
        if self._process.poll() is None:
            self._process.terminate()

    def gone(self) -> bool:
        """Whether no process of the group lives any more."""
        # Reaped first: a process id that nobody has waited for can't be given to another process.
        ended = self._process.poll() is not None
        self._gone = self._gone or (ended and not group_states(self.pid))
        return self._gone

    def frozen(self) -> bool:
        """Whether every process of the group is stopped (where the system tells)."""
        return all(state in "Tt?" for state in group_states(self.pid))


class Fleet:
    """All the children of the demo."""

    def __init__(self, logs: Path, environment: Mapping[str, str]) -> None:
        self._logs = logs
        self._environment = dict(environment)
        self._children: list[Child] = []

    @property
    def children(self) -> tuple[Child, ...]:
        """Those that may live."""
        return tuple(self._children)

    def start(self, name: str, command: Sequence[str]) -> Child:
        """Start a program with its output in ``<name>.log``.

        Not a coroutine on purpose: nothing can be cancelled between the start and the moment it is on our list.
        """
        return self._start(name, command, None)

    def start_piped(self, name: str, command: Sequence[str]) -> tuple[Child, int]:
        """Start a program whose standard output is ours to read, at the descriptor that is returned (and is ours)."""
        ours, theirs = os.pipe()
        try:
            return self._start(name, command, theirs), ours
        finally:
            os.close(theirs)

    def _start(self, name: str, command: Sequence[str], output: int | None) -> Child:
        path = self._logs / f"{name}.log"
        with path.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log if output is None else output,
                stderr=log,
                env=self._environment,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call that takes no lock
            )
        child = Child(name, process, path)
        self._children.append(child)
        return child

    async def kill(self, children: Iterable[Child]) -> None:
        """Kill these groups (SIGKILL) and wait until nothing of them lives."""
        doomed = list(children)
        for child in doomed:
            child.signal_group(signal.SIGKILL)
        await wait_until(lambda: all(child.gone() for child in doomed), "killed processes to be gone", _KILL_SECONDS)
        self._children = [child for child in self._children if child not in doomed]

    async def freeze(self, children: Iterable[Child]) -> None:
        """Stop these groups (SIGSTOP): their sockets stay open and nobody answers."""
        frozen = list(children)
        for child in frozen:
            child.signal_group(signal.SIGSTOP)
        await wait_until(lambda: all(child.frozen() for child in frozen), "processes to be frozen", _KILL_SECONDS)

    def thaw(self, children: Iterable[Child]) -> None:
        """Let frozen groups go on (SIGCONT)."""
        for child in children:
            child.signal_group(signal.SIGCONT)

    async def stop(self, children: Iterable[Child] | None = None) -> None:
        """End these groups, or all, the polite way; kill what has not ended after a few seconds."""
        ending = list(self._children if children is None else children)
        for child in ending:
            child.terminate()
        with suppress(FederationError):
            await wait_until(lambda: all(child.gone() for child in ending), "processes to end", _STOP_SECONDS)
        await self.kill(ending)

    def check(self) -> None:
        """Raise ProcessDiedError if any child's leader has ended without being asked to."""
        for child in self._children:
            child.check()


async def wait_until(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Wait for a state; raises FederationError naming it where it does not come within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise FederationError(f"waited {seconds:.0f} s in vain for {what}")
        await asyncio.sleep(POLL_SECONDS)


def group_states(group: int) -> str:
    """One letter for each living process of a group, as Linux has them (``R``, ``S``, ``T`` …); ``?`` elsewhere."""
    if sys.platform != "linux":
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return ""
        return "?"
    states = ""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The name, in parentheses, may hold anything; state, parent and group follow it (proc_pid_stat(5)).
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        # A zombie holds no socket and no memory: an orphan that nobody reaps is as good as gone.
        if int(fields[2]) == group and fields[0] not in "ZX":
            states += fields[0]
    return states
