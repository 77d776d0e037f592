"""What a controller that is not ready waits for, in one sentence: the same for /readyz and for `federation status`."""

from __future__ import annotations

from collections.abc import Sequence

_NAMED = 5


def names_of(clusters: Sequence[str]) -> str:
    """The first five, and how many more."""
    more = f" and {len(clusters) - _NAMED} more" if len(clusters) > _NAMED else ""
    return ", ".join(clusters[:_NAMED]) + more


def waited_for_place(clusterset: str) -> str:
    """What a cluster needs that is no member any more, or not with its key."""
    return f"a place in clusterset {clusterset}, which it has left, was evicted from, or holds with another key"


def waited_for(*, source_synced: bool, exchange_connected: bool, unknown_peers: Sequence[str]) -> str:
    """What comes before the first whole pass; ``unknown_peers`` are those of whom nothing whole was ever read."""
    if not source_synced:
        return "the first whole read of the manifests"
    if unknown_peers:
        why = "" if exchange_connected else ", which can't be reached"
        return f"the first whole read of {names_of(unknown_peers)} from the exchange{why}"
    return "the first pass of the control loop; if that lasts, the controller's log says why it fails"
