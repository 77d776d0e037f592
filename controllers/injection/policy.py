"""Which pods get a sidecar, and why others don't. Pure.

The order is that of who knows best: what makes it impossible first, then what the pod says, then its namespace.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from controllers.injection.annotations import INJECT, INJECTION, Tuning, parse_tuning, pod_choice
from controllers.injection.redirect_rules import PROXY_UID, REDIRECT_PORT
from controllers.mcs.objects import Document, mapping, section, sequence, text

ADMIN_PORT: Final = 15000
INBOUND_PORT: Final = 15006
HEALTH_PORT: Final = 15021
METRICS_PORT: Final = 15020
PROXY_PORTS: Final = frozenset({ADMIN_PORT, REDIRECT_PORT, INBOUND_PORT, HEALTH_PORT, METRICS_PORT})

BOOTSTRAP_CONTAINER: Final = "federation-bootstrap"
INIT_CONTAINER: Final = "federation-init"
PROXY_CONTAINER: Final = "federation-proxy"
OWN_CONTAINERS: Final = frozenset({BOOTSTRAP_CONTAINER, INIT_CONTAINER, PROXY_CONTAINER})

_SYSTEM_NAMESPACES: Final = frozenset({"kube-system", "kube-public", "kube-node-lease"})
_MESH_CONTAINERS: Final[Mapping[str, str]] = {
    "istio-proxy": "Istio",
    "linkerd-proxy": "Linkerd",
    "consul-dataplane": "Consul",
    "kuma-sidecar": "Kuma",
}
_MIRROR: Final = "kubernetes.io/config.mirror"


class Reason(StrEnum):
    """Why a pod gets no sidecar."""

    ALREADY_INJECTED = "AlreadyInjected"
    EXTERNAL_CA = "ExternalCa"
    HOST_NETWORK = "HostNetwork"
    INVALID_ANNOTATION = "InvalidAnnotation"
    JOB_WOULD_NOT_END = "JobWouldNotEnd"
    MIRROR_POD = "MirrorPod"
    NOT_WANTED = "NotWanted"
    OTHER_MESH = "OtherMesh"
    OWN_NAMESPACE = "OwnNamespace"
    PORT_IN_USE = "PortInUse"
    SYSTEM_NAMESPACE = "SystemNamespace"
    WINDOWS = "Windows"


_QUIET: Final = frozenset(
    {
        Reason.ALREADY_INJECTED,
        Reason.MIRROR_POD,
        Reason.NOT_WANTED,
        Reason.OWN_NAMESPACE,
        Reason.SYSTEM_NAMESPACE,
    }
)
"""What nobody is warned of: it is what was asked for, or never to be expected."""


@dataclass(frozen=True, slots=True)
class NamespaceFacts:
    """A namespace as far as it matters here."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a pod gets its sidecar. ``warnings`` are for whoever makes the pod."""

    tuning: Tuning | None
    """None: it gets none."""
    reason: Reason | None = None
    message: str = ""
    warnings: tuple[str, ...] = ()


def decide_injection(
    pod: Document,
    namespace: NamespaceFacts,
    *,
    system_namespace: str,
    native: bool,
    is_job: bool = False,
    issues: bool = True,
) -> Decision:
    """Judge a pod, or the template of one.

    ``native``: whether sidecars end with their pod (Kubernetes 1.29); ``is_job``: the pod has to end by itself, as is
    known of one that a Job owns; ``issues``: whether sidecars get a certificate.
    """
    choice = pod_choice(pod)
    refusal = _impossible(pod, namespace, system_namespace)
    if refusal is None and not issues:
        told = "the cluster's CA is elsewhere, of which sidecars get no certificate: the pod's own mesh must have it"
        refusal = Reason.EXTERNAL_CA, told
    if refusal is not None:
        wanted = choice == "true" or (choice != "false" and namespace.labels.get(INJECTION) == "enabled")
        return _refused(*refusal, warn=wanted)
    if choice == "false":
        return _refused(Reason.NOT_WANTED, f"the pod says {INJECT}: false")
    if choice != "true" and namespace.labels.get(INJECTION) != "enabled":
        told = f"neither the pod says {INJECT}: true, nor its namespace {INJECTION}: enabled"
        return _refused(Reason.NOT_WANTED, told)
    tuning, violations, unknown = parse_tuning(pod)
    if violations:
        return _refused(Reason.INVALID_ANNOTATION, "; ".join(violations))
    if not native and choice != "true" and (is_job or _has_owner(pod, "Job")):
        told = (
            f"before Kubernetes 1.29 its sidecar would keep the Job from completing; {INJECT}: true injects it anyway"
        )
        return _refused(Reason.JOB_WOULD_NOT_END, told)
    return Decision(tuning, warnings=tuple(_warnings(pod, tuning, unknown)))


