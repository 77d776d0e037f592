"""The stories' clusters: made by `federation kind up` before the first one, and left for the next run.

Where there is no docker or kind, every story is skipped, and the last line of the run says so.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from e2e.clusterset import ClusterSet

_PROGRAMS = ("docker", "kind", "kubectl")
_skipped: list[str] = []


def _lack() -> str:
    """Why there can be no clusters here; empty where there can."""
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"{' and '.join(missing)} not on PATH"
    asked = subprocess.run(["docker", "info", "--format", "{{.ServerVersion}}"], capture_output=True, check=False)
    return "" if asked.returncode == 0 else "docker's engine does not answer"


@pytest.fixture(scope="session")
def clusterset() -> Iterator[ClusterSet]:
    """East, west and north, up, with the sample."""
    if lack := _lack():
        _skipped.append(lack)
        pytest.skip(f"no clusters of kind here: {lack}")
    clusterset = ClusterSet()
    clusterset.up()
    yield clusterset
    clusterset.close()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """A run that proved nothing must not look like one that did: said behind all else."""
    yield
    if _skipped:
        terminalreporter.write_line(f"NOTHING WAS TESTED ON KIND: {_skipped[0]}", red=True, bold=True)
