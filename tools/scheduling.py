"""A pytest-xdist plugin of `make test`: what is timed on real Envoys runs in one worker, one test after another.

Two clustersets on two cores would measure each other. Other whole programs, which are waited for and not timed, have a
worker of their own; everything else is spread file by file, and gives way. (Marking the tests with xdist_group does not
do it: pytest-xdist 3.8 cannot tell pytest 9.2's items of their group.)
"""

from __future__ import annotations

import os
from contextlib import suppress

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

_TIMED = ("tests/envoy/", "tests/feature/test_demo.py", "tests/feature/test_controller_process.py")
_WHOLE_PROGRAMS = ("tests/feature/", "tests/conformance/")
_GIVES_WAY = 5


class OneClustersetAtATime(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(_TIMED):
            return "timed"
        return "whole programs" if nodeid.startswith(_WHOLE_PROGRAMS) else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneClustersetAtATime:
    return OneClustersetAtATime(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """What is timed goes first on the cores, with all that it starts; only root may take the others back to that."""
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, 0 if item.nodeid.startswith(_TIMED) else _GIVES_WAY)
