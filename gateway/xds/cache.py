"""The last good resources of every node: a layer shared by a group of nodes, and a layer of its own.

Sits between `translate`, which gives it changes, and `session`, which reads a node's view and is told
the names that changed. Changes pass the gate whole or not at all; what is refused leaves the last good
in place. Work grows with what changed and who listens, not with what there is. One event loop, no locks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from federation.model.errors import InvariantError
from federation.model.problems import Problem
from gateway.xds.references import Reference
from gateway.xds.resources import Resource, ResourceSet, check_consistency

Changed = Mapping[str, tuple[str, ...]]
"""Names by type that have another resource now, or none."""

_EMPTY = ResourceSet()


class Derivation(Protocol):
    """Resources of a group that are held nowhere: each follows from another one, and is made when it is asked for.

    They are found by their names alone: who asks for everything is not told of them.
    """

    def derive(self, shared: ResourceSet, key: Reference) -> Resource | None:
        """The resource under ``key`` as it follows from the shared layer, or None."""

    def derived_from(self, key: Reference) -> Iterable[Reference]:
        """The keys of what follows from the resource under ``key``."""


@dataclass(frozen=True, slots=True)
class NodeView:
    """What one node may see, at one moment. Immutable, so that a stream never sees half of a change."""

    shared: ResourceSet | None
    own: ResourceSet | None
    derivation: Derivation | None = None

    @property
    def synced(self) -> bool:
        """Whether both layers were given once; until then nothing may be answered."""
        return self.shared is not None and self.own is not None

    def get(self, type_url: str, name: str) -> Resource | None:
        own = (self.own or _EMPTY).get(type_url, name)
        if own is not None:
            return own
        shared = self.shared or _EMPTY
        held = shared.get(type_url, name)
        if held is not None or self.derivation is None:
            return held
        return self.derivation.derive(shared, Reference(type_url, name))

    def names(self, type_url: str) -> Iterable[str]:
        yield from (self.shared or _EMPTY).names(type_url)
        yield from (self.own or _EMPTY).names(type_url)


Listener = Callable[[NodeView, Changed], None]
"""Told the new view, and all names in which it differs from the one before."""


@dataclass(frozen=True, slots=True)
class GroupChange:
    """A change of what all nodes of a group share. The first one, even if empty, must be the whole."""

    group: str
    upserts: tuple[Resource, ...] = ()
    removals: tuple[Reference, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeChange:
    """A change of what one node alone has: its listeners, its secrets. The first one must be the whole."""

    node: str
    upserts: tuple[Resource, ...] = ()
    removals: tuple[Reference, ...] = ()


class _Group:
    """A shared layer; None until it is known, which is not the same as empty."""

    __slots__ = ("derivation", "layer", "nodes")

    def __init__(self, derivation: Derivation | None) -> None:
        self.derivation = derivation
        self.layer: ResourceSet | None = None
        self.nodes: dict[str, _Node] = {}


class _Node:
    __slots__ = ("group", "layer", "listeners")

    def __init__(self, group: _Group) -> None:
        self.group = group
        self.layer: ResourceSet | None = None
        self.listeners: dict[object, Listener] = {}

    def view(self) -> NodeView:
        return NodeView(self.group.layer, self.layer, self.group.derivation)


class SnapshotCache:
    """All layers, and who listens to them."""

    def __init__(self, derivations: Mapping[str, Derivation] | None = None) -> None:
        """``derivations``: by group, what its nodes may also see."""
        self._derivations = derivations or {}
        self._groups: dict[str, _Group] = {}
        self._nodes: dict[str, _Node] = {}

    def add_node(self, node: str, group: str) -> None:
        """Make a view for a node, if it has none; raises InvariantError if it has one of another group."""
        shared = self._group(group)
        known = self._nodes.get(node)
        if known is None:
            self._nodes[node] = shared.nodes[node] = _Node(shared)
        elif known.group is not shared:
            raise InvariantError(f"node {node} is in another group than {group}")

    def remove_node(self, node: str) -> None:
        """Forget a node; streams of it keep the last good."""
        known = self._nodes.pop(node, None)
        if known is not None:
            known.group.nodes.pop(node, None)

    def nodes(self) -> tuple[str, ...]:
        return tuple(self._nodes)

    def view(self, node: str) -> NodeView:
        """What a node may see now; raises InvariantError for one that was never added."""
        return self._node(node).view()

    def subscribe(self, node: str, listener: Listener) -> Callable[[], None]:
        """Have ``listener`` called after each change that the node can see; returns what ends that."""
        listeners = self._node(node).listeners
        token = object()
        listeners[token] = listener

        def unsubscribe() -> None:
            listeners.pop(token, None)

        return unsubscribe

    def update_group(
        self, group: str, upserts: Iterable[Resource] = (), removals: Iterable[Reference] = ()
    ) -> tuple[Problem, ...]:
        """Change a shared layer; returns why the change was refused, or nothing."""
        return self.apply([GroupChange(group, tuple(upserts), tuple(removals))])

    def update_node(
        self, node: str, upserts: Iterable[Resource] = (), removals: Iterable[Reference] = ()
    ) -> tuple[Problem, ...]:
        """Change a node's own layer; returns why the change was refused, or nothing."""
        return self.apply([NodeChange(node, tuple(upserts), tuple(removals))])

    def apply(self, changes: Sequence[GroupChange | NodeChange]) -> tuple[Problem, ...]:
        """Change several layers as one, each at most once: all of it is seen at once, or none.

        Returns why the whole was refused, or nothing. A listener that moves from a table that goes to
        one that comes needs this where the two are in different layers.
        """
        steps = [_Step(self._layer(change), change) for change in changes]
        after = {id(step.layer): step.after for step in steps}
        if len(after) < len(steps):
            raise InvariantError("one layer is changed twice in one change of the cache")
        problems = [problem for step in steps for problem in step.check(after)]
        if problems:
            return tuple(sorted(set(problems)))
        for step in steps:
            step.layer.layer = step.after
        self._notify(steps)
        return ()

    def _layer(self, change: GroupChange | NodeChange) -> _Group | _Node:
        if isinstance(change, NodeChange):
            return self._node(change.node)
        return self._group(change.group)

    def _group(self, name: str) -> _Group:
        known = self._groups.get(name)
        if known is None:
            known = self._groups[name] = _Group(self._derivations.get(name))
        return known

    def _node(self, node: str) -> _Node:
        known = self._nodes.get(node)
        if known is None:
            raise InvariantError(f"node {node} was not added to the cache")
        return known

    def _notify(self, steps: Sequence[_Step]) -> None:
        told: dict[_Node, dict[str, list[str]]] = {}
        for step in steps:
            if not (step.changed or step.first):
                continue
            changed = [*step.changed, *_derived(step)]
            for node in step.layer.nodes.values() if isinstance(step.layer, _Group) else (step.layer,):
                names = told.setdefault(node, {})
                for type_url, name in changed:
                    names.setdefault(type_url, []).append(name)
        for node, names in told.items():
            by_type = {type_url: tuple(found) for type_url, found in names.items()}
            view = node.view()
            for listener in tuple(node.listeners.values()):
                listener(view, by_type)


