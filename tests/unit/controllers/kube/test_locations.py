"""Paths of objects, and the rules that a write of them takes."""

from __future__ import annotations

from controllers.kube.locations import location, missing_rule
from controllers.sources.manifests import ObjectId

SLICE = ObjectId("EndpointSlice", "demo", "echo-0")


def test_an_object_is_where_its_group_namespace_and_name_say() -> None:
    """The core group has a root of its own, and what is in no namespace has none in its path."""
    assert location(SLICE, "discovery.k8s.io/v1") == ("/apis/discovery.k8s.io/v1/namespaces/demo/endpointslices/echo-0")
    assert location(ObjectId("Service", "demo", "x"), "v1", "status") == "/api/v1/namespaces/demo/services/x/status"
    assert location(ObjectId("ClusterProperty", "", "id"), "about.k8s.io/v1") == (
        "/apis/about.k8s.io/v1/clusterproperties/id"
    )


def test_a_name_leads_nowhere_else() -> None:
    """Whatever stands in it."""
    assert location(ObjectId("Service", "demo", "../x?y"), "v1") == "/api/v1/namespaces/demo/services/..%2Fx%3Fy"


def test_a_rule_names_what_a_role_must_have() -> None:
    """As it stands in a role: a subresource is a resource of its own, and the core group has no name."""
    assert missing_rule(SLICE, "discovery.k8s.io/v1", "", "delete") == (
        'apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: [delete]'
    )
    assert missing_rule(ObjectId("Service", "demo", "x"), "v1", "status", "patch") == (
        'apiGroups: [""], resources: ["services/status"], verbs: [patch]'
    )
