"""The overload manager: what a gateway may hold, and what it does near that."""

from __future__ import annotations

from typing import Any

from gateway.xds.overload import REFUSE_AT, SHRINK_AT, Limits, overload_manager

LIMITS = Limits(heap_bytes=256 << 20, connections=1000)


def test_both_bounds_are_watched() -> None:
    """The heap and the number of connections."""
    manager: Any = overload_manager(LIMITS)
    heap, connections = (monitor["typed_config"] for monitor in manager["resource_monitors"])
    assert heap["max_heap_size_bytes"] == LIMITS.heap_bytes
    assert connections["max_active_downstream_connections"] == LIMITS.connections


def test_memory_is_given_back_before_connections_are_refused() -> None:
    """Each action is triggered by the heap, the milder one first."""
    manager: Any = overload_manager(LIMITS)
    shares = {action["name"].rpartition(".")[2]: action["triggers"][0]["threshold"] for action in manager["actions"]}
    assert shares == {"shrink_heap": {"value": SHRINK_AT}, "reject_incoming_connections": {"value": REFUSE_AT}}
    assert SHRINK_AT < REFUSE_AT < 1
    watched = {monitor["name"] for monitor in manager["resource_monitors"]}
    assert {trigger["name"] for action in manager["actions"] for trigger in action["triggers"]} <= watched
