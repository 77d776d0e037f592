"""Options and fixtures that every suite has."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# The API servers that tests of the Kubernetes side run on, and how much of the MCS API's conformance suite holds there.
pytest_plugins = ("support.kube.fixtures", "support.conformance_report")

# Before anything imports gRPC: what it does at a fork can abort or hang children that tests start with a preexec_fn. No
# program of ours forks where gRPC is loaded.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"

# A busy machine is slow, not wrong: examples have no deadline of their own, the test's timeout is enough.
settings.register_profile("house", deadline=None, print_blob=True)
settings.load_profile("house")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="rewrite the expected files of golden cases and delete those that no test reads",
    )
    parser.addoption("--seed", type=int, help="run this one history of tests/simulation, and print what happens in it")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be rewritten instead of compared."""
    return bool(request.config.getoption("--update-golden"))