def _impossible(pod: Document, namespace: NamespaceFacts, system_namespace: str) -> tuple[Reason, str] | None:
    spec = section(pod, "spec")
    annotations = section(pod, "metadata", "annotations")
    found = {text(container.get("name")) for container in containers(pod)}
    if namespace.name in _SYSTEM_NAMESPACES:
        return Reason.SYSTEM_NAMESPACE, f"namespace {namespace.name} is Kubernetes' own"
    if namespace.name == system_namespace:
        return Reason.OWN_NAMESPACE, f"namespace {namespace.name} is the federation's own"
    if found & OWN_CONTAINERS:
        return Reason.ALREADY_INJECTED, "the pod has its sidecar"
    if _MIRROR in annotations:
        return Reason.MIRROR_POD, "the pod mirrors one that runs from a file of its node"
    if spec.get("hostNetwork") is True:
        return Reason.HOST_NETWORK, "the pod uses its node's network (hostNetwork), which is not its own to redirect"
    if text(section(spec, "os").get("name")) == "windows" or _selects_windows(spec):
        return Reason.WINDOWS, "the pod is for Windows, for which there is no sidecar"
    if (mesh := _other_mesh(pod, namespace, found)) is not None:
        return Reason.OTHER_MESH, mesh
    for container in containers(pod):
        for port in sequence(container.get("ports")):
            number = mapping(port).get("containerPort")
            if number in PROXY_PORTS:
                return Reason.PORT_IN_USE, f"container {text(container.get('name'))} uses port {number}, the sidecar's"
    return None


def _refused(reason: Reason, message: str, *, warn: bool = True) -> Decision:
    told = (f"no federation sidecar: {message}",) if warn and reason not in _QUIET else ()
    return Decision(None, reason, message, told)


def _other_mesh(pod: Document, namespace: NamespaceFacts, found: set[str]) -> str | None:
    """Whose sidecar the pod has or is about to get: webhooks run in the order of their names, and ours comes first."""
    for container, mesh in _MESH_CONTAINERS.items():
        if container in found:
            return f"the pod has the sidecar of {mesh} ({container})"
    labels, annotations = section(pod, "metadata", "labels"), section(pod, "metadata", "annotations")
    if "sidecar.istio.io/status" in annotations:
        return "the pod has the sidecar of Istio (sidecar.istio.io/status)"
    if "linkerd.io/proxy-version" in annotations:
        return "the pod has the sidecar of Linkerd (linkerd.io/proxy-version)"
    if _gets_istio(labels, annotations, namespace):
        return "Istio gives the pod its sidecar, or takes it into its ambient mesh"
    wanted = text(annotations.get("linkerd.io/inject")) or namespace.annotations.get("linkerd.io/inject", "")
    if wanted in {"enabled", "ingress"}:
        return "Linkerd gives the pod its sidecar (linkerd.io/inject)"
    return None


def _gets_istio(labels: Document, annotations: Document, namespace: NamespaceFacts) -> bool:
    # Istio: pod label, then annotation, then the namespace's; ambient pods have no sidecar but are redirected too.
    choice = text(labels.get("sidecar.istio.io/inject")) or text(annotations.get("sidecar.istio.io/inject"))
    ambient = text(labels.get("istio.io/dataplane-mode")) or namespace.labels.get("istio.io/dataplane-mode", "")
    if ambient == "ambient":
        return True
    if choice:
        return choice == "true"
    if namespace.labels.get("istio-injection", ""):
        return namespace.labels["istio-injection"] == "enabled"
    return bool(namespace.labels.get("istio.io/rev") or labels.get("istio.io/rev"))


def _selects_windows(spec: Document) -> bool:
    return text(section(spec, "nodeSelector").get("kubernetes.io/os")) == "windows"


def _has_owner(pod: Document, kind: str) -> bool:
    owners = sequence(section(pod, "metadata").get("ownerReferences"))
    return any(mapping(owner).get("kind") == kind for owner in owners)


def _warnings(pod: Document, tuning: Tuning, unknown: tuple[str, ...]) -> Iterator[str]:
    for key in unknown:
        yield f"annotation {key} is unknown and has no effect"
    if tuning.redirect:
        whole = section(pod, "spec", "securityContext").get("runAsUser")
        users = {
            text(container.get("name")): section(container, "securityContext").get("runAsUser", whole)
            for container in containers(pod)
        }
        if same := sorted(name for name, user in users.items() if user == PROXY_UID):
            yield f"user {PROXY_UID} is the sidecar's: connections of {', '.join(same)} do not go through it"


def containers(pod: Document) -> tuple[Document, ...]:
    """All of them, those that only begin it too."""
    spec = section(pod, "spec")
    return tuple(mapping(one) for part in ("initContainers", "containers") for one in sequence(spec.get(part)))


def named(values: object) -> Mapping[str, str]:
    """The labels or annotations that are strings."""
    return {key: value for key, value in mapping(values).items() if isinstance(value, str)}


def facts_of(namespace: Document) -> NamespaceFacts:
    """What a Namespace object says."""
    metadata = section(namespace, "metadata")
    return NamespaceFacts(text(metadata.get("name")), named(metadata.get("labels")), named(metadata.get("annotations")))
