"""The demo as a user runs it: it ends well, its report is whole, and however it ends nothing stays behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from federation.app.programs import find_envoy
from federation.model.errors import MissingProgramError
from support.processes import eventually, federation_command, python_environment

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(180)]

EVERYTHING = 24
"""Processes of a whole demo: 9 Envoys under 9 supervisors, 3 controllers, 5 applications, Redis, and the demo itself
are 28; fewer are enough to be in the middle of it."""


@pytest.fixture(autouse=True)
def _envoy() -> None:
    try:
        find_envoy()
    except MissingProgramError as error:
        pytest.skip(f"{error}; {error.hint}")


@pytest.fixture
def home() -> Iterator[Path]:
    """Where the demo keeps its files, and the mark of its processes; a short path, since Unix sockets lie in it."""
    path = Path(tempfile.mkdtemp(prefix="fd-"))
    yield path
    shutil.rmtree(path)


def start(home: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        federation_command("demo", *options),
        env={**python_environment(), "TMPDIR": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def processes_of(home: Path) -> set[int]:
    """Living processes that have inherited the demo's own TMPDIR: all that it started, and all that those started."""
    mark = f"TMPDIR={home}".encode()
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            # The environment of a zombie is empty.
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                found.add(int(entry.name))
        except OSError:
            continue
    return found


def test_calls_cross_clusters_and_nothing_stays_behind(home: Path, tmp_path: Path) -> None:
    """Without chaos the demo ends with 0: every call answered from where it should be, in a report that says so."""
    report_file = tmp_path / "report.json"
    demo = start(home, "--no-chaos", "--report", str(report_file))
    output, _ = demo.communicate()
    assert demo.returncode == 0, output
    assert "PASSED" in output
    report = json.loads(report_file.read_text())
    assert (report["ok"], report["violations"]) == (True, [])
    (phase,) = report["phases"]
    assert (phase["phase"], phase["failures"]) == ("normal", 0)
    assert phase["calls"] > 100
    assert 0 < phase["p50_ms"] <= phase["p99_ms"] <= phase["worst_ms"]
    assert set(phase["streams"]["billing GET"]["answered_by"]) == {"eu-west"}
    assert sum(stream["failures"] for stream in phase["streams"].values()) == 0
    assert (processes_of(home), list(home.iterdir())) == (set(), [])


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found through /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_an_interrupted_demo_leaves_no_process(home: Path, number: signal.Signals, code: int) -> None:
    """Ctrl-C, SIGTERM and even kill -9 in the middle of it end every process; all but the last clear the files too."""
    demo = start(home)
    try:
        eventually(lambda: len(processes_of(home)) >= EVERYTHING, "the demo to be in its middle", 90)
        os.kill(demo.pid, number)
        output, _ = demo.communicate()
        assert demo.returncode == code, output
        eventually(lambda: processes_of(home) == set(), "no process to be left", 20)
        assert number == signal.SIGKILL or list(home.iterdir()) == []
    finally:
        demo.kill()
        demo.wait()
