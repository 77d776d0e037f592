"""Which version and which fields of the MCS API are written, by what the cluster's CRDs serve."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.mcs.objects import Apply
from controllers.mcs.served_api import ServedApi, parse_served_api
from controllers.sources.manifests import ObjectId
from support.kube.server import multicluster_definitions

SCHEMA = {"properties": {"spec": {"properties": {"type": {}, "ports": {"items": {"properties": {"port": {}}}}}}}}


def definition(kind: str, **served: bool) -> dict[str, Any]:
    versions = [
        {"name": name, "served": is_served, "schema": {"openAPIV3Schema": SCHEMA}} for name, is_served in served.items()
    ]
    return {"spec": {"group": "multicluster.x-k8s.io", "names": {"kind": kind}, "versions": versions}}


@pytest.mark.parametrize(
    ("exports", "imports", "version"),
    [
        ({"v1alpha1": True, "v1beta1": True}, {"v1alpha1": True, "v1beta1": True}, "v1beta1"),
        ({"v1alpha1": True}, {"v1alpha1": True}, "v1alpha1"),
        ({"v1alpha1": True, "v1beta1": True}, {"v1alpha1": True, "v1beta1": False}, "v1alpha1"),
    ],
)
def test_the_newest_version_that_both_kinds_are_served_in_is_written(
    exports: dict[str, bool], imports: dict[str, bool], version: str
) -> None:
    """A version that is only stored, or served for one kind, is none."""
    found = parse_served_api([definition("ServiceExport", **exports), definition("ServiceImport", **imports)])

    assert found is not None
    assert found.version == f"multicluster.x-k8s.io/{version}"


@pytest.mark.parametrize(
    "definitions",
    [
        [],
        [definition("ServiceExport", v1beta1=True)],
        [definition("ServiceExport", v1=True), definition("ServiceImport", v1=True)],
        [definition("ServiceExport", v1beta1=True), {"spec": {"group": "x", "names": {"kind": "ServiceImport"}}}],
        [{}, {"spec": None}],
    ],
)
def test_without_both_kinds_in_a_known_version_there_is_no_api(definitions: list[dict[str, Any]]) -> None:
    """Nothing can be written where a CRD is missing or too new."""
    assert parse_served_api(definitions) is None


def test_what_the_schema_lacks_is_left_out() -> None:
    """At every depth, in lists too, but for the head of the object; the values that stay are the same."""
    api = ServedApi(schemas={"ServiceImport": SCHEMA})
    document = {
        "apiVersion": "v",
        "kind": "k",
        "metadata": {"name": "echo", "labels": {"a": "b"}},
        "spec": {"type": "Headless", "ips": [], "ports": [{"port": 80, "appProtocol": "http"}]},
    }
    apply = Apply(ObjectId("ServiceImport", "demo", "echo"), "", document)

    assert api.prune(apply).document == {**document, "spec": {"type": "Headless", "ports": [{"port": 80}]}}
    assert ServedApi().prune(apply) == apply


def test_the_published_definitions_have_no_field_for_slice_objects() -> None:
    """The CRDs of mcs-api v0.5 lack status.endpointSliceObjects, and have all else that is written."""
    api = parse_served_api(multicluster_definitions())
    status = {"clusters": [{"cluster": "a"}], "endpointSliceObjects": "Present"}
    document = {"status": status, "spec": {"trafficDistribution": "PreferClose", "ipFamilies": ["IPv4"]}}

    assert api is not None
    pruned = api.prune(Apply(ObjectId("ServiceImport", "demo", "echo"), "", document)).document
    assert pruned == {"status": {"clusters": [{"cluster": "a"}]}, "spec": document["spec"]}
