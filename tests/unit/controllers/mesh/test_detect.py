"""Which mesh a cluster has, from documents as its API server tells them."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.mesh.detect import (
    DetectedMesh,
    MeshKind,
    config_name,
    detect_mesh,
    has_definitions,
    is_definition,
    istio_versions,
)
from controllers.sources.manifests import ObjectId

Objects = dict[ObjectId, dict[str, Any]]

ISTIO = ("authorizationpolicies.security", "destinationrules.networking", "serviceentries.networking")
LINKERD = ("authorizationpolicies.policy", "meshtlsauthentications.policy")


def definitions(names: tuple[str, ...], domain: str, *versions: str) -> Objects:
    served = {"spec": {"versions": [{"name": version, "served": True} for version in versions]}}
    return {ObjectId("CustomResourceDefinition", "", f"{name}.{domain}"): served for name in names}


def istiod(
    name: str = "istiod", revision: str = "default", labels: dict[str, str] | None = None, **env: str
) -> Objects:
    container = {
        "image": "docker.io/istio/pilot:1.30.1@sha256:00",
        "env": [{"name": name, "value": value} for name, value in env.items()],
    }
    return {
        ObjectId("Deployment", "istio-system", name): {
            "metadata": {"labels": {"app": "istiod", "istio.io/rev": revision, **(labels or {})}},
            "spec": {"template": {"spec": {"containers": [container]}}},
        }
    }


def config_map(mesh: str = "trustDomain: east.test\n", name: str = "istio") -> Objects:
    return {ObjectId("ConfigMap", "istio-system", name): {"data": {"mesh": mesh}}}


def linkerd(values: str = "linkerdVersion: edge-26.8.1\nidentityTrustDomain: east.test\n") -> Objects:
    return {
        **definitions(LINKERD, "linkerd.io", "v1alpha1"),
        ObjectId("ConfigMap", "linkerd", "linkerd-config"): {"data": {"values": values}},
    }


CRDS = definitions(ISTIO, "istio.io", "v1", "v1beta1")


def reasons(mesh: DetectedMesh) -> list[str]:
    return [problem.reason for problem in mesh.problems]


def test_a_cluster_without_a_mesh_has_none() -> None:
    """It says so in a word."""
    assert detect_mesh({}) == DetectedMesh()
    assert str(detect_mesh({})) == "none"


@pytest.mark.parametrize("left", [CRDS, definitions(LINKERD, "linkerd.io", "v1alpha1"), istiod(), config_map()])
def test_what_a_mesh_left_behind_is_no_mesh(left: Objects) -> None:
    """Definitions alone, or anything without them."""
    assert detect_mesh(left).kind is MeshKind.NONE


def test_istio_is_told_with_all_that_concerns_us() -> None:
    """Version, namespace, trust domain, network, and its kinds in the best version that is served."""
    namespace: Objects = {
        ObjectId("Namespace", "", "istio-system"): {"metadata": {"labels": {"topology.istio.io/network": "n1"}}}
    }
    mesh = detect_mesh({**CRDS, **istiod(ISTIO_MULTIROOT_MESH="true"), **config_map(), **namespace})
    assert str(mesh) == "istio 1.30.1 in istio-system, trust domain east.test"
    assert (mesh.network, mesh.problems) == ("n1", ())
    assert mesh.istio is not None
    assert mesh.istio.multiroot is True
    assert mesh.api_versions == {
        "AuthorizationPolicy": "security.istio.io/v1",
        "DestinationRule": "networking.istio.io/v1",
        "ServiceEntry": "networking.istio.io/v1",
    }


def test_the_version_is_the_label_rather_than_the_tag() -> None:
    """Images may be anybody's copies."""
    assert detect_mesh({**CRDS, **istiod(labels={"app.kubernetes.io/version": "1.30.2"})}).version == "1.30.2"


def test_an_old_istio_is_written_to_in_the_version_that_it_serves() -> None:
    """v1 came with 1.22."""
    mesh = detect_mesh({**definitions(ISTIO, "istio.io", "v1alpha3", "v1beta1"), **istiod()})
    assert set(mesh.api_versions.values()) == {"networking.istio.io/v1beta1", "security.istio.io/v1beta1"}


def test_a_kind_that_is_not_served_is_told() -> None:
    """A version that nobody knows yet, or a definition that is missing."""
    mesh = detect_mesh({**definitions(ISTIO[1:], "istio.io", "v1"), **istiod()})
    assert (mesh.kind, reasons(mesh)) == (MeshKind.ISTIO, ["KindNotServed"])


