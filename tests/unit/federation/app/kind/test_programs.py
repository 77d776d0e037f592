"""Running programs: their output, their errors, and those that don't end."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from federation.app.kind.commands import Command
from federation.app.kind.programs import ProgramError, output, run
from federation.model.errors import MissingProgramError


def shell(script: str, *, stdin: str = "", seconds: float = 30.0) -> Command:
    return Command(("sh", "-c", script), stdin, seconds)


async def test_what_a_program_says_is_kept() -> None:
    """Both outputs, the code, and what it is given."""
    ended = await run(shell("cat; echo no >&2; exit 3", stdin="secret"))
    assert (ended.code, ended.stdout, ended.stderr) == (3, "secret", "no\n")
    assert await output(shell("echo yes")) == "yes\n"


async def test_a_failure_shows_the_last_lines_and_no_input() -> None:
    """Enough to see why; what went in may be a secret."""
    with pytest.raises(ProgramError) as failed:
        await output(shell("seq 1 40 >&2; exit 7", stdin="secret"))
    assert "failed with 7: 29\n30" in str(failed.value)
    assert "secret" not in str(failed.value)


async def test_a_silent_failure_is_told() -> None:
    """There is nothing to show."""
    with pytest.raises(ProgramError, match="it says nothing"):
        await output(shell("exit 1"))


async def test_a_program_that_does_not_end_is_ended(tmp_path: Path) -> None:
    """By a signal; the error says what to do."""
    with pytest.raises(ProgramError, match="did not end within") as late:
        await run(shell(f"echo $$ > {tmp_path}/pid; exec sleep 60", seconds=0.3))
    assert "do the same again" in late.value.hint
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


async def test_nothing_goes_on_after_an_interrupt(tmp_path: Path) -> None:
    """Who cancels ends the program."""
    running = asyncio.ensure_future(run(shell(f"echo $$ > {tmp_path}/pid; exec sleep 60")))
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


async def test_a_missing_program_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With where it comes from."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingProgramError, match="kind is not on PATH") as missing:
        await run(Command(("kind", "version")))
    assert "kind.sigs.k8s.io" in missing.value.hint
