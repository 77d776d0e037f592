"""Documents that hold a pod: the pod itself, workloads by their template, and lists of them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from controllers.injection.pod_patch import Injection, with_sidecar, without_sidecar
from controllers.injection.policy import Decision, NamespaceFacts, decide_injection
from controllers.mcs.objects import Document, mapping, section, sequence, text

_TEMPLATE: Final = ("spec", "template")
_PODS: Final[Mapping[str, tuple[str, ...]]] = {
    "Pod": (),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    **dict.fromkeys(
        ("DaemonSet", "Deployment", "Job", "ReplicaSet", "ReplicationController", "StatefulSet"), _TEMPLATE
    ),
}
_GROUPS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("Pod", "ReplicationController"), ""),
    **dict.fromkeys(("CronJob", "Job"), "batch"),
    **dict.fromkeys(("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"), "apps"),
}
_JOBS: Final = frozenset({"CronJob", "Job"})
MAX_DEPTH: Final = 8
"""Of lists in lists."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one object of a document."""

    subject: str
    """Kind, namespace and name, for people."""
    decision: Decision
    changed: bool


def inject_document(
    document: Document, injection: Injection, namespace: Callable[[str], NamespaceFacts], default_namespace: str
) -> tuple[Document, tuple[Outcome, ...]]:
    """The document with sidecars where they belong, and what became of each pod in it; none for a document without.

    ``namespace`` tells of the one with a name; ``default_namespace`` is of objects that name none.
    """

    def change(owner: Document, pod: Document) -> tuple[Document, Decision]:
        name = text(section(owner, "metadata").get("namespace")) or default_namespace
        decision = decide_injection(
            pod,
            namespace(name),
            system_namespace=injection.system_namespace,
            native=injection.native,
            issues=injection.issues,
            is_job=owner.get("kind") in _JOBS,
        )
        return pod if decision.tuning is None else with_sidecar(pod, injection, decision.tuning), decision

    return _changed(document, change, default_namespace)


def uninject_document(document: Document, default_namespace: str) -> tuple[Document, tuple[Outcome, ...]]:
    """The document without sidecars of ours, and what became of each pod in it."""

    def change(_: Document, pod: Document) -> tuple[Document, Decision]:
        return without_sidecar(pod), Decision(None)

    return _changed(document, change, default_namespace)


Change = Callable[[Document, Document], tuple[Document, Decision]]


def _changed(
    document: Document, change: Change, default_namespace: str, depth: int = 0
) -> tuple[Document, tuple[Outcome, ...]]:
    kind = text(document.get("kind"))
    if kind == "List" and depth < MAX_DEPTH:
        items = [mapping(item) for item in sequence(document.get("items"))]
        found = [_changed(item, change, default_namespace, depth + 1) for item in items]
        outcomes = tuple(outcome for _, each in found for outcome in each)
        return {**document, "items": [item for item, _ in found]}, outcomes
    path = _PODS.get(kind)
    if path is None or text(document.get("apiVersion")).rpartition("/")[0] != _GROUPS[kind]:
        return document, ()
    pod = section(document, *path)
    if not isinstance(pod.get("spec"), Mapping):
        return document, ()
    after, decision = change(document, pod)
    outcome = Outcome(_subject(document, default_namespace), decision, after != pod)
    return (_put(document, path, after) if outcome.changed else document), (outcome,)


def _put(document: Document, path: tuple[str, ...], value: Document) -> Document:
    if not path:
        return value
    return {**document, path[0]: _put(section(document, path[0]), path[1:], value)}


def _subject(document: Document, default_namespace: str) -> str:
    metadata = section(document, "metadata")
    name = text(metadata.get("name")) or f"{text(metadata.get('generateName'))}*"
    return f"{text(document.get('kind'))} {text(metadata.get('namespace')) or default_namespace}/{name}"
