"""What is known of a cluster's objects after lists and events."""

from __future__ import annotations

from typing import Any

from controllers.mcs.objects import MANAGED_BY, MANAGER
from controllers.sources.watched_objects import PODS, RESOURCES, Resource, WatchedObjects
from federation.model.names import ServiceKey

NAMESPACES, SERVICES, SLICES, EXPORTS, POLICIES = RESOURCES
ECHO, OTHER = ServiceKey("demo", "echo"), ServiceKey("demo", "other")


def service(name: str = "echo", port: object = 80) -> dict[str, Any]:
    return {"metadata": {"namespace": "demo", "name": name}, "spec": {"ports": [{"port": port}]}}


def listed(*services: dict[str, Any]) -> WatchedObjects:
    """Every resource listed, with these services and nothing else."""
    objects = WatchedObjects()
    for resource in RESOURCES:
        objects.replace(resource, services if resource is SERVICES else [])
    return objects


def problems(objects: WatchedObjects) -> list[tuple[str, str]]:
    update = objects.update()
    assert update is not None
    return [(problem.subject, problem.reason) for problem in update.problems]


def test_nothing_comes_before_every_resource_was_listed() -> None:
    """Events don't make a list."""
    objects = WatchedObjects()
    objects.put(EXPORTS, service())
    for resource in (NAMESPACES, SERVICES, SLICES, POLICIES):
        objects.replace(resource, [])
        assert objects.update() is None
    objects.replace(EXPORTS, [])

    update = objects.update()
    assert update is not None
    assert (dict(update.state.services), update.problems) == ({}, ())


def test_an_update_comes_once() -> None:
    """What changes nothing is no news: the same object again, or one that was not known and is gone."""
    objects = listed(service())
    first = objects.update()
    assert first is not None
    objects.put(SERVICES, service())
    objects.remove(SERVICES, service("other"))

    assert first.changed == {ECHO}
    assert objects.update() is None


def test_a_list_takes_the_place_of_what_was_known() -> None:
    """Of its own resource only: what it lacks is gone, also if it came by an event."""
    objects = listed(service())
    objects.put(SERVICES, service("other"))
    objects.put(EXPORTS, {"metadata": {"namespace": "demo", "name": "echo"}})
    assert objects.update() is not None
    objects.replace(SERVICES, [service("third")])

    update = objects.update()
    assert update is not None
    assert update.changed == {ECHO, OTHER, ServiceKey("demo", "third")}
    assert {key: state.service is not None for key, state in update.state.services.items()} == {
        ECHO: False,
        ServiceKey("demo", "third"): True,
    }


def test_a_bad_object_keeps_its_last_good_version() -> None:
    """By event and by list; good again, or gone, it leaves no trace. One that was never good is not there."""
    objects = listed(service(), service("other", "no port"))
    assert problems(objects) == [("Service demo/other", "WrongType")]

    objects.replace(SERVICES, [service(port="no port")])
    assert problems(objects) == [("Service demo/echo", "LastGoodInUse"), ("Service demo/echo", "WrongType")]
    objects.put(SERVICES, service(port=81))
    assert problems(objects) == []
    objects.put(SERVICES, service(port="no port"))
    objects.remove(SERVICES, service(port="no port"))
    update = objects.update()
    assert update is not None
    assert (dict(update.state.services), update.problems) == ({}, ())


def test_a_resource_that_can_not_be_read_is_a_problem_until_it_is() -> None:
    """The state stays the same object, and the update changes no service."""
    objects = listed(service())
    first = objects.update()
    assert first is not None
    objects.mark_unreadable(SERVICES, "the API server is away")

    update = objects.update()
    assert update is not None
    assert (update.state is first.state, update.changed) == (True, frozenset())
    assert [str(problem.message) for problem in update.problems] == [
        "the API server is away; what was last read of them stays in use"
    ]
    objects.mark_readable(SERVICES)
    assert problems(objects) == []


def test_what_does_not_say_which_object_it_is_is_left_out() -> None:
    """Only a broken server sends it; the rest of the list counts."""
    update = listed(service(), {"metadata": {}}, {"spec": {}}).update()

    assert update is not None
    assert (update.changed, update.problems) == ({ECHO}, ())


