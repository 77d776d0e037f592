"""Which mesh a cluster has, from its objects: Istio, Linkerd, or none that we know. Pure.

Looked at are CustomResourceDefinitions, istiod's Deployments (label ``app: istiod``), the ConfigMaps ``istio`` (with a
revision ``istio-REVISION``) and ``linkerd-config``, and the mesh's own Namespace. Definitions alone are no mesh: they
outlive one that was removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from controllers.mcs.objects import Document, Observed, mapping, section, sequence, text
from controllers.mesh.istio_mesh_config import MULTIROOT, MeshConfig, parse_mesh_config
from controllers.sources.manifests import ObjectId
from federation.model.documents import read_yaml
from federation.model.problems import Problem


class MeshKind(StrEnum):
    NONE = "none"
    ISTIO = "istio"
    LINKERD = "linkerd"


@dataclass(frozen=True, slots=True)
class IstioSetup:
    """How Istio is set up, as far as it concerns us."""

    config: MeshConfig = field(default_factory=MeshConfig)
    multiroot: bool | None = None
    """Whether istiod takes CA certificates of several roots; None where it runs elsewhere."""
    http2_keepalive: bool = False
    """Whether a DestinationRule may ask for pings; of an older schema it would be dropped, and stated for ever."""


@dataclass(frozen=True, slots=True)
class DetectedMesh:
    """The cluster's mesh."""

    kind: MeshKind = MeshKind.NONE
    version: str = ""
    """Empty where it is not told."""
    namespace: str = ""
    """Of its control plane."""
    trust_domain: str = ""
    network: str = ""
    """Istio's name for the cluster's network; empty where it has none."""
    api_versions: Mapping[str, str] = field(default_factory=dict)
    """By kind, for those of its kinds that are served."""
    istio: IstioSetup | None = None
    problems: tuple[Problem, ...] = ()

    def __str__(self) -> str:
        if self.kind is MeshKind.NONE:
            return "none"
        version = f" {self.version}" if self.version else ""
        return f"{self.kind}{version} in {self.namespace}, trust domain {self.trust_domain}"


_ISTIO_KINDS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "AuthorizationPolicy": ("authorizationpolicies.security.istio.io", ("v1", "v1beta1")),
    "DestinationRule": ("destinationrules.networking.istio.io", ("v1", "v1beta1")),
    "ServiceEntry": ("serviceentries.networking.istio.io", ("v1", "v1beta1")),
}
_LINKERD_KINDS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "AuthorizationPolicy": ("authorizationpolicies.policy.linkerd.io", ("v1alpha1",)),
    "MeshTLSAuthentication": ("meshtlsauthentications.policy.linkerd.io", ("v1alpha1",)),
}
"""By kind: the definition, and the versions that we write, the best first."""
_HTTP2_KEEPALIVE: Final = ("spec", "trafficPolicy", "connectionPool", "http", "http2KeepAlive")


def detect_mesh(observed: Observed) -> DetectedMesh:
    """The mesh of the cluster with these objects. Of several none is taken, and the problem names them."""
    found = [mesh for mesh in (_detect_istio(observed), _detect_linkerd(observed)) if mesh is not None]
    if len(found) > 1:
        told = f"the cluster has several meshes: {'; '.join(map(str, found))}"
        return DetectedMesh(problems=(Problem("mesh", "SeveralMeshes", f"{told}; none of them is adapted to"),))
    return found[0] if found else DetectedMesh()


def istio_versions(observed: Observed) -> dict[str, str]:
    """By kind of Istio's, the version that is written, whether or not it runs: objects of ours may be left of it."""
    return _api_versions(observed, _ISTIO_KINDS)


def has_definitions(kind: MeshKind, observed: Observed) -> bool:
    """Whether the cluster has definitions of a mesh, so that it may have the mesh."""
    kinds = {MeshKind.ISTIO: _ISTIO_KINDS, MeshKind.LINKERD: _LINKERD_KINDS}.get(kind, {})
    return bool(_api_versions(observed, kinds))


def is_definition(name: str) -> bool:
    """Whether a mesh is told by a CustomResourceDefinition of this name, among others."""
    return any(name == definition for kinds in (_ISTIO_KINDS, _LINKERD_KINDS) for definition, _ in kinds.values())


def config_name(observed: Observed) -> str:
    """The name of the ConfigMap that configures the istiod that is looked at; ``istio`` where none is seen."""
    deployments = _istiods(observed)
    revision = _revision(deployments[0][1]) if deployments else "default"
    return _config_name(revision)


def _config_name(revision: str) -> str:
    return "istio" if revision == "default" else f"istio-{revision}"


