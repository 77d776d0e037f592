"""Workloads whose sidecar is about to end."""

from __future__ import annotations

from controllers.leaving import served_by, without
from federation.model.state import ClusterState
from support.builders import ECHO, endpoint, endpoint_slice, exported_state

STATE = ClusterState({ECHO: exported_state(endpoint_slice(endpoint("10.0.0.9"), endpoint("10.0.0.8")))})


def ready(state: ClusterState) -> dict[str, bool]:
    return {one.addresses[0]: one.ready for piece in state.services[ECHO].slices for one in piece.endpoints}


def test_a_workload_that_leaves_is_not_ready() -> None:
    """By address and inbound port; the others stay as they are."""
    leaving = {("10.0.0.9", 15006)}
    assert ready(without(STATE, leaving, 15006)) == {"10.0.0.9": False, "10.0.0.8": True}
    assert ready(without(STATE, leaving, 15999)) == {"10.0.0.9": True, "10.0.0.8": True}
    assert without(STATE, frozenset(), 15006) is STATE


def test_the_services_of_a_workload_are_found() -> None:
    assert served_by(STATE, {("10.0.0.8", 15006)}, 15006) == {ECHO}
    assert served_by(STATE, {("10.0.0.7", 15006)}, 15006) == set()
