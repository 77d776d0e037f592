"""Which documents hold a pod; whole ones in tests/golden/injection."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.injection.annotations import INJECTION as LABEL
from controllers.injection.policy import NamespaceFacts
from controllers.injection.workloads import inject_document, uninject_document
from support.injection import INJECTION

POD = {"containers": [{"name": "app"}]}
KINDS = [
    ("v1", "Pod", ()),
    ("v1", "ReplicationController", ("spec", "template")),
    ("apps/v1", "Deployment", ("spec", "template")),
    ("apps/v1", "StatefulSet", ("spec", "template")),
    ("apps/v1", "DaemonSet", ("spec", "template")),
    ("apps/v1", "ReplicaSet", ("spec", "template")),
    ("batch/v1", "Job", ("spec", "template")),
    ("batch/v1", "CronJob", ("spec", "jobTemplate", "spec", "template")),
]


def document(api_version: str, kind: str, path: tuple[str, ...]) -> dict[str, Any]:
    inner: dict[str, Any] = {"spec": POD}
    for key in reversed(path):
        inner = {key: inner}
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "app", "namespace": "demo"}, **inner}


def enabled(name: str) -> NamespaceFacts:
    return NamespaceFacts(name, {LABEL: "enabled"})


def begun(document: Any, path: tuple[str, ...]) -> list[str]:
    """Names of the init containers of the pod in a document."""
    for key in path:
        document = document[key]
    return [one["name"] for one in document["spec"].get("initContainers", ())]


@pytest.mark.parametrize(("api_version", "kind", "path"), KINDS)
def test_the_pod_of_every_workload_is_found(api_version: str, kind: str, path: tuple[str, ...]) -> None:
    """Injected once; a second time nothing changes; taken away it is as before."""
    before = document(api_version, kind, path)
    after, (outcome,) = inject_document(before, INJECTION, enabled, "other")
    again, (second,) = inject_document(after, INJECTION, enabled, "other")
    taken, (third,) = uninject_document(after, "other")

    assert begun(after, path) == ["federation-bootstrap", "federation-init", "federation-proxy"]
    assert (outcome.subject, outcome.changed) == (f"{kind} demo/app", True)
    assert (again, second.changed) == (after, False)
    assert (taken, third.changed) == (before, True)


@pytest.mark.parametrize(
    "other",
    [
        {"apiVersion": "v1", "kind": "Service", "spec": {}},
        {"apiVersion": "example.com/v1", "kind": "Deployment", "spec": {"template": {"spec": POD}}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "spec": None},
        {"apiVersion": 1, "kind": ["Pod"]},
        {},
    ],
)
def test_what_holds_no_pod_is_left_as_it_is(other: dict[str, Any]) -> None:
    """Whatever it is."""
    assert inject_document(other, INJECTION, enabled, "demo") == (other, ())
    assert uninject_document(other, "demo") == (other, ())


def test_an_object_without_a_namespace_is_in_the_default_one() -> None:
    """Which is asked for by its name."""
    asked: list[str] = []

    def facts(name: str) -> NamespaceFacts:
        asked.append(name)
        return NamespaceFacts(name)

    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "app-"}, "spec": POD}
    _, (outcome,) = inject_document({"kind": "List", "items": [pod]}, INJECTION, facts, "shop")
    assert (asked, outcome.subject) == (["shop"], "Pod shop/app-*")
