"""What a control plane does by itself after a write: establish CRDs, empty namespaces, collect garbage.

Each reaction comes after the answer to the request that caused it, as in Kubernetes, though at once. It writes through
the store and the registry as a controller would.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from support.kube.crds import CLEANUP, resource_of, served_types, with_status
from support.kube.kinds import Catalog
from support.kube.objects import GroupResource, Json, Key, at, duplicate, finalizers, is_terminating, owner_uids
from support.kube.registry import FOREGROUND, ORPHAN, Registry
from support.kube.store import Change, Store

CRDS: GroupResource = ("apiextensions.k8s.io", "customresourcedefinitions")
NAMESPACES: GroupResource = ("", "namespaces")
ACCOUNTS: GroupResource = ("", "serviceaccounts")

Defer = Callable[[Callable[[], None]], object]


class Housekeeping:
    """Listens to the store of one server; ``defer`` runs a reaction once the current request has been answered."""

    def __init__(self, registry: Registry, defer: Defer, undefined: Callable[[GroupResource], None]) -> None:
        self._registry = registry
        self._store: Store = registry.store
        self._catalog: Catalog = registry.catalog
        self._defer = defer
        self._undefined = undefined
        self._unsettled: set[Key] = set()
        self._store.listeners.append(self.heard)

    def heard(self, resource: GroupResource, change: Change) -> None:
        if resource == CRDS:
            self._defer(lambda: self._settle_definition(change.key))
        if resource == NAMESPACES:
            self._unsettle(change.key)
        if change.kind == "DELETED":
            self._heard_deletion(resource, change)
            return
        if is_terminating(change.new):
            self._defer(lambda: self._settle_owner(resource, change.key))
        if owner_uids(change.new):
            self._defer(lambda: self._collect_one(resource, change.key))

    def _heard_deletion(self, resource: GroupResource, change: Change) -> None:
        gone = change.new
        self._defer(lambda: self._collect(gone["metadata"]["uid"]))
        if change.key.namespace:
            self._unsettle(Key("", change.key.namespace))
        definition = Key("", f"{resource[1]}.{resource[0]}")
        owners = [self._store.place_of(uid) for uid in owner_uids(gone)]
        for owner in [*owners, (CRDS, definition)]:
            if owner is not None:
                self._defer(partial(self._settle_owner, *owner))

    def _unsettle(self, namespace: Key) -> None:
        """Look at the namespace once, however much changes in it until then."""
        if namespace not in self._unsettled:
            self._unsettled.add(namespace)
            self._defer(lambda: self._settle_namespace(namespace))

    def _settle_definition(self, key: Key) -> None:
        crd = self._store.get(CRDS, key)
        if crd is None:
            plural, _, group = key.name.partition(".")
            self._catalog.forget((group, plural))
            self._undefined((group, plural))
            return
        resource = resource_of(crd)
        if is_terminating(crd) and CLEANUP in finalizers(crd):
            left = self._store.objects(resource)
            for one in list(left):
                self._delete(resource, one)
            if not left:
                self._catalog.forget(resource)
                self._undefined(resource)
                self._drop_finalizer(CRDS, key, CLEANUP)
            return
        if is_terminating(crd):
            return
        before, after = self._catalog.defined(resource), served_types(crd)
        self._catalog.define(resource, after)
        if before and before != after:
            self._undefined(resource)
        settled = with_status(crd, self._registry.now())
        if settled != crd:
            self._store.put(CRDS, key, settled)

    def _settle_namespace(self, key: Key) -> None:
        self._unsettled.discard(key)
        namespace = self._store.get(NAMESPACES, key)
        if namespace is None:
            return
        if not is_terminating(namespace):
            self._give_account(key.name)
            return
        inside = [(resource, one) for resource, one, _ in self._store.everything() if one.namespace == key.name]
        for resource, one in inside:
            self._delete(resource, one)
        if any(one.namespace == key.name for _, one, _ in self._store.everything()):
            return
        namespace = self._store.get(NAMESPACES, key)
        if namespace is None or "kubernetes" not in (at(namespace, ("spec", "finalizers")) or ()):
            return
        left = [name for name in namespace["spec"]["finalizers"] if name != "kubernetes"]
        self._store.put(NAMESPACES, key, {**namespace, "spec": {"finalizers": left}})
        if not left and not finalizers(namespace):
            self._store.remove(NAMESPACES, key)

    def _give_account(self, namespace: str) -> None:
        key = Key(namespace, "default")
        if self._store.get(ACCOUNTS, key) is None:
            self._registry.create_system(ACCOUNTS, namespace, {"metadata": {"name": "default"}})

    def _settle_owner(self, resource: GroupResource, key: Key) -> None:
        owner = self._store.get(resource, key)
        if owner is None or not is_terminating(owner):
            return
        uid, held = owner["metadata"]["uid"], finalizers(owner)
        if resource == CRDS and CLEANUP in held:
            self._settle_definition(key)
            return
        if ORPHAN in held:
            for dependent in self._store.dependents(uid):
                self._disown(*dependent, uid)
            self._drop_finalizer(resource, key, ORPHAN)
        elif FOREGROUND in held:
            for dependent in self._store.dependents(uid):
                self._delete(*dependent)
            if not self._store.dependents(uid):
                self._drop_finalizer(resource, key, FOREGROUND)

    def _collect(self, uid: str) -> None:
        for dependent in self._store.dependents(uid):
            self._collect_one(*dependent)

    def _collect_one(self, resource: GroupResource, key: Key) -> None:
        """Delete an object all of whose owners are gone; of one that has others left, nothing is taken."""
        body = self._store.get(resource, key)
        if body is not None and not any(self._store.place_of(uid) for uid in owner_uids(body)):
            self._delete(resource, key)

    def _disown(self, resource: GroupResource, key: Key, uid: str) -> None:
        body = self._store.get(resource, key)
        if body is not None:
            freed = duplicate(body)
            freed["metadata"]["ownerReferences"] = [
                owner for owner in freed["metadata"]["ownerReferences"] if owner["uid"] != uid
            ]
            self._store.put(resource, key, freed)

    def _delete(self, resource: GroupResource, key: Key) -> None:
        kind = self._catalog.stored(resource)
        if kind is not None and self._store.get(resource, key) is not None:
            self._registry.delete(kind, key, {})

    def _drop_finalizer(self, resource: GroupResource, key: Key, name: str) -> None:
        body = self._store.get(resource, key)
        if body is None:
            return
        freed: Json = duplicate(body)
        freed["metadata"]["finalizers"] = [one for one in finalizers(body) if one != name]
        self._store.put(resource, key, freed)
        if not freed["metadata"]["finalizers"] and not (resource == NAMESPACES and at(freed, ("spec", "finalizers"))):
            self._store.remove(resource, key)
