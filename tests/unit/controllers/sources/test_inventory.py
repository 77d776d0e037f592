"""The inventory: objects in, services out, by value."""

from __future__ import annotations

from controllers.sources.inventory import Inventory
from controllers.sources.manifests import Namespace, ObjectId
from federation.model.names import ServiceKey
from federation.model.state import ServiceExport, ServiceState

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
