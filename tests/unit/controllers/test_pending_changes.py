"""What a pass changes, layer by layer."""

from __future__ import annotations

from controllers.pending_changes import PendingChanges, keys_of
from gateway.xds.cache import GroupChange, NodeChange
from support.xds import endpoints


def test_what_is_replaced_is_removed_unless_it_is_there_anew() -> None:
    """By key, whatever its content."""
    pending = PendingChanges()
    old, new = endpoints("a"), endpoints("a", 81)
    gone = endpoints("b")
    pending.group("group").replace(keys_of([old, gone]), [new])
    assert pending.changes(nodes=True) == [GroupChange("group", (new,), (gone.key,))]


def test_nodes_wait_for_the_world() -> None:
    """What is shared goes first."""
    pending = PendingChanges()
    pending.group("group")
    pending.node("node").replace((), [endpoints("a")])
    assert pending.changes(nodes=False) == [GroupChange("group")]
    assert pending.changes(nodes=True)[1:] == [NodeChange("node", (endpoints("a"),))]
