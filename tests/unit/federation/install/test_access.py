"""The rules of the controllers, held against what the code reads and writes."""

from __future__ import annotations

from controllers.kube.locations import PLURALS
from controllers.kube.observed_objects import WRITER_RESOURCES
from controllers.mcs.objects import MANAGED_BY
from controllers.sources.watched_objects import PODS, RESOURCES
from federation.install.access import CLUSTER_RULES, INJECTION_RULES, MESH_RULES, NAMESPACE_RULES, Rule
from federation.install.vocabulary import CONTROLLER
from support.installation import one, rendered

IN_CLUSTER = (*CLUSTER_RULES, *INJECTION_RULES, *(rule for rules in MESH_RULES.values() for rule in rules))
EVERYTHING = (*IN_CLUSTER, *NAMESPACE_RULES)
NOT_WRITTEN_YET = {"MeshTLSAuthentication"}
"""What the adapter of Linkerd renders once gateways call workloads (docs/mesh.md)."""


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
    """Every kind that is marked as ours, and that something writes, may be listed, watched, created, patched and
    deleted, if only in its mesh."""
    resources = {resource for _, resource, _ in allowed(EVERYTHING)}
    written = MANAGED_BY.keys() - NOT_WRITTEN_YET
    assert {PLURALS[kind] for kind in written} <= resources
    assert not {PLURALS[kind] for kind in NOT_WRITTEN_YET} & resources
    for kind in written:
        groups = {group for group, resource, _ in allowed(EVERYTHING) if resource == PLURALS[kind]}
        wanted = {
            (group, PLURALS[kind], verb) for group in groups for verb in ("list", "watch", "create", "patch", "delete")
        }
        assert wanted <= allowed(EVERYTHING), kind
    statuses = {("multicluster.x-k8s.io", f"service{kind}s/status", "patch") for kind in ("export", "import")}
    assert statuses <= allowed(CLUSTER_RULES)


def test_users_exports_are_never_changed() -> None:
    """A ServiceExport is its owner's: only its status is written."""
    found = {(resource, verb) for _, resource, verb in allowed(EVERYTHING) if resource.startswith("serviceexports")}
    read = {("serviceexports", verb) for verb in ("list", "watch")}
    assert found == read | {("serviceexports/status", "patch")}


def test_what_can_be_limited_to_names_is() -> None:
    """Leases and Secrets, which no apply makes, are created at most; anything else with them takes a name, as all that
    is done with ConfigMaps and webhooks."""
    kinds = {"configmaps", "leases", "secrets", "mutatingwebhookconfigurations"}
    assert {(resource, verb) for _, resource, verb in allowed(EVERYTHING) if resource in kinds} == {
        ("leases", "create"),
        ("secrets", "create"),
    }


def test_the_objects_of_a_mesh_are_written_where_it_is_named() -> None:
    """No mesh, no rights to its objects; each mesh has those that are written: of Linkerd's own, none yet."""

    def resources(mesh: str) -> set[str]:
        rules = one(rendered(f"mesh={mesh}"), "ClusterRole", CONTROLLER)["rules"]
        ours = [rule for rule in rules if rule["apiGroups"][0].endswith(("istio.io", "linkerd.io"))]
        return {resource for rule in ours for resource in rule["resources"]}

    assert resources("none") == set()
    assert resources("istio") == {"serviceentries", "destinationrules", "authorizationpolicies"}
    assert resources("linkerd") == set()


def test_no_right_is_given_twice() -> None:
    """Each group, resource and verb stands in one rule, so that a rule that goes takes its rights along."""
    for rules in (IN_CLUSTER, NAMESPACE_RULES):
        given = [
            (rule.group, resource, verb, rule.names)
            for rule in rules
            for resource in rule.resources
            for verb in rule.verbs
        ]
        assert len(set(given)) == len(given)
        assert all(rule.why for rule in rules)
