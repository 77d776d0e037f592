"""What is known of a mesh's objects, whose they are, and what it is news for."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.kube.observed_mesh_objects import BASE, SHARED, ObservedMeshObjects
from controllers.mcs.objects import MANAGED_BY, MANAGER, SERVICE_NAME_LABEL, derived_id
from controllers.sources.manifests import ObjectId
from controllers.sources.watched_objects import Resource
from federation.model.names import ServiceKey
from support.builders import ECHO

NAMESPACES, SERVICES = BASE
ENTRIES = Resource("ServiceEntry", ("networking.istio.io/v1",), "serviceentries")
POLICIES = Resource("AuthorizationPolicy", ("security.istio.io/v1",), "authorizationpolicies")
SLICES = Resource("EndpointSlice", ("discovery.k8s.io/v1",), "endpointslices")
DEMO = {"metadata": {"name": "demo"}}
OURS = {MANAGED_BY["ServiceEntry"]: MANAGER}


def item(name: str, version: str = "5", labels: dict[str, str] | None = None, **metadata: Any) -> dict[str, Any]:
    head = {"namespace": "demo", "name": name, "resourceVersion": version, "labels": labels or {}, **metadata}
    return {"metadata": head}


def observed(*entries: dict[str, Any]) -> ObservedMeshObjects:
    found = ObservedMeshObjects()
    found.replace(NAMESPACES, [DEMO])
    found.replace(SERVICES, [])
    found.replace(ENTRIES, entries)
    for resource in (*BASE, ENTRIES):
        found.mark_readable(resource)
    return found


def names(found: ObservedMeshObjects, key: ServiceKey = ECHO) -> set[str]:
    return {id_.name for id_ in found.of(key, ())}


def test_nothing_is_whole_before_namespaces_and_services_were_read() -> None:
    """Nor while anything that is followed can't be read; nobody is told of what others tell."""
    fresh = ObservedMeshObjects()
    found = observed()
    whole = found.whole
    found.mark_unreadable(ENTRIES, "gone away")

    assert (fresh.whole, whole, found.whole) == (False, True, False)
    assert fresh.problems() == ()
    assert [(one.subject, one.reason) for one in found.problems()] == [("serviceentries", "Unreadable")]


@pytest.mark.parametrize(
    ("told", "belongs"),
    [
        (item("federation-echo"), True),
        (item("federation-echo.8080"), True),
        (item("federation-echo", labels={SERVICE_NAME_LABEL: "web"}), True),
        (item("old-name", labels={**OURS, SERVICE_NAME_LABEL: "echo"}), True),
        (item("old-name", labels={SERVICE_NAME_LABEL: "echo"}), False),
        (item("federation-echo-2"), False),
        (item("echo"), False),
    ],
)
def test_an_object_belongs_to_the_service_that_its_name_says(told: dict[str, Any], belongs: bool) -> None:
    """Whoever made it: labels can be edited. What has another name is ours only by our label."""
    assert bool(names(observed(told))) is belongs


def test_what_belongs_to_no_service_is_shared() -> None:
    """Policies are of a namespace or of the whole mesh; other people's are not even kept."""
    found = observed()
    found.replace(POLICIES, [item("federation-foreign-callers"), item("deny-all")])
    assert names(found, SHARED) == {"federation-foreign-callers"}


def test_slices_belong_to_the_service_of_their_annotation() -> None:
    """As those for Linkerd do; slices of others have labels of others."""
    found = observed()
    label, annotations = {MANAGED_BY["EndpointSlice"]: MANAGER}, {"federation-gateway.dev/service": "demo/echo"}
    found.replace(SLICES, [item("one", labels=label, annotations=annotations), item("two", annotations=annotations)])
    assert names(found) == {"one"}


def test_the_derived_service_is_shown_to_whoever_renders_and_never_planned() -> None:
    """It is another writer's, and would be deleted as one that nobody wants."""
    found = observed()
    derived = derived_id(ECHO)
    annotations = {"federation-gateway.dev/service": "demo/echo"}
    found.take_changed(())
    found.put(SERVICES, item(derived.name, annotations=annotations))

    assert set(found.derived(ECHO)) == {derived}
    assert found.of(ECHO, ()) == {}
    assert found.take_changed(()) == {ECHO}


def test_the_same_again_is_no_news_and_what_is_older_is_ignored() -> None:
    """An answer to a write counts at once; events that come after it are of before."""
    found = observed(item("federation-echo", "5"))
    first = found.take_changed(())
    found.replace(ENTRIES, [item("federation-echo", "5")])
    again = found.take_changed(())
    written = {"apiVersion": "networking.istio.io/v1", **item("federation-echo", "7")}
    found.put_written("ServiceEntry", written)
    after = found.take_changed(())
    found.put(ENTRIES, item("federation-echo", "6"))
    found.remove(ENTRIES, item("federation-echo", "6"))

    assert (ECHO in first, again, after, found.take_changed(())) == (True, set(), {ECHO}, set())
    (document,) = found.of(ECHO, ()).values()
    assert document["apiVersion"] == "networking.istio.io/v1"
    found.remove(ENTRIES, item("federation-echo", "8"))
    assert found.take_changed(()) == {ECHO}
    assert found.of(ECHO, [ObjectId("ServiceEntry", "demo", "federation-echo")]) == {}


def test_a_namespace_is_news_for_all_that_is_in_it() -> None:
    """One that is about to go is gone."""
    found = observed()
    found.take_changed(())
    found.put(NAMESPACES, {"metadata": {"name": "demo", "deletionTimestamp": "2026-01-01T00:00:00Z"}})
    other = ServiceKey("other", "web")

    assert found.take_changed([ECHO, other]) == {ECHO, SHARED}
    assert found.namespaces == frozenset()


def test_what_is_followed_no_more_is_forgotten() -> None:
    """Its objects went with their definition."""
    found = observed(item("federation-echo"))
    found.take_changed(())
    found.forget(ENTRIES)
    assert (names(found), found.take_changed(()), found.whole) == (set(), {ECHO}, True)
