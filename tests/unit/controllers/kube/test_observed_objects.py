"""What the writer looks at: what is kept, for which service it is news, and when it is whole."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.kube.observed_objects import WRITER_RESOURCES, ObservedObjects
from controllers.mcs.objects import FIELD_MANAGER, SERVICE_NAME_LABEL, derived_id, export_id, import_id
from controllers.sources.manifests import ObjectId
from federation.model.names import ServiceKey
from support.builders import ECHO
from support.kube.server import multicluster_definitions

BY_KIND = {one.kind: one for one in WRITER_RESOURCES}
OTHER = ServiceKey("demo", "other")
SLICE = ObjectId("EndpointSlice", "demo", "echo-0")


def body(id_: ObjectId, version: int = 1, uid: str = "u1", **metadata: Any) -> dict[str, Any]:
    head = {"name": id_.name, "uid": uid, "resourceVersion": str(version), **metadata}
    return {"metadata": {**head, **({"namespace": id_.namespace} if id_.namespace else {})}}


def slice_of(key: ServiceKey, version: int = 1) -> dict[str, Any]:
    return body(SLICE, version, labels={SERVICE_NAME_LABEL: key.name})


@pytest.fixture
def objects() -> ObservedObjects:
    """A whole and empty cluster with the namespace demo."""
    found = ObservedObjects()
    for resource in WRITER_RESOURCES:
        found.replace(resource, [])
    found.replace(BY_KIND["CustomResourceDefinition"], multicluster_definitions())
    found.replace(BY_KIND["Namespace"], [body(ObjectId("Namespace", "", "demo"))])
    found.take_changed([])
    return found


def put(objects: ObservedObjects, id_: ObjectId, item: dict[str, Any]) -> set[ServiceKey]:
    objects.put(BY_KIND[id_.kind], item)
    return objects.take_changed([])


def test_it_is_whole_once_everything_was_listed_and_as_long_as_it_is_read(objects: ObservedObjects) -> None:
    """Each resource counts, and the MCS API must be served."""
    partial = ObservedObjects()
    for resource in WRITER_RESOURCES[:-1]:
        partial.replace(resource, multicluster_definitions() if resource is WRITER_RESOURCES[0] else [])
    before = partial.whole, objects.whole
    partial.replace(WRITER_RESOURCES[-1], [])
    objects.mark_unreadable(BY_KIND["Service"], "it is away")

    assert (before, partial.whole, objects.whole) == ((False, True), True, False)
    assert [str(one) for one in objects.problems] == [
        "services: it is away; nothing is written until they are read (Unreadable)"
    ]
    objects.mark_readable(BY_KIND["Service"])
    assert (objects.whole, objects.problems) == (True, ())
    objects.replace(BY_KIND["CustomResourceDefinition"], [])
    assert (objects.whole, objects.api) == (False, None)


def test_objects_are_found_by_their_service(objects: ObservedObjects) -> None:
    """The import, the export, the derived Service, and slices by their label."""
    derived = derived_id(ECHO)
    changed = [
        put(objects, import_id(ECHO), body(import_id(ECHO))),
        put(objects, export_id(ECHO), body(export_id(ECHO))),
        put(objects, derived, body(derived, annotations={"federation-gateway.dev/service": "demo/echo"})),
        put(objects, SLICE, slice_of(ECHO)),
    ]

    assert changed == [{ECHO}] * 4
    assert objects.of(ECHO).keys() == {import_id(ECHO), export_id(ECHO), derived, SLICE}
    assert (objects.of(OTHER), objects.keys) == ({}, {ECHO})


def test_a_slice_that_moves_is_news_for_both_services(objects: ObservedObjects) -> None:
    """Anybody may edit the label; one that goes is news for the service that it was of."""
    put(objects, SLICE, slice_of(ECHO))
    moved = put(objects, SLICE, slice_of(OTHER, 2))
    unlabelled = put(objects, SLICE, body(SLICE, 3))
    put(objects, SLICE, slice_of(ECHO, 4))
    objects.remove(BY_KIND["EndpointSlice"], slice_of(ECHO, 5))

    assert (moved, unlabelled, objects.take_changed([])) == ({ECHO, OTHER}, {OTHER}, {ECHO})
    assert (objects.of(ECHO), objects.keys) == ({}, frozenset())


def test_a_name_of_ours_is_seen_whosever_it_is(objects: ObservedObjects) -> None:
    """A derived Service without annotation, or with one that is wrong, is looked at; other Services are not kept."""
    derived = derived_id(ECHO)
    put(objects, derived, body(derived, annotations={"federation-gateway.dev/service": "demo/other"}))
    service = ObjectId("Service", "demo", "echo")

    assert put(objects, service, body(service)) == set()
    assert (set(objects.of(ECHO)), objects.of(OTHER), objects.keys) == ({derived}, {}, frozenset())


def test_what_was_known_before_is_no_news(objects: ObservedObjects) -> None:
    """Neither the same again, nor an event or a deletion that is older than what a write was answered with."""
    put(objects, SLICE, slice_of(ECHO, 1))
    objects.put_written("EndpointSlice", slice_of(ECHO, 3))
    written = objects.take_changed([])
    again = put(objects, SLICE, slice_of(ECHO, 3))
    older = put(objects, SLICE, slice_of(OTHER, 2))
    objects.remove(BY_KIND["EndpointSlice"], slice_of(ECHO, 2))

    assert (written, again, older, objects.take_changed([])) == ({ECHO}, set(), set(), set())
    assert set(objects.of(ECHO)) == {SLICE}


def test_a_list_counts_whatever_was_known(objects: ObservedObjects) -> None:
    """Also where versions went back, as after an API server was restored from a copy."""
    put(objects, SLICE, slice_of(ECHO, 9))
    objects.replace(BY_KIND["EndpointSlice"], [slice_of(OTHER, 2)])

    assert (objects.take_changed([]), objects.keys) == ({ECHO, OTHER}, {OTHER})
    objects.replace(BY_KIND["EndpointSlice"], [])
    assert (objects.take_changed([]), objects.keys) == ({OTHER}, frozenset())


def test_namespaces_are_news_for_all_in_them(objects: ObservedObjects) -> None:
    """One that comes, and one that is about to go; services elsewhere are not concerned."""
    far = ServiceKey("far", "echo")
    namespace = ObjectId("Namespace", "", "far")
    objects.put(BY_KIND["Namespace"], body(namespace))
    come = objects.take_changed([ECHO, far])
    objects.put(BY_KIND["Namespace"], body(namespace, 2, deletionTimestamp="2026-01-01T00:00:00Z"))

    assert (come, objects.take_changed([ECHO, far]), objects.namespaces) == ({far}, {far}, {"demo"})


def test_another_api_is_news_for_everybody(objects: ObservedObjects) -> None:
    """Each object may look different by another schema."""
    put(objects, SLICE, slice_of(ECHO))
    objects.replace(BY_KIND["CustomResourceDefinition"], [])

    assert objects.take_changed([OTHER]) == {ECHO, OTHER}


def test_of_managed_fields_ours_are_kept(objects: ObservedObjects) -> None:
    """Those of others are half of an object, and nobody's business here."""
    ours = {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {}}}
    put(objects, import_id(ECHO), body(import_id(ECHO), managedFields=[{"manager": "kubectl"}, ours]))
    metadata: Any = objects.of(ECHO)[import_id(ECHO)]["metadata"]

    assert metadata["managedFields"] == [ours]


