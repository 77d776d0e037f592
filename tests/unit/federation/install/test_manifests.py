"""What holds of everything that is installed, whatever the values: rights, pod security, names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from federation.install.manifests import FIELD_MANAGER
from support.installation import HOST_PORTS, NAMESPACE, SITES, containers, pods, rendered

EVERY_SITE = pytest.mark.parametrize("words", [*SITES.values(), HOST_PORTS], ids=[*SITES, "host-ports"])
RESTRICTED = pytest.mark.parametrize("words", SITES.values(), ids=SITES)
OURS = "federation-"


def rules(words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for document in rendered(*words):
        for rule in document.get("rules", ()):
            yield document["kind"], rule


@EVERY_SITE
def test_no_rule_has_a_wildcard(words: tuple[str, ...]) -> None:
    """Groups, resources and verbs are named one by one."""
    found = [rule for _, rule in rules(words)]
    assert found
    assert [rule for rule in found if "*" in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}] == []
    assert [rule for rule in found if "nonResourceURLs" in rule] == []


@EVERY_SITE
def test_secrets_are_read_in_our_namespace_alone_and_by_name(words: tuple[str, ...]) -> None:
    """No rule of the whole cluster is about Secrets; what can be limited to a name is limited to that of the state."""
    about = [(kind, rule) for kind, rule in rules(words) if "secrets" in rule["resources"]]
    assert {kind for kind, _ in about} == {"Role"}
    for _, rule in about:
        assert rule["resources"] == ["secrets"]
        assert rule["verbs"] == ["create"] or rule["resourceNames"] == ["federation-state"]


@EVERY_SITE
def test_nothing_gives_rights_away(words: tuple[str, ...]) -> None:
    """Nobody may change roles, act as somebody else, run something in pods, or make pods or tokens."""
    for _, rule in rules(words):
        assert {"bind", "escalate", "impersonate", "approve", "sign"} & {*rule["verbs"]} == set()
        assert {"pods/exec", "serviceaccounts/token", "nodes/proxy"} & {*rule["resources"]} == set()
        assert "pods" not in rule["resources"] or {*rule["verbs"]} <= {"get", "list", "watch"}
        assert rule["apiGroups"] != ["rbac.authorization.k8s.io"]


@EVERY_SITE
def test_rights_are_the_controllers_alone(words: tuple[str, ...]) -> None:
    """The gateway and the exchange have no rights in the API, and no token for it."""
    documents = rendered(*words)
    bound = [subject for document in documents for subject in document.get("subjects", ())]
    assert {(one["namespace"], one["name"]) for one in bound} == {(NAMESPACE, "federation-controller")}
    for name, pod in pods(documents):
        assert pod["automountServiceAccountToken"] is (name == "federation-controller")


@RESTRICTED
def test_pods_meet_the_restricted_profile(words: tuple[str, ...]) -> None:
    """As the Pod Security Standards say it: no root, no privilege, no capability, a seccomp profile, no port or path of
    the host; and beyond them a root file system that nobody writes."""
    made = dict(pods(rendered(*words)))
    assert made
    for pod in made.values():
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] != 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"configMap", "emptyDir", "projected", "secret"}
        for container in containers(pod):
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert not {"privileged", "runAsUser", "procMount"} & security.keys()
            assert [port for port in container.get("ports", ()) if "hostPort" in port] == []
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]


@EVERY_SITE
def test_the_namespace_asks_for_what_the_pods_meet(words: tuple[str, ...]) -> None:
    """Restricted, but where a host port makes that impossible."""
    labels = rendered(*words)[0]["metadata"]["labels"]
    expected = "privileged" if words == HOST_PORTS else "restricted"
    assert labels["pod-security.kubernetes.io/enforce"] == expected
    assert labels["pod-security.kubernetes.io/warn"] == expected


@EVERY_SITE
def test_everything_is_named_and_marked_as_ours(words: tuple[str, ...]) -> None:
    """Each object is in our namespace or in none, is there once, and has the labels that an uninstallation goes by."""
    documents = rendered(*words)
    heads = [document["metadata"] for document in documents]
    assert {head.get("namespace", NAMESPACE) for head in heads} == {NAMESPACE}
    assert all(head["name"].startswith(OURS) for head in heads)
    assert all(head["labels"]["app.kubernetes.io/managed-by"] == FIELD_MANAGER for head in heads)
    assert all(head["labels"]["app.kubernetes.io/part-of"] == "federation-gateway" for head in heads)
    ids = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert len(set(ids)) == len(ids)


@EVERY_SITE
def test_every_selector_finds_its_pods(words: tuple[str, ...]) -> None:
    """Whatever selects pods selects some that are made, and a port that is named is one of theirs."""
    documents = rendered(*words)
    made = [
        (document["spec"]["template"]["metadata"]["labels"], document["spec"]["template"]["spec"])
        for document in documents
        if "template" in document.get("spec", {})
    ]
    for document in documents:
        spec = document.get("spec", {})
        wanted = spec.get("selector") or spec.get("podSelector") or {}
        wanted = wanted.get("matchLabels", wanted)
        found = [pod for labels, pod in made if wanted.items() <= labels.items()]
        assert found or not wanted, document["metadata"]["name"]
        if document["kind"] == "Service":
            names = {port["name"] for container in found[0]["containers"] for port in container["ports"]}
            assert {port["targetPort"] for port in spec["ports"]} <= names


@EVERY_SITE
def test_volumes_and_mounts_belong_together(words: tuple[str, ...]) -> None:
    """Every volume is mounted, and every mount has its volume, or a claim that makes it."""
    for document in rendered(*words):
        if "template" in document.get("spec", {}):
            pod = document["spec"]["template"]["spec"]
            volumes = {volume["name"] for volume in pod["volumes"]}
            volumes |= {claim["metadata"]["name"] for claim in document["spec"].get("volumeClaimTemplates", ())}
            mounted = {mount["name"] for container in containers(pod) for mount in container["volumeMounts"]}
            assert volumes == mounted
