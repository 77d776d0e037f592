"""EnvoyProcess, with small shell scripts in the place of Envoy: starts, restarts, ends, and what it keeps to itself."""

from __future__ import annotations

import asyncio
import re
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from federation.app.envoy import EnvoyProcess, Patience
from federation.model.errors import ConfigError, MissingProgramError

MARK = "something-in-the-bootstrap"
QUICK = Patience(first_delay=0.001, longest_delay=0.004, healthy_after=60, stop=5)


def bootstrap() -> dict[str, object]:
    return {"node": {"id": MARK}}


def envoy_script(directory: Path, body: str) -> Path:
    """A program that runs ``body`` in ``directory``; Envoy's arguments are its own, the bootstrap's path is "$2"."""
    aside = directory / "envoy.new"
    aside.write_text(f"#!/bin/sh\ncd '{directory}'\n{body}\n")
    aside.chmod(0o755)
    # Replaced whole: a file that is still open for writing can't be run.
    return aside.replace(directory / "envoy")


@asynccontextmanager
async def running(process: EnvoyProcess) -> AsyncIterator[asyncio.Task[None]]:
    """The process under supervision; cancelled, and its end awaited, when the block ends."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(process.run())
        try:
            yield task
        finally:
            task.cancel()


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def lives(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def test_the_bootstrap_is_in_a_private_file_and_not_on_the_command_line(tmp_path: Path) -> None:
    """The bootstrap and the log have mode 0600 in a directory of mode 0700; whoever lists processes sees nothing."""
    binary = envoy_script(tmp_path, 'printf "%s\\n" "$@" > arguments.new; mv arguments.new arguments; exec sleep 60')
    state = tmp_path / "state"
    async with running(EnvoyProcess(binary, bootstrap, state)):
        await eventually((tmp_path / "arguments").exists)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (state, *state.iterdir())}
        text = (state / "envoy.json").read_text()
    arguments = (tmp_path / "arguments").read_text()
    assert modes == {"state": 0o700, "envoy.json": 0o600, "envoy.log": 0o600}
    assert (MARK in text, MARK in arguments, str(state / "envoy.json") in arguments) == (True, False, True)


@pytest.mark.parametrize(
    ("seconds", "told"), [(None, ""), (5, "--drain-strategy immediate --drain-time-s 5")], ids=["by envoy", "by us"]
)
async def test_how_long_connections_are_drained(seconds: int | None, told: str, tmp_path: Path) -> None:
    """Envoy's own ten minutes, unless its owner wants connections to end sooner."""
    binary = envoy_script(tmp_path, 'echo "$*" > arguments.new; mv arguments.new arguments; exec sleep 60')
    async with running(EnvoyProcess(binary, bootstrap, tmp_path / "state", drain_seconds=seconds)):
        await eventually((tmp_path / "arguments").exists)
    assert " ".join(re.findall(r"--drain-\S+ \S+", (tmp_path / "arguments").read_text())) == told


async def test_a_wider_mode_of_an_old_bootstrap_does_not_stay(tmp_path: Path) -> None:
    """A file that was there with another mode is replaced, not written into."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "envoy.json").write_text("{}")
    (state / "envoy.json").chmod(0o644)
    async with running(EnvoyProcess(envoy_script(tmp_path, "touch up; exec sleep 60"), bootstrap, state)):
        await eventually((tmp_path / "up").exists)
        assert stat.S_IMODE((state / "envoy.json").stat().st_mode) == 0o600


async def test_an_envoy_that_dies_at_once_is_started_again_ever_more_slowly(tmp_path: Path) -> None:
    """The wait doubles up to its limit; from the second death on someone must act, and is told Envoy's last words."""
    process = EnvoyProcess(
        envoy_script(tmp_path, "echo port is taken >&2; exit 3"), bootstrap, tmp_path / "state", patience=QUICK
    )
    with capture_logs() as logs:
        async with running(process):
            await eventually(lambda: len(logs) >= 4)
    told = [(log["event"], log["log_level"], log["restart_in_seconds"]) for log in logs[:4]]
    assert told == [
        ("envoy died", "warning", 0.001),
        ("envoy died", "error", 0.002),
        ("envoy died", "error", 0.004),
        ("envoy died", "error", 0.004),
    ]
    assert [(log["exit_code"], log["reason"]) for log in logs[:4]] == [(3, "port is taken")] * 4
    assert process.restarts >= 3