def test_what_says_no_name_is_nothing(objects: ObservedObjects) -> None:
    """Only a broken server sends it."""
    objects.put(BY_KIND["EndpointSlice"], {"metadata": {}})
    objects.remove(BY_KIND["EndpointSlice"], {})

    assert objects.take_changed([]) == set()


def test_items_of_a_list_say_what_they_are() -> None:
    """Those of built-in kinds don't; a custom one says the version that it was read in."""
    found = ObservedObjects()
    alpha = {**body(import_id(ECHO)), "apiVersion": "multicluster.x-k8s.io/v1alpha1", "kind": "ServiceImport"}
    found.replace(BY_KIND["EndpointSlice"], [slice_of(ECHO)])
    found.replace(BY_KIND["ServiceImport"], [alpha])

    assert {(one["apiVersion"], one["kind"]) for one in found.of(ECHO).values()} == {
        ("discovery.k8s.io/v1", "EndpointSlice"),
        ("multicluster.x-k8s.io/v1alpha1", "ServiceImport"),
    }


def test_what_is_kept_is_what_was_told(objects: ObservedObjects) -> None:
    """Whatever the object before it was like, and however large either is."""
    keys = [ServiceKey("demo", f"echo-{number}") for number in range(4)]
    told = [
        {
            **body(import_id(key), managedFields=[]),
            "apiVersion": "v1",
            "kind": "ServiceImport",
            "spec": {"ports": ports},
        }
        for key, ports in zip(keys, ([], ["x" * 50_000], [{"é": None}], [1.5] * 9_000), strict=True)
    ]
    for key, one in zip(keys, told, strict=True):
        put(objects, import_id(key), one)

    assert [objects.of(key)[import_id(key)] for key in keys] == told
