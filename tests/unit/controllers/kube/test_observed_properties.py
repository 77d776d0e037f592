"""What is known of the cluster's properties as it is told, and when it is known whole."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.kube.observed_properties import PROPERTY_RESOURCES, ObservedProperties
from controllers.mcs.cluster_properties import CLUSTER_PROPERTY, CLUSTERSET_PROPERTY

DEFINITIONS, PROPERTIES = PROPERTY_RESOURCES


def definition(*served: str, **metadata: Any) -> dict[str, Any]:
    versions = [{"name": name, "served": name in served} for name in ("v1alpha1", "v1beta1", "v9")]
    return {"metadata": {"name": "clusterproperties.about.k8s.io", **metadata}, "spec": {"versions": versions}}


def found(name: str = CLUSTER_PROPERTY.name, version: str = "5", value: str = "east") -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": version}, "spec": {"value": value}}


def observed(*served: str) -> ObservedProperties:
    one = ObservedProperties()
    one.replace(DEFINITIONS, [definition(*served), {"metadata": {"name": "others.example.com"}}])
    one.replace(PROPERTIES, [])
    return one


def test_nothing_is_whole_before_all_was_listed() -> None:
    """Nor while one can't be read."""
    one = ObservedProperties()
    one.replace(PROPERTIES, [])
    before = one.whole
    one.replace(DEFINITIONS, [definition("v1beta1")])
    after = one.whole
    one.mark_unreadable(PROPERTIES, "gone away")

    assert (before, after, one.whole) == (False, True, False)
    assert [str(problem) for problem in one.problems] == [
        "clusterproperties: gone away; the cluster's properties stay as they are until then (Unreadable)"
    ]
    one.mark_readable(PROPERTIES)
    assert (one.whole, one.problems) == (True, ())


@pytest.mark.parametrize(
    ("served", "written"),
    [
        (("v1beta1", "v1alpha1"), "about.k8s.io/v1beta1"),
        (("v1alpha1", "v9"), "about.k8s.io/v1alpha1"),
        (("v9",), ""),
        ((), ""),
    ],
)
def test_the_newest_version_that_is_known_here_is_written(served: tuple[str, ...], written: str) -> None:
    """Without one nothing is, and there is one problem, whatever else can't be read."""
    one = observed(*served)
    if not written:
        one.mark_unreadable(PROPERTIES, "not served")

    assert one.api_version == written
    assert [problem.reason for problem in one.problems] == ([] if written else ["NotServed"])


def test_a_definition_comes_and_goes() -> None:
    """One that is about to go is gone; those of others change nothing."""
    one = observed("v1beta1")
    told = [one.api_version]
    for item in (definition("v1alpha1"), {"metadata": {"name": "x"}}, definition("v1beta1", deletionTimestamp="now")):
        one.put(DEFINITIONS, item)
        told.append(one.api_version)
    one.put(DEFINITIONS, definition("v1beta1"))
    one.remove(DEFINITIONS, {"metadata": {"name": "x"}})
    told.append(one.api_version)
    one.remove(DEFINITIONS, definition("v1beta1"))

    assert [version.rpartition("/")[2] for version in told] == ["v1beta1", "v1alpha1", "v1alpha1", "", "v1beta1"]
    assert one.api_version == ""


def test_only_the_two_properties_are_kept_as_they_are_newest() -> None:
    """An event from before a write that was answered is ignored."""
    one = observed("v1beta1")
    one.put(PROPERTIES, found("note.example.com"))
    one.put(PROPERTIES, found())
    one.put_written(found(version="12", value="west"))
    one.put(PROPERTIES, found(version="9"))
    one.remove(PROPERTIES, found(version="9"))
    kept = dict(one.found)
    one.remove(PROPERTIES, found(version="13"))
    gone = dict(one.found)
    one.replace(PROPERTIES, [found(CLUSTERSET_PROPERTY.name), found("note.example.com")])

    assert kept == {CLUSTER_PROPERTY: found(version="12", value="west")}
    assert gone == {}
    assert [*one.found] == [CLUSTERSET_PROPERTY]