class _Step:
    """One layer's part of a change, worked out but not yet in force."""

    def __init__(self, layer: _Group | _Node, change: GroupChange | NodeChange) -> None:
        before = layer.layer or _EMPTY
        self.layer = layer
        self.first = layer.layer is None
        self._given = change.upserts
        upserts = [resource for resource in change.upserts if _differs(before, resource)]
        kept = {resource.key for resource in change.upserts}
        self._gone = tuple(key for key in change.removals if key in before and key not in kept)
        self._new = any(resource.key not in before for resource in upserts)
        self.changed = dict.fromkeys((*(resource.key for resource in upserts), *self._gone))
        self.after = before.with_changes(upserts, self._gone) if self.changed else before

    def check(self, after: Mapping[int, ResourceSet]) -> tuple[Problem, ...]:
        def of(layer: _Group | _Node) -> ResourceSet:
            return after.get(id(layer), layer.layer or _EMPTY)

        below: ResourceSet | None = None
        above: list[ResourceSet] = []
        if isinstance(self.layer, _Node):
            below = of(self.layer.group)
        elif self._new or self._gone:
            # Names that were there before were checked against the nodes when they came.
            above = [of(node) for node in self.layer.nodes.values()]
        return check_consistency(self.after, self._given, self._gone, below=below, above=above)


def _derived(step: _Step) -> Iterable[Reference]:
    """What changes along with what the step changes."""
    if isinstance(step.layer, _Group) and step.layer.derivation is not None:
        for source in step.changed:
            yield from step.layer.derivation.derived_from(source)


def _differs(layer: ResourceSet, resource: Resource) -> bool:
    known = layer.get(*resource.key)
    return known is None or known.version != resource.version