def test_resources_are_found_by_group_and_version() -> None:
    """The core group has a root of its own."""
    assert [one.path(one.api_versions[-1]) for one in RESOURCES] == [
        "/api/v1/namespaces",
        "/api/v1/services",
        "/apis/discovery.k8s.io/v1/endpointslices",
        "/apis/multicluster.x-k8s.io/v1alpha1/serviceexports",
        "/apis/federation-gateway.dev/v1alpha1/trafficpolicies",
    ]
    assert isinstance(SERVICES, Resource)


def test_an_export_that_waits_for_a_finalizer_is_none() -> None:
    """By event and by list: whoever deleted it wants it gone."""
    export: dict[str, Any] = {"metadata": {"namespace": "demo", "name": "echo"}}
    deleted = {"metadata": {**export["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    objects = listed(service())
    objects.put(EXPORTS, export)
    first = objects.update()
    objects.put(EXPORTS, deleted)
    second = objects.update()
    objects.put(EXPORTS, export)
    assert objects.update() is not None
    objects.replace(EXPORTS, [deleted])
    third = objects.update()

    assert None not in [first, second, third]
    assert [one.state.services[ECHO].export is None for one in (first, second, third) if one] == [False, True, True]


def test_a_namespace_that_is_about_to_go_exports_nothing() -> None:
    """What is in it stays known otherwise; one that is made anew exports again."""
    objects = listed(service())
    objects.put(EXPORTS, {"metadata": {"namespace": "demo", "name": "echo"}})
    objects.put(NAMESPACES, {"metadata": {"name": "demo", "deletionTimestamp": "2026-01-01T00:00:00Z"}})
    gone = objects.update()
    objects.put(NAMESPACES, {"metadata": {"name": "demo"}})
    back = objects.update()

    assert None not in [gone, back]
    told = [one.state for one in (gone, back) if one is not None]
    assert [state.services[ECHO].export is None for state in told] == [True, False]
    assert [state.services[ECHO].service is None for state in told] == [False, False]
    assert ["demo" in state.namespaces for state in told] == [False, True]


def test_endpoints_have_the_identities_of_pods_that_are_read() -> None:
    """Nothing comes before the pods were listed; a slice is told again when a pod of it is known, or is another."""
    piece = {
        "metadata": {"namespace": "demo", "name": "echo-1", "labels": {"kubernetes.io/service-name": "echo"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": "a"}}],
    }

    def pod(account: str) -> dict[str, Any]:
        return {"metadata": {"namespace": "demo", "name": "a"}, "spec": {"serviceAccountName": account}}

    def accounts() -> list[str]:
        update = objects.update()
        assert update is not None
        assert update.changed == {ECHO}
        return [one.service_account for one in update.state.services[ECHO].slices[0].endpoints]

    objects = WatchedObjects([*RESOURCES, PODS])
    for resource in RESOURCES:
        objects.replace(resource, [piece] if resource is SLICES else [])
    assert objects.update() is None
    objects.replace(PODS, [pod("backend")])
    assert accounts() == ["backend"]
    objects.put(PODS, pod("other"))
    assert accounts() == ["other"]
    objects.remove(PODS, pod("other"))
    assert objects.update() is None


def test_derived_services_are_none_of_the_cluster_s_own() -> None:
    """What this program makes of imports must not come back as something that the cluster has; unmarked, it does."""
    derived = service("derived-x")
    derived["metadata"]["labels"] = {MANAGED_BY["Service"]: MANAGER}
    objects = listed(service(), derived)
    first = objects.update()
    objects.put(SERVICES, derived)
    assert objects.update() is None
    objects.put(SERVICES, service("derived-x"))
    second = objects.update()
    objects.put(SERVICES, derived)
    third = objects.update()

    assert None not in [first, second, third]
    assert [len(one.state.services) for one in (first, second, third) if one] == [1, 2, 1]


def test_policies_are_taken_in_and_bad_ones_told_of() -> None:
    """They are no state of a service."""
    objects = listed(service())
    assert objects.update() is not None
    metadata = {"namespace": "demo", "name": "p"}
    objects.put(POLICIES, {"metadata": metadata, "spec": {"limits": {"requests": 3}}})

    update = objects.update()
    assert update is not None
    assert update.changed == frozenset()
    assert [policy.name for policy in update.state.policies["demo"]] == ["p"]
    objects.put(POLICIES, {"metadata": metadata, "spec": {"limits": {"requests": 0}}})
    assert problems(objects) == [("TrafficPolicy demo/p", "InvalidValue"), ("TrafficPolicy demo/p", "LastGoodInUse")]
