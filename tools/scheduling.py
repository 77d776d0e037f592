"""A pytest-xdist plugin of `make test`: what is timed on real Envoys runs in one worker, one test after another.

Two clustersets on two cores would measure each other. Everything else is spread file by file. (Marking the tests with
xdist_group does not do it: pytest-xdist 3.8 cannot tell pytest 9.2's items of their group.)
"""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

WHOLE_PROGRAMS = ("tests/envoy/", "tests/feature/")


class OneClustersetAtATime(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        return "whole programs" if nodeid.startswith(WHOLE_PROGRAMS) else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneClustersetAtATime:
    return OneClustersetAtATime(config, log)
