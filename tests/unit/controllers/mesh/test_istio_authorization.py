"""Policies for callers of other trust domains, beyond the golden cases."""

from __future__ import annotations

from typing import Any

from controllers.mesh.base import Anchors, Whole
from controllers.mesh.istio_authorization import foreign_caller_policies
from controllers.projection import ServiceResult, Surroundings
from federation.model.export import export_service
from federation.model.locality import Site
from federation.model.names import ServiceKey
from federation.model.state import ServiceState
from support.builders import CREATED, EAST, ECHO, endpoint, endpoint_slice, exported_state, service

OTHERS: Anchors = {"west.test": (b"",)}


def policies(services: dict[ServiceKey, ServiceState], anchors: Anchors = OTHERS) -> dict[str, Any]:
    """The spec of each namespace's policy."""
    results = {
        key: ServiceResult(export_service(key, state, trust_domain="east.test", first_seen=CREATED), None, (), ())
        for key, state in services.items()
    }
    whole = Whole(results, services, Surroundings(Site(EAST, "eu", ""), "east.test", 15006), anchors)
    made = foreign_caller_policies(whole, root_namespace="istio-system", api_version="v")
    return {apply.id.namespace: apply.document["spec"] for apply in made}


def test_no_policy_touches_callers_of_the_own_trust_domain() -> None:
    """An own domain among the anchors is nobody else's."""
    assert policies({}, {"east.test": (b"",)}) == {}
    (rule,) = policies({}, {"east.test": (b"",), **OTHERS})["istio-system"]["rules"]
    assert rule["from"] == [{"source": {"principals": ["west.test/*"]}}]


def test_policies_deny_and_never_allow() -> None:
    """An allowing policy would refuse everybody whom it doesn't name."""
    found = policies({ECHO: exported_state(endpoint_slice(endpoint()))})
    assert {spec["action"] for spec in found.values()} == {"DENY"}
    assert set(found) == {"istio-system", "demo"}


def test_a_namespace_that_exports_nothing_has_no_policy_of_its_own() -> None:
    """A Service that is not exported counts for nothing."""
    assert set(policies({ECHO: ServiceState(service(), None, (endpoint_slice(endpoint()),))})) == {"istio-system"}


def test_without_an_exported_port_known_nothing_may_be_called() -> None:
    """An export that has no workload yet opens no port."""
    (rule,) = policies({ECHO: exported_state()})["demo"]["rules"]
    assert set(rule) == {"from"}


def test_the_root_namespace_keeps_the_policy_of_the_mesh() -> None:
    """Where it exports too, its one policy stays the one for all."""
    key = ServiceKey("istio-system", "echo")
    slice_ = endpoint_slice(endpoint(), of=key)
    (rule,) = policies({key: exported_state(slice_, of=key)})["istio-system"]["rules"]
    assert rule["when"] == [{"key": "connection.sni", "notValues": ["*.svc.clusterset.local"]}]
