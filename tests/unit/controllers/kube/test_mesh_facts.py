"""What is kept of what tells a mesh, and what there is to read."""

from __future__ import annotations

from typing import Any

from controllers.kube.mesh_facts import BASE, ISTIODS, MeshFacts, config_map, wanted_facts
from controllers.sources.manifests import ObjectId

DEFINITIONS, NAMESPACES = BASE
ENTRIES = "serviceentries.networking.istio.io"
LINKERD = "meshtlsauthentications.policy.linkerd.io"


def definition(name: str, version: str = "v1", **metadata: Any) -> dict[str, Any]:
    served = {"versions": [{"name": version, "served": True}]}
    return {"metadata": {"name": name, "resourceVersion": "5", **metadata}, "spec": served}


def istiod(revision: str = "default") -> dict[str, Any]:
    labels = {"app": "istiod", "istio.io/rev": revision}
    return {"metadata": {"name": "istiod", "namespace": "istio-system", "labels": labels}}


def test_of_thousands_those_are_kept_that_tell_of_a_mesh() -> None:
    """A definition that is about to go is gone, and a namespace counts for its network alone."""
    facts = MeshFacts()
    facts.replace(DEFINITIONS, [definition("sheep.example.com"), definition(ENTRIES)])
    network = {"topology.istio.io/network": "n1"}
    facts.replace(
        NAMESPACES, [{"metadata": {"name": "demo"}}, {"metadata": {"name": "istio-system", "labels": network}}]
    )
    kept = {id_.name for id_ in facts.observed()}
    facts.put(DEFINITIONS, definition(ENTRIES, deletionTimestamp="2026-01-01T00:00:00Z"))
    facts.remove(NAMESPACES, {"metadata": {"name": "istio-system"}})

    assert kept == {ENTRIES, "istio-system"}
    assert facts.observed() == {}


def test_the_same_again_is_no_news() -> None:
    """What is listed anew is as it was; another version, one that is gone, and one that can't be read are news."""
    facts = MeshFacts()
    told = []
    for items in ([definition(ENTRIES)], [definition(ENTRIES)], [definition(ENTRIES, resourceVersion="6")], []):
        facts.replace(DEFINITIONS, items)
        told.append(facts.changed)
        facts.observed()
    facts.mark_unreadable(DEFINITIONS, "gone away")
    whole, news = facts.whole, facts.changed
    facts.mark_readable(DEFINITIONS)

    assert told == [True, False, True, True]
    assert (whole, news, facts.whole) == (False, True, True)


def test_more_is_read_only_where_a_mesh_has_definitions() -> None:
    """Of Istio its control planes and their configuration, of Linkerd its configuration."""
    facts = MeshFacts()
    nothing = wanted_facts(facts.observed())
    facts.put(DEFINITIONS, definition(LINKERD, "v1alpha1"))
    linkerd = wanted_facts(facts.observed())
    facts.replace(DEFINITIONS, [definition(ENTRIES)])
    istio = wanted_facts(facts.observed())
    facts.put(ISTIODS, istiod("canary"))

    assert nothing == BASE
    assert linkerd == (*BASE, config_map("linkerd-config"))
    assert istio == (*BASE, ISTIODS, config_map("istio"))
    assert wanted_facts(facts.observed()) == (*istio, config_map("istio-canary"))


def test_what_is_followed_no_more_is_forgotten() -> None:
    """Configurations of one kind are of several resources: each counts for itself."""
    facts = MeshFacts()
    one, other = config_map("istio"), config_map("istio-canary")
    for resource, name in ((one, "istio"), (other, "istio-canary")):
        facts.replace(resource, [{"metadata": {"name": name, "namespace": "istio-system"}}])
    facts.mark_unreadable(one, "gone away")
    facts.forget(one)

    assert set(facts.observed()) == {ObjectId("ConfigMap", "istio-system", "istio-canary")}
    assert facts.whole
