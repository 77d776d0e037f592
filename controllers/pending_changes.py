"""What one pass changes in the xDS cache, gathered layer by layer before the cache takes all of it or none. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from federation.model.problems import Problem
from gateway.xds.cache import GroupChange, NodeChange
from gateway.xds.references import Reference
from gateway.xds.resources import Resource


@dataclass(slots=True)
class Layer:
    upserts: dict[Reference, Resource] = field(default_factory=dict)
    removals: set[Reference] = field(default_factory=set)

    def replace(self, old: Iterable[Reference], new: Iterable[Resource]) -> None:
        fresh = {resource.key: resource for resource in new}
        self.upserts.update(fresh)
        self.removals.update(key for key in old if key not in fresh)


@dataclass(slots=True)
class PendingChanges:
    """Changes of one pass, by layer: the cache takes all of them or none."""

    groups: dict[str, Layer] = field(default_factory=dict)
    nodes: dict[str, Layer] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    """What could not be made; all else is served."""

    def group(self, name: str) -> Layer:
        return self.groups.setdefault(name, Layer())

    def node(self, name: str) -> Layer:
        return self.nodes.setdefault(name, Layer())

    def changes(self, *, nodes: bool) -> list[GroupChange | NodeChange]:
        """All of it for the cache; without ``nodes``, what groups share alone."""
        found: list[GroupChange | NodeChange] = [
            GroupChange(name, tuple(layer.upserts.values()), tuple(layer.removals))
            for name, layer in self.groups.items()
        ]
        if nodes:
            found += [
                NodeChange(name, tuple(layer.upserts.values()), tuple(layer.removals))
                for name, layer in self.nodes.items()
            ]
        return found


def keys_of(resources: Iterable[Resource]) -> list[Reference]:
    return [resource.key for resource in resources]
