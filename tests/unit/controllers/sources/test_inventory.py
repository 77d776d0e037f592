"""The inventory: objects in, services out, by value."""

from __future__ import annotations

from controllers.sources.inventory import Inventory
from controllers.sources.manifests import Namespace, ObjectId
from federation.model.names import ServiceKey
from federation.model.state import ServiceExport, ServiceState
from federation.model.traffic_policy import Limits, PolicySpec, TrafficPolicy

KEY = ServiceKey("demo", "echo")
EXPORT = ObjectId("ServiceExport", "demo", "echo")


def test_services_come_change_and_go() -> None:
    """Each application returns what it changed, and the last part of a service takes it away."""
    inventory = Inventory()

    assert inventory.apply({EXPORT: ServiceExport(KEY)}) == {KEY}
    assert dict(inventory.state.services) == {KEY: ServiceState(export=ServiceExport(KEY))}
    assert inventory.apply({EXPORT: ServiceExport(KEY, exported_labels=(("a", "b"),))}) == {KEY}
    assert EXPORT in inventory
    assert inventory.apply({EXPORT: None}) == {KEY}
    assert dict(inventory.state.services) == {}
    assert EXPORT not in inventory


def test_what_is_equal_changes_nothing() -> None:
    """Putting in an equal object, or taking out one that isn't there, leaves the very same state."""
    inventory = Inventory()
    inventory.apply({EXPORT: ServiceExport(KEY)})
    before = inventory.state

    assert inventory.apply({EXPORT: ServiceExport(KEY), ObjectId("Service", "x", "y"): None}) == frozenset()
    assert inventory.state is before


def test_namespaces_are_those_stated_and_those_used() -> None:
    """An object proves its namespace; a Namespace object alone does so too."""
    inventory = Inventory()

    inventory.apply({EXPORT: ServiceExport(KEY), ObjectId("Namespace", "", "empty"): Namespace("empty")})
    assert inventory.state.namespaces == {"demo", "empty"}

    inventory.apply({ObjectId("Namespace", "", "empty"): None})
    assert inventory.state.namespaces == {"demo"}


def test_a_namespace_that_is_about_to_go_exports_nothing() -> None:
    """Nor once it is gone, for what was in it may be heard to be gone later; made anew it counts again."""
    inventory = Inventory()
    namespace = ObjectId("Namespace", "", "demo")
    other = ServiceKey("other", "echo")
    inventory.apply(
        {
            namespace: Namespace("demo"),
            EXPORT: ServiceExport(KEY),
            ObjectId("ServiceExport", "other", "echo"): ServiceExport(other),
        }
    )

    assert inventory.apply({namespace: Namespace("demo", terminating=True)}) == {KEY}
    assert dict(inventory.state.services) == {other: ServiceState(export=ServiceExport(other))}
    assert inventory.state.namespaces == {"other"}

    late = ObjectId("ServiceExport", "demo", "late")
    assert inventory.apply({late: ServiceExport(ServiceKey("demo", "late"))}) == frozenset()
    assert inventory.apply({namespace: None, late: None}) == frozenset()
    assert inventory.apply({namespace: Namespace("demo")}) == {KEY}
    assert inventory.state.namespaces == {"demo", "other"}


def test_of_a_namespace_that_went_with_all_in_it_nothing_is_remembered() -> None:
    """Whatever was heard to go first: what is said of its name later counts."""
    inventory = Inventory()
    namespace = ObjectId("Namespace", "", "demo")
    inventory.apply({namespace: Namespace("demo", terminating=True), EXPORT: ServiceExport(KEY)})
    inventory.apply({namespace: None})
    inventory.apply({EXPORT: None})

    assert inventory.apply({EXPORT: ServiceExport(KEY)}) == {KEY}


def test_policies_are_by_namespace_and_concern_no_state_of_a_service() -> None:
    """Sorted by name; a state that was given keeps those that it had."""
    inventory = Inventory()
    a, b = (TrafficPolicy("demo", name, PolicySpec(limits=Limits(requests=1))) for name in ("a", "b"))
    id_a, id_b = (ObjectId("TrafficPolicy", "demo", name) for name in ("a", "b"))

    assert inventory.apply({id_b: b, id_a: a}) == frozenset()
    before = inventory.state
    assert dict(before.policies) == {"demo": (a, b)}
    assert before.namespaces == {"demo"}
    assert inventory.apply({id_a: a}) == frozenset()
    assert inventory.state is before

    inventory.apply({id_a: None})
    assert dict(inventory.state.policies) == {"demo": (b,)}
    inventory.apply({id_b: None})
    assert dict(inventory.state.policies) == {}
    assert inventory.state.namespaces == frozenset()
    assert dict(before.policies) == {"demo": (a, b)}
