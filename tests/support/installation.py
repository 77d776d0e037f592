"""Installations for tests: values of many sites, and the documents that they make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from federation.install.manifests import Document, render, render_namespace
from federation.install.values import parse_values

NAMESPACE: Final = "federation-system"

SITES: Final[Mapping[str, tuple[str, ...]]] = {
    "bare": (),
    "plain": ("clusterset=acme",),
    "on-nodes": ("clusterset=acme", "gateway.kind=DaemonSet", "gateway.service.type=NodePort"),
    "with-exchange": ("clusterset=acme", "exchange.inCluster=true"),
    "with-exchange-in-memory": ("clusterset=acme", "exchange.inCluster=true", "exchange.storage="),
    "with-istio": ("clusterset=acme", "mesh=istio"),
    "with-istio-and-its-root": ("clusterset=acme", "mesh=istio", "ca.configMap=istio-ca-root-cert"),
    "with-its-own-ca": ("clusterset=acme", "ca.secret=mesh-root", "ca.key=ca.crt", "injection.enabled=false"),
    "without-extras": ("clusterset=acme", "injection.enabled=false", "networkPolicy.enabled=false"),
}
"""The words of ``--set`` by name of the site; all keep to restricted pod security."""

HOST_PORTS: Final = ("clusterset=acme", "gateway.kind=DaemonSet", "gateway.service.type=HostPort")
"""The one that can't."""


def rendered(*words: str, namespace: str = NAMESPACE) -> tuple[Document, ...]:
    """The documents for the defaults with these words over them, in the order in which they are applied."""
    values = parse_values((), words)
    return (render_namespace(values, namespace), *render(values, namespace))


def one(documents: tuple[Document, ...], kind: str, name: str) -> Any:
    """The document of that kind and name."""
    (found,) = [found for found in documents if (found["kind"], found["metadata"]["name"]) == (kind, name)]
    return found


def pods(documents: tuple[Document, ...]) -> Iterator[tuple[str, Any]]:
    """The spec of every pod that is made, with the name of what makes it."""
    for document in documents:
        if document["kind"] in {"Deployment", "DaemonSet", "StatefulSet"}:
            yield document["metadata"]["name"], document["spec"]["template"]["spec"]


def containers(pod: Any) -> list[Any]:
    """All containers of a pod, those of its beginning too."""
    return [*pod.get("initContainers", ()), *pod["containers"]]
