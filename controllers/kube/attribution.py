"""Which service each observed object belongs to, and which services there was news for. In-memory state without I/O."""

from __future__ import annotations

from collections.abc import Iterable, Set

from controllers.sources.manifests import ObjectId
from federation.model.names import ServiceKey


class Attribution:
    """Of the objects that somebody observes; at most one service each."""

    def __init__(self) -> None:
        self._keys: dict[ObjectId, ServiceKey] = {}
        self._of: dict[ServiceKey, set[ObjectId]] = {}
        self._changed: set[ServiceKey] = set()

    @property
    def keys(self) -> frozenset[ServiceKey]:
        """The services that have any object."""
        return frozenset(self._of)

    def of(self, key: ServiceKey) -> Set[ObjectId]:
        """The objects of one service."""
        return self._of.get(key, frozenset())

    def assign(self, id_: ObjectId, key: ServiceKey | None) -> None:
        """News for the service that the object belongs to, None for no service, and for the one that it belonged to
        until now: labels and annotations can be edited."""
        before = self._keys.pop(id_, None)
        if before is not None and before != key:
            self._of[before].discard(id_)
            if not self._of[before]:
                del self._of[before]
        if key is not None:
            self._keys[id_] = key
            self._of.setdefault(key, set()).add(id_)
        self.mark(one for one in (before, key) if one is not None)

    def mark(self, keys: Iterable[ServiceKey]) -> None:
        """News for these services."""
        self._changed.update(keys)

    def take_changed(self) -> set[ServiceKey]:
        """The services that there was news for since this was last asked."""
        found, self._changed = self._changed, set()
        return found
