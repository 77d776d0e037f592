"""The envelope of manifests: kinds, names, lists, and who is at fault."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.sources.manifests import Manifest, Namespace, ObjectId, parse_manifests
from federation.model.names import ServiceKey
from federation.model.state import ServiceExport

MCS = "multicluster.x-k8s.io"
NAMELESS = [("metadata.name", "Required"), ("metadata.namespace", "Required")]


def document(api_version: object = f"{MCS}/v1beta1", kind: object = "ServiceExport", **metadata: object) -> Any:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "echo", "namespace": "demo"} | metadata}


def only(parsed: tuple[Manifest, ...]) -> Manifest:
    (manifest,) = parsed
    return manifest


def reasons(parsed: tuple[Manifest, ...]) -> list[tuple[str, str]]:
    return [(problem.path, problem.reason) for manifest in parsed for problem in manifest.problems]


@pytest.mark.parametrize("version", ["v1beta1", "v1alpha1"])
def test_both_versions_of_an_export_are_one_object(version: str) -> None:
    """v1beta1 and v1alpha1 have one schema and name the same object."""
    manifest = only(parse_manifests(document(f"{MCS}/{version}")))

    assert manifest == Manifest(
        ObjectId("ServiceExport", "demo", "echo"), ServiceExport(ServiceKey("demo", "echo")), ()
    )


def test_a_namespace_has_a_name_only() -> None:
    """A Namespace lies in no namespace, whatever its metadata says."""
    manifest = only(parse_manifests(document("v1", "Namespace")))

    assert manifest == Manifest(ObjectId("Namespace", "", "echo"), Namespace("echo"))


def test_a_name_that_many_objects_have_is_kept_once() -> None:
    """A controller has thousands of objects, in a few namespaces, that are called as their services are."""
    one, other = (only(parse_manifests(document(name="".join("echo"), namespace="".join("demo")))).id for _ in range(2))
    assert one is not None
    assert other is not None
    assert one.name is other.name
    assert one.namespace is other.namespace


def test_a_list_gives_its_items_each_with_its_own_path() -> None:
    """One bad item of a List harms no other, and its path says which it was."""
    parsed = parse_manifests(
        {"apiVersion": "v1", "kind": "List", "items": [document("v1", "Namespace"), document(name="Echo"), 7]}
    )

    assert parsed[0].value == Namespace("echo")
    assert reasons(parsed) == [("items[1].metadata.name", "InvalidName"), ("items[2]", "WrongType")]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (7, [("", "WrongType")]),
        ([], [("", "WrongType")]),
        ({}, [("apiVersion", "Required"), ("kind", "Required"), *NAMELESS]),
        (document(kind=None), [("kind", "Required")]),
        (document(kind=7), [("kind", "WrongType")]),
        (document("v1", "List"), [("items", "WrongType")]),
        (document("apps/v1", "Deployment"), [("kind", "UnknownKind")]),
        (document("serving.knative.dev/v1", "Service"), [("kind", "UnknownKind")]),
        (document(f"{MCS}/v2"), [("apiVersion", "UnknownKind")]),
        (document(f"{MCS}/v1beta1", "ServiceImport"), [("kind", "UnknownKind")]),
        (document() | {"metadata": []}, [("metadata", "WrongType"), *NAMELESS]),
        (document(name="Echo"), [("metadata.name", "InvalidName")]),
        (document(name="a.b"), [("metadata.name", "InvalidName")]),
        (document(name=7), [("metadata.name", "WrongType")]),
        (document(namespace=None), [("metadata.namespace", "Required")]),
        (document(namespace="a_b"), [("metadata.namespace", "InvalidName")]),
    ],
)  # fmt: skip
def test_a_wrong_envelope_is_a_problem_with_its_path(raw: object, expected: list[tuple[str, str]]) -> None:
    """Every fault of the envelope is found at once, and the object has no value."""
    parsed = parse_manifests(raw)

    assert reasons(parsed) == expected
    assert only(parsed).value is None


def test_a_wrong_object_that_is_named_keeps_its_identity() -> None:
    """Kind, namespace and name are known although the version is not, so that a last good version can stand in."""
    manifest = only(parse_manifests(document(f"{MCS}/v9")))

    assert manifest.id == ObjectId("ServiceExport", "demo", "echo")
    assert manifest.problems[0].subject == "ServiceExport demo/echo"


def test_a_foreign_kind_is_not_taken_for_ours() -> None:
    """A Service of another group is another object than the Service of the same name."""
    manifest = only(parse_manifests(document("serving.knative.dev/v1", "Service")))

    assert manifest.id == ObjectId("Service.serving.knative.dev", "demo", "echo")


def test_what_is_not_named_has_no_identity() -> None:
    """Without a name or a namespace nobody knows which object is meant."""
    assert only(parse_manifests(document(name=None))).id is None
    assert only(parse_manifests(document(namespace=None))).id is None