@pytest.mark.parametrize(("field", "known"), [("http2KeepAlive", True), ("maxRetries", False)])
def test_whether_a_rule_may_ask_for_pings_its_schema_says(field: str, *, known: bool) -> None:
    """In the version that is written."""
    schema: dict[str, Any] = {"type": "object", "properties": {field: {"type": "object"}}}
    for name in ("http", "connectionPool", "trafficPolicy", "spec"):
        schema = {"type": "object", "properties": {name: schema}}
    version = {"name": "v1", "served": True, "schema": {"openAPIV3Schema": schema}}
    definition = ObjectId("CustomResourceDefinition", "", "destinationrules.networking.istio.io")
    mesh = detect_mesh({**CRDS, **istiod(), definition: {"spec": {"versions": [version]}}})
    assert mesh.istio is not None
    assert mesh.istio.http2_keepalive is known


def test_the_default_revision_comes_first_and_its_configuration_is_its_own() -> None:
    """Several control planes run side by side during an upgrade."""
    both = {**CRDS, **istiod("istiod-canary", "canary"), **istiod(), **config_map()}
    mesh = detect_mesh(both)
    assert (mesh.trust_domain, reasons(mesh)) == ("east.test", ["SeveralRevisions"])
    canary = {**CRDS, **istiod("istiod-canary", "canary"), **config_map("trustDomain: canary.test", "istio-canary")}
    assert detect_mesh(canary).trust_domain == "canary.test"


def test_a_control_plane_elsewhere_shows_by_its_configuration() -> None:
    """Whether it takes several roots is not to be seen."""
    mesh = detect_mesh({**CRDS, **config_map()})
    assert (mesh.kind, mesh.trust_domain) == (MeshKind.ISTIO, "east.test")
    assert mesh.istio is not None
    assert mesh.istio.multiroot is None


def test_istio_that_makes_clusterset_names_itself_is_told() -> None:
    """Its services would hide our entries."""
    assert reasons(detect_mesh({**CRDS, **istiod(ENABLE_MCS_HOST="true"), **config_map()})) == ["McsHostOn"]


def test_an_unreadable_configuration_is_told_and_counts_as_the_default() -> None:
    """Istio itself goes on with its defaults."""
    mesh = detect_mesh({**CRDS, **istiod(), **config_map("a: [")})
    assert (mesh.trust_domain, reasons(mesh)) == ("cluster.local", ["UnreadableMeshConfig"])


def test_linkerd_is_told_by_its_configuration() -> None:
    """Its trust domain is the cluster's domain where it has no other."""
    assert str(detect_mesh(linkerd())) == "linkerd edge-26.8.1 in linkerd, trust domain east.test"
    assert detect_mesh(linkerd("clusterDomain: k8s.test\n")).trust_domain == "k8s.test"
    assert detect_mesh(linkerd("")).trust_domain == "cluster.local"
    assert reasons(detect_mesh(linkerd("a: ["))) == ["UnreadableConfig"]


def test_of_two_meshes_none_is_adapted_to() -> None:
    """Which one workloads are in is not for us to guess."""
    mesh = detect_mesh({**CRDS, **istiod(), **config_map(), **linkerd()})
    assert (mesh.kind, reasons(mesh)) == (MeshKind.NONE, ["SeveralMeshes"])


@pytest.mark.parametrize(
    "odd", [{}, {"metadata": 7, "spec": []}, {"spec": {"template": {"spec": {"containers": [1]}}}}]
)
def test_odd_documents_are_taken_as_they_are(odd: dict[str, Any]) -> None:
    """Anybody may have edited them."""
    kinds = ("Deployment", "ConfigMap", "Namespace", "CustomResourceDefinition")
    found = {ObjectId(kind, "istio-system", name): odd for kind in kinds for name in ("istio", "linkerd-config")}
    assert detect_mesh({**CRDS, **found}).kind is MeshKind.ISTIO


def test_definitions_tell_that_there_may_be_a_mesh() -> None:
    """And which versions of its kinds there may be objects of, whether or not it runs."""
    assert istio_versions(CRDS)["ServiceEntry"] == "networking.istio.io/v1"
    assert (has_definitions(MeshKind.ISTIO, CRDS), has_definitions(MeshKind.LINKERD, CRDS)) == (True, False)
    assert has_definitions(MeshKind.LINKERD, linkerd())
    assert not has_definitions(MeshKind.NONE, CRDS)
    assert is_definition("serviceentries.networking.istio.io")
    assert is_definition("meshtlsauthentications.policy.linkerd.io")
    assert not is_definition("gateways.networking.istio.io")


def test_the_configuration_is_of_the_control_plane_that_is_looked_at() -> None:
    """The default one where there is one, or none is seen."""
    canary = istiod("istiod-canary", "canary")
    assert config_name(canary) == "istio-canary"
    assert config_name({**canary, **istiod()}) == "istio"
    assert config_name({}) == "istio"