async def test_an_envoy_that_lived_is_started_again_at_once(tmp_path: Path) -> None:
    """After a life of healthy_after seconds the wait is the first one again."""
    patience = Patience(first_delay=0.001, longest_delay=10, healthy_after=0)
    with capture_logs() as logs:
        async with running(EnvoyProcess(envoy_script(tmp_path, "exit 1"), bootstrap, tmp_path, patience=patience)):
            await eventually(lambda: len(logs) >= 3)
    assert [log["restart_in_seconds"] for log in logs[:3]] == [0.001] * 3


async def test_only_the_words_of_the_last_life_are_told(tmp_path: Path) -> None:
    """What an earlier Envoy wrote into the log is not taken for the reason of a later end."""
    binary = envoy_script(tmp_path, "[ -e once ] && exit 1; touch once; echo first >&2; exit 1")
    with capture_logs() as logs:
        async with running(EnvoyProcess(binary, bootstrap, tmp_path / "state", patience=QUICK)):
            await eventually(lambda: len(logs) >= 2)
    assert [log["reason"] for log in logs[:2]] == ["first", ""]


async def test_what_is_shown_is_in_no_file(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """All that Envoy prints, more than a pipe holds, comes out of our standard error; its last words are told still."""
    binary = envoy_script(tmp_path, "seq 50000; echo port is taken >&2; exit 3")
    process = EnvoyProcess(binary, bootstrap, tmp_path / "state", patience=QUICK, shown=True)
    with capture_logs() as logs:
        async with running(process):
            await eventually(lambda: len(logs) >= 1)
    assert (logs[0]["exit_code"], logs[0]["reason"], "log" in logs[0]) == (3, "port is taken", False)
    everything = b"".join(b"%d\n" % number for number in range(1, 50001)) + b"port is taken\n"
    assert capfdbinary.readouterr().err.startswith(everything)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["envoy.json"]


async def test_the_bootstrap_is_made_anew_at_each_start(tmp_path: Path) -> None:
    """Settings that changed are used by the next Envoy."""
    numbers = iter(range(1000))
    binary = envoy_script(tmp_path, 'cat "$2" >> seen; exit 1')
    process = EnvoyProcess(binary, lambda: {"number": next(numbers)}, tmp_path / "state", patience=QUICK)
    async with running(process):
        await eventually(lambda: process.restarts >= 2)
    assert (tmp_path / "seen").read_text().startswith('{"number": 0}{"number": 1}')


async def test_its_end_is_envoys_end(tmp_path: Path) -> None:
    """Cancelled, it returns only when Envoy is gone."""
    process = EnvoyProcess(envoy_script(tmp_path, "touch up; exec sleep 60"), bootstrap, tmp_path / "state")
    async with running(process):
        await eventually((tmp_path / "up").exists)
        pid = process.pid
        assert pid is not None
        assert lives(pid)
    assert not lives(pid)


async def test_an_envoy_that_does_not_end_is_killed(tmp_path: Path) -> None:
    """SIGTERM first; what ignores it for too long is killed."""
    binary = envoy_script(tmp_path, "trap '' TERM; touch up; exec sleep 60")
    process = EnvoyProcess(binary, bootstrap, tmp_path / "state", patience=Patience(stop=0.05))
    async with running(process):
        await eventually((tmp_path / "up").exists)
        pid = process.pid
        assert pid is not None
    assert not lives(pid)


async def test_a_binary_that_cannot_be_run_is_an_error_at_the_start(tmp_path: Path) -> None:
    """A file of another kind is told at once, with what to do."""
    binary = tmp_path / "envoy"
    binary.write_bytes(b"\x00\x01")
    binary.chmod(0o755)
    with pytest.raises(MissingProgramError, match=r"envoy .*/envoy can't be started: Exec format error") as caught:
        await EnvoyProcess(binary, bootstrap, tmp_path / "state").run()
    assert "Envoy 1.40" in caught.value.hint


async def test_a_binary_that_goes_away_later_is_waited_for(tmp_path: Path) -> None:
    """An upgrade that takes the old binary away first doesn't end the supervisor."""
    process = EnvoyProcess(envoy_script(tmp_path, 'rm "$0"'), bootstrap, tmp_path / "state", patience=QUICK)
    with capture_logs() as logs:
        async with running(process):
            await eventually(lambda: any("can't be started" in log["reason"] for log in logs))
            envoy_script(tmp_path, "touch up; exec sleep 60")
            await eventually((tmp_path / "up").exists)


async def test_a_state_directory_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """Where the bootstrap can't be written, the path and the cause are told."""
    (tmp_path / "state").write_text("")
    with pytest.raises(ConfigError, match=r"state/envoy.json can't be written: File exists"):
        await EnvoyProcess(tmp_path / "envoy", bootstrap, tmp_path / "state").run()
