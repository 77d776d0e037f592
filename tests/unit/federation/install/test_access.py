"""The rules of the controllers, held against what the code reads and writes."""

from __future__ import annotations

from controllers.kube.observed_objects import WRITER_RESOURCES
from controllers.mcs.objects import MANAGED_BY
from controllers.sources.watched_objects import PODS, RESOURCES
from federation.install.access import CLUSTER_RULES, INJECTION_RULES, NAMESPACE_RULES, Rule


def allowed(rules: tuple[Rule, ...]) -> set[tuple[str, str, str]]:
    """Group, resource and verb, of rules that are not limited to names."""
    return {
        (rule.group, resource, verb)
        for rule in rules
        if not rule.names
        for resource in rule.resources
        for verb in rule.verbs
    }


def test_what_is_watched_may_be_read() -> None:
    """Whatever the source and the writer watch, in any version of its group, the rules let them list and watch."""
    for resource in (*RESOURCES, PODS, *WRITER_RESOURCES):
        for version in resource.api_versions:
            group = version.partition("/")[0] if "/" in version else ""
            wanted = {(group, resource.plural, verb) for verb in ("list", "watch")}
            assert wanted <= allowed((*CLUSTER_RULES, *INJECTION_RULES)), resource.plural


def test_what_is_made_may_be_written() -> None:
    """Kinds that are marked as ours may be created, patched and deleted, and both statuses of the MCS API patched."""
    plurals = {
        "ClusterProperty": ("about.k8s.io", "clusterproperties"),
        "EndpointSlice": ("discovery.k8s.io", "endpointslices"),
        "Service": ("", "services"),
        "ServiceImport": ("multicluster.x-k8s.io", "serviceimports"),
    }
    assert plurals.keys() == MANAGED_BY.keys()
    wanted = {(*plural, verb) for plural in plurals.values() for verb in ("create", "patch", "delete")}
    wanted |= {("multicluster.x-k8s.io", f"service{kind}s/status", "patch") for kind in ("export", "import")}
    assert wanted <= allowed(CLUSTER_RULES)


def test_users_exports_are_never_changed() -> None:
    """A ServiceExport is its owner's: only its status is written."""
    found = {(resource, verb) for _, resource, verb in allowed(CLUSTER_RULES) if resource.startswith("serviceexports")}
    assert found == {("serviceexports", verb) for verb in ("get", "list", "watch")} | {
        ("serviceexports/status", "patch")
    }


def test_what_can_be_limited_to_names_is() -> None:
    """ConfigMaps, Leases, Secrets and webhooks are created at most; anything else with them takes a name."""
    kinds = {"configmaps", "leases", "secrets", "mutatingwebhookconfigurations"}
    everything = (*CLUSTER_RULES, *INJECTION_RULES, *NAMESPACE_RULES)
    assert {(resource, verb) for _, resource, verb in allowed(everything) if resource in kinds} == {
        ("configmaps", "create"),
        ("leases", "create"),
        ("secrets", "create"),
    }


def test_no_right_is_given_twice() -> None:
    """Each group, resource and verb stands in one rule, so that a rule that goes takes its rights along."""
    everything = (*CLUSTER_RULES, *INJECTION_RULES)
    given = [
        (rule.group, resource, verb, rule.names)
        for rule in everything
        for resource in rule.resources
        for verb in rule.verbs
    ]
    assert len(set(given)) == len(given)
    assert all(rule.why for rule in (*everything, *NAMESPACE_RULES))
