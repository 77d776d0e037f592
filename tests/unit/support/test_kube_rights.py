"""Rights held against requests: what is not needed is named, and so is what is forbidden."""

from __future__ import annotations

from typing import Any

from support.kube.api import Audited
from support.kube.authorization import Attributes
from support.kube_rights import Right, forbidden, rights_of, ungranted, unneeded

EVENTS = Right("", "events", "patch")
MAKE = Right("", "events", "create")


def asked(verb: str, plural: str = "events", code: int = 200, *, namespace: str = "demo", **more: str) -> Audited:
    return Audited("worker", Attributes(verb, more.pop("group", ""), plural, namespace=namespace, **more), code)


def test_the_rights_of_a_manifest_are_its_rules_taken_apart() -> None:
    """Each verb on each resource, by name where the rule has names, and where the role is."""
    rule: dict[str, Any] = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"], "verbs": ["get"]}
    wide = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}
    documents: list[dict[str, Any]] = [
        {"kind": "Role", "metadata": {"name": "a", "namespace": "system"}, "rules": [rule]},
        {"kind": "ClusterRole", "metadata": {"name": "a"}, "rules": [wide]},
        {"kind": "ClusterRoleBinding", "metadata": {"name": "a"}},
    ]
    assert sorted(map(str, rights_of(documents))) == [
        "get secrets one in system",
        "list endpointslices.discovery.k8s.io",
        "watch endpointslices.discovery.k8s.io",
    ]


def test_an_apply_that_makes_its_object_needs_two_rights() -> None:
    """One that changes an object needs the right to patch alone."""
    rights = frozenset({EVENTS, MAKE})
    assert unneeded(rights, [asked("patch", code=201)]) == []
    assert unneeded(rights, [asked("patch")]) == ["create events"]


def test_what_was_refused_or_asked_elsewhere_needs_no_right() -> None:
    """A right shows its worth by what it lets through: of its resource, its part, its name and its namespace."""
    state = Right("", "secrets", "get", "state", "system")
    status = Right("", "services/status", "patch")
    requests = [
        asked("patch", code=403),
        asked("patch", code=401),
        asked("get", "secrets", namespace="demo", name="state"),
        asked("get", "secrets", namespace="system", name="other"),
        asked("patch", "services"),
    ]
    rights = frozenset({EVENTS, state, status})
    assert unneeded(rights, requests) == ["get secrets state in system", "patch events", "patch services/status"]
    enough = [
        asked("patch", code=404),
        asked("get", "secrets", namespace="system", name="state"),
        asked("patch", "services", subresource="status"),
    ]
    assert unneeded(rights, enough) == []


def test_a_right_that_another_one_covers_is_not_needed() -> None:
    """Neither of two rules by which a request gets through would be missed."""
    named = Right("", "configmaps", "list", "bundle")
    requests = [asked("list", "configmaps", name="bundle")]
    assert unneeded(frozenset({named, Right("", "configmaps", "list")}), requests) == [
        "list configmaps",
        "list configmaps bundle",
    ]


def test_what_comes_by_no_right_that_is_known_is_named() -> None:
    """The account then has rights that are not in the manifest, or this is no complete account of them."""
    assert ungranted(frozenset({EVENTS}), [asked("patch", code=201), asked("get", "pods", code=403)]) == [
        "create events"
    ]


def test_what_is_forbidden_is_named_unless_its_namespace_was_going() -> None:
    """Nothing can be made there any more, which the API server tells by the same code; reading is another matter."""
    requests = [asked("patch", code=403, name="x"), asked("list", code=403), asked("patch", code=409)]
    assert forbidden(requests) == ["list events demo/", "patch events demo/x"]
    assert forbidden(requests, going="demo") == ["list events demo/"]
