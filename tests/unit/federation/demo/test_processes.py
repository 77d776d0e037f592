"""Processes: groups that die, freeze and end as a whole."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from federation.demo.processes import Child, Fleet, ProcessDiedError, group_states, wait_until
from federation.model.errors import FederationError

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)

SLEEPING_PARENT = (
    "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "print('up', flush=True); child.wait()"
)

linux = pytest.mark.skipif(sys.platform != "linux", reason="the states of processes are read from /proc")


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    made = Fleet(tmp_path, os.environ)
    yield made
    await made.kill(made.children)


async def start(fleet: Fleet, program: str, *, members: int = 1) -> Child:
    """Start a Python program and wait until it says "up", and its group is complete."""
    child = fleet.start("program", [sys.executable, "-c", program])
    await wait_until(lambda: "up" in child.last_words(), "the program", 30)
    await wait_until(lambda: len(group_states(child.pid)) == members, "the whole group", 30)
    return child


@linux
async def test_a_killed_group_is_gone_as_a_whole(fleet: Fleet) -> None:
    """Killing takes what the program started with it, and returns when nothing of it lives."""
    child = await start(fleet, SLEEPING_PARENT, members=2)
    await fleet.kill([child])
    assert (child.gone(), group_states(child.pid), fleet.children) == (True, "", ())


@linux
async def test_a_frozen_group_stands_still_and_goes_on(fleet: Fleet) -> None:
    """Freezing stops every process of the group; thawing lets all of them go on."""
    child = await start(fleet, SLEEPING_PARENT, members=2)
    await fleet.freeze([child])
    assert group_states(child.pid) == "TT"
    fleet.thaw([child])
    await wait_until(lambda: "T" not in group_states(child.pid), "the group to go on", 10)


@linux
async def test_a_frozen_program_is_asked_before_it_is_killed(fleet: Fleet) -> None:
    """Stopping thaws what is frozen, so that it can end the polite way."""
    child = await start(fleet, SLEEPER)
    await fleet.freeze([child])
    await fleet.stop()
    assert child.exit_code == -signal.SIGTERM


@linux
async def test_stopping_ends_the_frozen_and_the_stubborn(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a frozen group nor one that ignores SIGTERM outlives the stop."""
    monkeypatch.setattr("federation.demo.processes._STOP_SECONDS", 0.2)
    frozen, stubborn = await start(fleet, SLEEPING_PARENT, members=2), await start(fleet, STUBBORN)
    await fleet.freeze([frozen])
    await fleet.stop()
    assert [child.gone() for child in (frozen, stubborn)] == [True, True]


async def test_a_program_that_died_is_told_with_its_last_words(fleet: Fleet) -> None:
    """The check names the program, its exit code and the last line of its log."""
    child = fleet.start("doomed", [sys.executable, "-c", "import sys; print('first'); print('no token'); sys.exit(3)"])
    await wait_until(child.gone, "the program to end", 30)
    with pytest.raises(ProcessDiedError, match=r"^doomed ended with 3: no token$"):
        fleet.check()


async def test_output_can_be_read(fleet: Fleet) -> None:
    """A piped program's standard output is ours; its end is the end of the pipe."""
    child, output = fleet.start_piped("talker", [sys.executable, "-c", "print('a line')"])
    with os.fdopen(output, "rb") as lines:
        assert lines.read() == b"a line\n"
    await wait_until(child.gone, "the program to end", 30)
    assert child.exit_code == 0


async def test_waiting_in_vain_names_the_state() -> None:
    """A state that does not come is an error that names it."""
    with pytest.raises(FederationError, match="in vain for the moon"):
        await wait_until(lambda: False, "the moon", 0.01)
