"""What a gateway does with more than it can hold: the overload manager of its bootstrap. Pure.

Whoever reaches a gateway's port may open connections, and a gateway that the kernel kills for its memory takes all of
them along. So it refuses new ones at two bounds, and counts them (docs/limits.md).
"""

from __future__ import annotations

from dataclasses import dataclass

_TYPE = "type.googleapis.com/envoy.extensions.resource_monitors."
_HEAP = "envoy.resource_monitors.fixed_heap"
_CONNECTIONS = "envoy.resource_monitors.global_downstream_max_connections"

SHRINK_AT = 0.85
"""Share of the heap at which free memory is given back to the system."""
REFUSE_AT = 0.95
"""Share of the heap at which new connections are closed at once."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one gateway."""

    heap_bytes: int
    """Of Envoy's heap."""
    connections: int
    """Open at a time, from all callers."""


def overload_manager(limits: Limits) -> dict[str, object]:
    """The ``overload_manager`` of a bootstrap.

    Connections are refused rather than left waiting in the kernel's queue: callers then try another gateway at once,
    instead of after 300 ms (docs/decisions/023-shards.md), and Envoy counts what it refused.
    """
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {
                "name": _HEAP,
                "typed_config": {
                    "@type": f"{_TYPE}fixed_heap.v3.FixedHeapConfig",
                    "max_heap_size_bytes": limits.heap_bytes,
                },
            },
            {
                "name": _CONNECTIONS,
                "typed_config": {
                    "@type": f"{_TYPE}downstream_connections.v3.DownstreamConnectionsConfig",
                    "max_active_downstream_connections": limits.connections,
                },
            },
        ],
        "actions": [
            _action("envoy.overload_actions.shrink_heap", SHRINK_AT),
            _action("envoy.overload_actions.reject_incoming_connections", REFUSE_AT),
        ],
    }


def _action(name: str, share: float) -> dict[str, object]:
    return {"name": name, "triggers": [{"name": _HEAP, "threshold": {"value": share}}]}
