"""Objects of an installation, over a client that answers as it is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from controllers.kube.client import KubeError
from controllers.sources.manifests import ObjectId
from federation.app.installed_objects import KINDS, Found, InstalledObjects
from federation.install.manifests import TEMPLATES
from federation.install.template import When
from support.installation import SITES, rendered

ID = ObjectId("ConfigMap", "demo", "x")
DOCUMENT: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "demo"}}


class Client:
    """Answers with what it is given, errors raised, and remembers what was deleted by which version."""

    def __init__(self, *answers: Mapping[str, object] | KubeError | None) -> None:
        self._answers = list(answers)
        self.deleted: list[str] = []

    def _next(self) -> Mapping[str, object]:
        answer = self._answers.pop(0)
        if isinstance(answer, KubeError):
            raise answer
        return answer or {}

    async def get(self, path: str, query: Mapping[str, str], *, timeout_seconds: float) -> Mapping[str, object]:
        return self._next()

    async def apply(self, document: Mapping[str, object], *, manager: str, dry_run: bool) -> Mapping[str, object]:
        return self._next()

    async def delete(self, id_: ObjectId, uid: str, resource_version: str, *, api_version: str) -> None:
        self.deleted.append(resource_version)
        self._next()


def found(version: str, **head: Any) -> Found:
    return Found(ID, "v1", {**DOCUMENT, "metadata": {**DOCUMENT["metadata"], "resourceVersion": version, **head}})


def test_every_kind_that_is_installed_is_looked_for() -> None:
    """What is installed can be found again, to be removed."""
    kinds = {document["kind"] for words in SITES.values() for document in rendered(*words)}
    assert kinds | {"DaemonSet"} == KINDS.keys() | {"Namespace"}
    assert all(isinstance(node, When | dict) for nodes in TEMPLATES.values() for node in nodes)


async def test_an_object_that_changes_meanwhile_is_deleted_as_it_is_then() -> None:
    """A conflict is no failure: it is found anew, and that version is deleted."""
    lines: list[str] = []
    client = Client(KubeError("changed", status=409), found("2").document, None)
    await InstalledObjects(client, lines.append).remove(found("1"))
    assert client.deleted == ["1", "2"]
    assert lines == ["deleted    ConfigMap demo/x"]


async def test_what_is_gone_is_no_failure() -> None:
    """Neither what was deleted meanwhile nor what is about to go."""
    lines: list[str] = []
    client = Client(KubeError("gone", status=404))
    objects = InstalledObjects(client, lines.append)
    await objects.remove(found("1"))
    await objects.remove(found("2", deletionTimestamp="2026-01-01T00:00:00Z"))
    assert (client.deleted, lines) == (["1"], [])


async def test_a_kind_that_is_not_served_has_no_objects() -> None:
    """As before a CRD is installed."""
    objects = InstalledObjects(Client(KubeError("none", status=404), KubeError("none", status=404)), [].append)
    assert await objects.listed("ServiceImport", "multicluster.x-k8s.io/v1beta1") == []
    assert await objects.find(ID, "v1") is None


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (KubeError("no", status=403), 'apiGroups: [""], resources: ["configmaps"], verbs: [create, patch]'),
        (KubeError("no", status=403, causes=(("NamespaceTerminating", ""),)), "namespace demo is about to go"),
        (KubeError("no", status=422), "delete ConfigMap demo/x with kubectl and install again"),
        (KubeError("no", status=500, hint="as it was"), "as it was"),
    ],
)
async def test_a_refusal_names_the_object_and_the_next_step(error: KubeError, hint: str) -> None:
    """Whatever the API server says, it is clear what it is about."""
    with pytest.raises(KubeError, match="ConfigMap demo/x: no") as refused:
        await InstalledObjects(Client(error), [].append).put(DOCUMENT, None)
    assert hint in refused.value.hint
