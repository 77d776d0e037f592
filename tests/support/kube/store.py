"""The stand-in's etcd: one revision counter, the objects, and a log of changes per resource that is compacted.

What is stored is never changed in place: a change is a new object. It knows nothing of HTTP or of what objects mean.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from support.kube.objects import GroupResource, Json, Key, owner_uids

HISTORY = 20_000
"""Changes that are kept of one resource before the oldest are compacted."""


@dataclass(frozen=True, slots=True)
class Change:
    """One write: the object after it and before it; for a deletion ``new`` is what was deleted, at the new revision."""

    revision: int
    kind: str
    key: Key
    new: Json
    old: Json | None


class Compacted(Exception):  # noqa: N818 - an answer, not an error of ours
    """The log no longer reaches back that far."""


Listener = Callable[[GroupResource, Change], None]


class Store:
    """Objects by resource and key. Listeners hear of every change, in order, before the writer gets its answer."""

    def __init__(self) -> None:
        self.revision = 1
        self.compacted = 0
        self.listeners: list[Listener] = []
        self._objects: dict[GroupResource, dict[Key, Json]] = defaultdict(dict)
        self._log: dict[GroupResource, list[Change]] = defaultdict(list)
        self._dropped: dict[GroupResource, int] = defaultdict(int)
        self._dependents: dict[str, set[tuple[GroupResource, Key]]] = defaultdict(set)
        self._places: dict[str, tuple[GroupResource, Key]] = {}

    def get(self, resource: GroupResource, key: Key) -> Json | None:
        return self._objects[resource].get(key)

    def objects(self, resource: GroupResource) -> Mapping[Key, Json]:
        return self._objects[resource]

    def everything(self) -> Iterator[tuple[GroupResource, Key, Json]]:
        """All there is, as it is now: writes do not disturb the walk."""
        for resource, objects in list(self._objects.items()):
            for key, body in list(objects.items()):
                yield resource, key, body

    def dependents(self, uid: str) -> list[tuple[GroupResource, Key]]:
        """The objects that name this uid as an owner, sorted."""
        return sorted(self._dependents[uid])

    def place_of(self, uid: str) -> tuple[GroupResource, Key] | None:
        """Where the object with this uid is, None where there is none."""
        return self._places.get(uid)

    def put(self, resource: GroupResource, key: Key, body: Json) -> Json:
        """Store the object under the next revision; returns it as stored."""
        old = self._objects[resource].get(key)
        stored = self._stamped(body)
        self._objects[resource][key] = stored
        self._index(resource, key, old, stored)
        self._tell(resource, Change(self.revision, "MODIFIED" if old else "ADDED", key, stored, old))
        return stored

    def remove(self, resource: GroupResource, key: Key) -> Json:
        """Remove the object; returns it as the DELETED event shows it."""
        old = self._objects[resource].pop(key)
        gone = self._stamped(old)
        self._index(resource, key, old, None)
        self._tell(resource, Change(self.revision, "DELETED", key, gone, old))
        return gone

    def changes_after(self, resource: GroupResource, revision: int) -> list[Change]:
        """The changes since a revision, in order; raises Compacted where some of them are no longer known."""
        if revision < max(self.compacted, self._dropped[resource]):
            raise Compacted
        log = self._log[resource]
        return log[bisect_right(log, revision, key=lambda change: change.revision) :]

    def compact(self) -> None:
        """Forget all changes so far: a watch from before now is refused."""
        self.compacted = self.revision
        self._log.clear()

    def _stamped(self, body: Json) -> Json:
        self.revision += 1
        return {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.revision)}}

    def _index(self, resource: GroupResource, key: Key, old: Json | None, new: Json | None) -> None:
        if old is not None:
            self._places.pop(old["metadata"]["uid"], None)
            for uid in owner_uids(old):
                self._dependents[uid].discard((resource, key))
        if new is not None:
            self._places[new["metadata"]["uid"]] = (resource, key)
            for uid in owner_uids(new):
                self._dependents[uid].add((resource, key))

    def _tell(self, resource: GroupResource, change: Change) -> None:
        log = self._log[resource]
        log.append(change)
        if len(log) > HISTORY:
            del log[: HISTORY // 2]
            self._dropped[resource] = log[0].revision - 1
        for listener in self.listeners:
            listener(resource, change)
