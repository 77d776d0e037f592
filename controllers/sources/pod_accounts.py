"""Whose identity a workload has: the service account of the pod behind each endpoint. In-memory state without I/O.

EndpointSlices don't tell it, and annotations don't get from Services to the slices that Kubernetes makes for them. So
the pods that have a sidecar are read, and no others: who has none proves no identity. Of a pod its account is kept,
which Kubernetes never changes. A pod that is gone is remembered while an endpoint names it: what is told of it would
else change twice for every pod that ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from sys import intern
from typing import Final

from controllers.mcs.objects import Document, section, text
from controllers.sources.manifests import ManifestObject, ObjectId
from federation.model.state import EndpointSlice

INJECTED_LABEL: Final = "federation-gateway.dev/injected"
"""Set to ``true`` on every pod that gets a sidecar."""

_Pod = tuple[str, str]
"""Namespace and name."""


def trim_pod(document: Document) -> Document:
    """What is looked at, of an object that is mostly something else."""
    metadata = section(document, "metadata")
    kept = {key: metadata.get(key) for key in ("namespace", "name", "resourceVersion")}
    return {"metadata": kept, "spec": {"serviceAccountName": section(document, "spec").get("serviceAccountName")}}


class PodAccounts:
    """The accounts of pods, and the slices that name them."""

    def __init__(self) -> None:
        self._accounts: dict[_Pod, str] = {}
        self._gone: set[_Pod] = set()
        """Those with an account that are there no more."""
        self._slices: dict[ObjectId, EndpointSlice] = {}
        """Those that name pods."""
        self._naming: dict[_Pod, tuple[ObjectId, ...]] = {}
        """Tuples: most have one item, for which a set takes three times the room."""

    def told(self, id_: ObjectId, value: ManifestObject | None) -> ManifestObject | None:
        """An object as it is to be known: a slice with the accounts of its pods. None is one that is gone."""
        if id_.kind != "EndpointSlice":
            return value
        before = _pods(self._slices.pop(id_, None))
        after = _pods(value)
        for pod in before - after:
            self._naming[pod] = tuple(other for other in self._naming[pod] if other != id_)
            self._forget(pod)
        if not isinstance(value, EndpointSlice) or not after:
            return value
        for pod in after - before:
            self._naming[pod] = (*self._naming.get(pod, ()), id_)
        return self._joined(id_, value)

    def replace(self, pods: Iterable[Document]) -> dict[ObjectId, EndpointSlice]:
        """Take in all pods there are; returns the slices that are others by it."""
        listed = {pod: account for item in pods if (pod := _name(item)) is not None and (account := _account(item))}
        self._gone = self._accounts.keys() - listed.keys()
        changed = [pod for pod, account in listed.items() if self._accounts.get(pod) != account]
        self._accounts |= listed
        for pod in [*self._gone]:
            self._forget(pod)
        return self._of(changed)

    def put(self, item: Document) -> dict[ObjectId, EndpointSlice]:
        """Take in a pod that is new or another; returns the slices that are others by it."""
        pod, account = _name(item), _account(item)
        if pod is None or not account:
            return {}
        self._gone.discard(pod)
        if self._accounts.get(pod) == account:
            return {}
        self._accounts[pod] = account
        return self._of([pod])

    def remove(self, item: Document) -> None:
        """Take in that a pod is gone."""
        pod = _name(item)
        if pod is not None and pod in self._accounts:
            self._gone.add(pod)
            self._forget(pod)

    def _of(self, pods: Iterable[_Pod]) -> dict[ObjectId, EndpointSlice]:
        named = {id_ for pod in pods for id_ in self._naming.get(pod, ())}
        return {id_: self._joined(id_, self._slices[id_]) for id_ in named}

    def _joined(self, id_: ObjectId, value: EndpointSlice) -> EndpointSlice:
        accounts = [self._accounts.get((value.namespace, one.pod), "") for one in value.endpoints]
        if accounts != [one.service_account for one in value.endpoints]:
            pairs = zip(value.endpoints, accounts, strict=True)
            endpoints = sorted(replace(one, service_account=account) for one, account in pairs)
            value = replace(value, endpoints=tuple(endpoints))
        self._slices[id_] = value
        return value

    def _forget(self, pod: _Pod) -> None:
        """Nobody names it: it may be forgotten, once it is gone."""
        if self._naming.get(pod):
            return
        self._naming.pop(pod, None)
        if pod in self._gone:
            self._gone.discard(pod)
            del self._accounts[pod]


def _pods(value: ManifestObject | None) -> set[_Pod]:
    if not isinstance(value, EndpointSlice):
        return set()
    return {(value.namespace, endpoint.pod) for endpoint in value.endpoints if endpoint.pod}


def _name(item: Document) -> _Pod | None:
    metadata = section(item, "metadata")
    namespace, name = text(metadata.get("namespace")), text(metadata.get("name"))
    return (namespace, name) if namespace and name else None


def _account(item: Document) -> str:
    return intern(text(section(item, "spec").get("serviceAccountName")))