def _detect_istio(observed: Observed) -> DetectedMesh | None:
    api_versions = _api_versions(observed, _ISTIO_KINDS)
    if not api_versions:
        return None
    deployments = _istiods(observed)
    problems = []
    if deployments:
        id_, istiod = deployments[0]
        namespace, revision = id_.namespace, _revision(istiod)
        if len(deployments) > 1:
            told = f"{len(deployments)} revisions of istiod run; looked at is {revision}"
            problems.append(Problem("mesh istio", "SeveralRevisions", f"{told}, in {namespace}"))
    else:
        # With a control plane outside of the cluster there is the configuration alone.
        ids = (id_ for id_ in observed if (id_.kind, id_.name) == ("ConfigMap", "istio"))
        namespace, revision, istiod = min((id_.namespace for id_ in ids), default=""), "default", None
    config_map = observed.get(ObjectId("ConfigMap", namespace, _config_name(revision)))
    if istiod is None and config_map is None:
        return None
    config = MeshConfig()
    if config_map is not None:
        try:
            config = parse_mesh_config(config_map)
        except ValueError as error:
            problems.append(
                Problem("mesh istio", "UnreadableMeshConfig", f"its mesh configuration is unreadable: {error}")
            )
    problems += _missing_kinds("istio", api_versions, _ISTIO_KINDS)
    environment = _environment(istiod)
    if environment.get("ENABLE_MCS_HOST", "").lower() == "true":
        told = "istiod makes services of clusterset.local itself (ENABLE_MCS_HOST), which hide ours"
        problems.append(Problem("mesh istio", "McsHostOn", f"{told}; take it out of its environment"))
    return DetectedMesh(
        MeshKind.ISTIO,
        version=_istio_version(istiod),
        namespace=namespace,
        trust_domain=config.trust_domain,
        network=text(_labels(observed.get(ObjectId("Namespace", "", namespace))).get("topology.istio.io/network")),
        api_versions=api_versions,
        istio=IstioSetup(
            config,
            None if istiod is None else environment.get(MULTIROOT, "").lower() == "true",
            _has_field(observed, "DestinationRule", api_versions, *_HTTP2_KEEPALIVE),
        ),
        problems=tuple(problems),
    )


def _detect_linkerd(observed: Observed) -> DetectedMesh | None:
    api_versions = _api_versions(observed, _LINKERD_KINDS)
    ids = sorted(id_ for id_ in observed if (id_.kind, id_.name) == ("ConfigMap", "linkerd-config"))
    if not (api_versions and ids):
        return None
    problems = _missing_kinds("linkerd", api_versions, _LINKERD_KINDS)
    try:
        values = mapping(read_yaml(text(section(observed[ids[0]], "data").get("values"))))
    except ValueError as error:
        values = {}
        problems.append(Problem("mesh linkerd", "UnreadableConfig", f"{ids[0]} is unreadable: {error}"))
    return DetectedMesh(
        MeshKind.LINKERD,
        version=text(values.get("linkerdVersion")),
        namespace=ids[0].namespace,
        trust_domain=text(values.get("identityTrustDomain")) or text(values.get("clusterDomain")) or "cluster.local",
        api_versions=api_versions,
        problems=tuple(problems),
    )


def _api_versions(observed: Observed, kinds: Mapping[str, tuple[str, tuple[str, ...]]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for kind, (definition, versions) in kinds.items():
        spec = section(observed.get(ObjectId("CustomResourceDefinition", "", definition)), "spec")
        served = {text(one.get("name")) for one in map(mapping, sequence(spec.get("versions"))) if one.get("served")}
        best = next((version for version in versions if version in served), None)
        if best is not None:
            found[kind] = f"{definition.partition('.')[2]}/{best}"
    return found


def _has_field(observed: Observed, kind: str, api_versions: Mapping[str, str], *path: str) -> bool:
    """Whether the schema of a kind of Istio's knows a field, in the version that is written."""
    version = api_versions.get(kind, "").partition("/")[2]
    definition = observed.get(ObjectId("CustomResourceDefinition", "", _ISTIO_KINDS[kind][0]))
    for one in map(mapping, sequence(section(definition, "spec").get("versions"))):
        if one.get("name") == version:
            inside = (part for name in path for part in ("properties", name))
            return bool(section(one, "schema", "openAPIV3Schema", *inside))
    return False


def _missing_kinds(mesh: str, found: Mapping[str, str], kinds: Iterable[str]) -> list[Problem]:
    missing = ", ".join(sorted(set(kinds) - found.keys()))
    if not missing:
        return []
    return [
        Problem(f"mesh {mesh}", "KindNotServed", f"{missing} is not served in a version that is known; upgrade {mesh}")
    ]


def _istiods(observed: Observed) -> list[tuple[ObjectId, Document]]:
    """The control planes, the default revision first."""
    found = [
        (id_, item)
        for id_, item in observed.items()
        if id_.kind == "Deployment" and _labels(item).get("app") == "istiod"
    ]
    return sorted(found, key=lambda one: (_revision(one[1]) != "default", one[0]))


def _revision(istiod: Document) -> str:
    return text(_labels(istiod).get("istio.io/rev")) or "default"


def _istio_version(istiod: Document | None) -> str:
    """By the label that Istio's charts set, else by the tag of the image."""
    if told := text(_labels(istiod).get("app.kubernetes.io/version")):
        return told
    images = (text(container.get("image")) for container in _containers(istiod))
    tags = (image.partition("@")[0].rpartition("/")[2].partition(":")[2] for image in images)
    return next((tag for tag in tags if tag), "")


def _environment(istiod: Document | None) -> dict[str, str]:
    return {
        text(variable.get("name")): text(variable.get("value"))
        for container in _containers(istiod)
        for variable in map(mapping, sequence(container.get("env")))
    }


def _containers(deployment: Document | None) -> list[Document]:
    return [mapping(one) for one in sequence(section(deployment, "spec", "template", "spec").get("containers"))]


def _labels(document: Document | None) -> Document:
    return section(document, "metadata", "labels")
