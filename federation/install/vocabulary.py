"""Names, labels and ports of what is installed, and the parts that several manifests share. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from federation.install.template import (
    MANAGER,
    NAMESPACE,
    Digest,
    Either,
    Entries,
    Every,
    Given,
    Is,
    Json,
    Node,
    Not,
    Text,
    Value,
    When,
    if_given,
    text,
)

CONTROLLER: Final = "federation-controller"
GATEWAY: Final = "federation-gateway"
DNS: Final = "federation-dns"
EXCHANGE: Final = "federation-exchange"
WEBHOOK: Final = "federation-sidecar-injector"

SETTINGS: Final = "federation-settings"
"""ConfigMap with what the installation says of ``cluster.yaml``; the rest comes with the membership."""
STATE: Final = "federation-state"
"""Secret with what lasts of the cluster's directory."""
TRUST_BUNDLE: Final = "federation-trust-bundle"
"""ConfigMap with ``bundle.pem``, in this namespace and in those with injection."""
LEASE: Final = "federation-controller"

INJECTION_LABEL: Final = "federation-gateway.dev/injection"
"""On a namespace, ``enabled``: its pods get a sidecar; ``manual``: those that ask for one."""
INJECT_LABEL: Final = "federation-gateway.dev/inject"
"""On a pod, ``false``: it gets none."""

XDS_PORT: Final = 15012
HTTP_PORT: Final = 15014
WEBHOOK_PORT: Final = 15017
DNS_PORT: Final = 15053
METRICS_PORT: Final = 15020
GATEWAY_PORT: Final = 15443
EXCHANGE_PORT: Final = 6379

UID: Final = 65532
"""Of our image."""
EXCHANGE_UID: Final = 999
"""Of the images of Redis and of Valkey."""

STATE_DIRECTORY: Final = "/var/lib/federation"
SETTINGS_DIRECTORY: Final = "/etc/federation"
SETTINGS_FILE: Final = "cluster.yaml"
TOKEN_DIRECTORY: Final = "/var/run/secrets/federation"  # noqa: S105 - where a token is, not one
TRUST_DIRECTORY: Final = "/var/run/federation/trust"
CA_DIRECTORY: Final = "/var/run/federation/ca"
CA_FILE: Final = "bundle.pem"
"""Of a CA of the cluster's own, in that directory."""

PART_OF: Final = "federation-gateway"
MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
PART_OF_LABEL: Final = "app.kubernetes.io/part-of"

IMAGE: Final = text("{}:{}", "image.repository", "image.tag")


def selector(component: str) -> dict[str, Node]:
    """The labels that tell a component's pods."""
    return {"app.kubernetes.io/name": PART_OF, "app.kubernetes.io/component": component}


def labels(component: str) -> dict[str, Node]:
    """The labels of everything that is installed."""
    return {**selector(component), PART_OF_LABEL: PART_OF, MANAGED_BY_LABEL: Value(MANAGER)}


def metadata(name: str, component: str, *, annotations: str = "") -> dict[str, Node]:
    """The head of an object in our namespace; ``annotations`` is the path of more that the values may have."""
    more: dict[str, Node] = {"annotations": if_given(annotations)} if annotations else {}
    return {"name": name, "namespace": Value(NAMESPACE), "labels": labels(component), **more}


def cluster_metadata(name: str, component: str) -> dict[str, Node]:
    """The head of an object that is in no namespace."""
    return {"name": name, "labels": labels(component)}


def pod_security(uid: int) -> dict[str, Node]:
    """As the restricted profile of pod security asks of a pod."""
    return {
        "runAsNonRoot": True,
        "runAsUser": uid,
        "runAsGroup": uid,
        # So that volumes are readable for the group.
        "fsGroup": uid,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> dict[str, Node]:
    """As the restricted profile asks of a container, and a root file system that nobody writes."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ("ALL",)},
    }


def placement(component: str, values: str) -> dict[str, Node]:
    """Where pods go: over zones and nodes evenly, if that can be had, and as the values say."""
    return {
        "topologySpreadConstraints": tuple(
            {
                "maxSkew": 1,
                "topologyKey": key,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector(component)},
            }
            for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ),
        "nodeSelector": if_given(f"{values}.nodeSelector"),
        "tolerations": if_given(f"{values}.tolerations"),
        "priorityClassName": if_given(f"{values}.priorityClassName"),
    }


def pod_head(component: str, values: str) -> dict[str, Node]:
    """The metadata of a pod template."""
    return {
        "labels": {**selector(component), PART_OF_LABEL: PART_OF},
        "annotations": if_given(f"{values}.podAnnotations"),
    }


INJECTION: Final = Given("injection.enabled")
ISTIO: Final = Is("mesh", "istio")
OWN_CA: Final = Not(Every((Not(Given("ca.configMap")), Not(Given("ca.secret")))))
"""Whether the cluster brings a CA."""


def settings() -> Either:
    """The settings of the cluster as far as they are the installation's to say; JSON is YAML."""
    return _by_site(lambda settings: settings)


def _by_site(form: Callable[[Json], Node]) -> Either:
    """What ``form`` makes of the settings of the site that it is."""

    def with_mesh(*, webhook: bool, istio: bool) -> Either:
        return Either(
            OWN_CA,
            form(_settings(webhook=webhook, istio=istio, own_ca=True)),
            form(_settings(webhook=webhook, istio=istio, own_ca=False)),
        )

    def with_webhook(*, webhook: bool) -> Either:
        return Either(ISTIO, with_mesh(webhook=webhook, istio=True), with_mesh(webhook=webhook, istio=False))

    return Either(INJECTION, with_webhook(webhook=True), with_webhook(webhook=False))


def _settings(*, webhook: bool, istio: bool, own_ca: bool) -> Json:
    listeners: dict[str, Entries] = {
        "xds": {"listen": f"0.0.0.0:{XDS_PORT}"},
        "http": {"listen": f"0.0.0.0:{HTTP_PORT}"},
        "dns": {"listen": f"0.0.0.0:{DNS_PORT}"},
        "gateway": {"listen": f"0.0.0.0:{GATEWAY_PORT}", "metrics": f"0.0.0.0:{METRICS_PORT}"},
    }
    kubernetes: dict[str, str | Value] = {"namespace": Value(NAMESPACE)}
    if webhook:
        kubernetes["webhookListen"] = f"0.0.0.0:{WEBHOOK_PORT}"
    # Istio tells ports apart by the workload's own.
    mesh: dict[str, Entries] = {"mesh": {"sidecarPort": 0}} if istio else {}
    ca: dict[str, Entries] = {"ca": {"bundleFile": f"{CA_DIRECTORY}/{CA_FILE}"}} if own_ca else {}
    return Json("settings", {"kubernetes": kubernetes, **listeners, **mesh, **ca})


def environment() -> tuple[Node, ...]:
    """Who and where a pod is, and by which settings."""
    fields = {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace", "POD_IP": "status.podIP"}
    fields["NODE_NAME"] = "spec.nodeName"
    names: Iterator[Node] = (
        {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()
    )
    # Settings are read at the start: others make other pods.
    digest = _by_site(Digest)
    # What injected pods run, too.
    return (*names, {"name": "FEDERATION_IMAGE", "value": IMAGE}, {"name": "SETTINGS_DIGEST", "value": digest})


def service_account(name: str, component: str) -> dict[str, Node]:
    """Of pods that say for themselves whether they get a token."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(name, component),
        "automountServiceAccountToken": False,
    }


def disruption_budget(name: str, component: str) -> dict[str, Node]:
    """At most one pod away on purpose; those that are not ready, as before a join, hold nobody up."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(name, component),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector(component)},
        },
    }


def probe(path: str, *, period_seconds: int, failures: int) -> dict[str, Node]:
    """A question to the controller's HTTP port."""
    return {
        "httpGet": {"path": path, "port": "http-metrics"},
        "periodSeconds": period_seconds,
        "failureThreshold": failures,
        "timeoutSeconds": 3,
    }


def empty_volume(name: str, *, size: str = "", memory: bool = False) -> dict[str, Node]:
    """A volume that begins empty with each pod."""
    limits: Mapping[str, Node] = {"sizeLimit": size} if size else {}
    medium: Mapping[str, Node] = {"medium": "Memory"} if memory else {}
    return {"name": name, "emptyDir": {**medium, **limits}}


def mount(name: str, path: str, *, read_only: bool = False) -> dict[str, Node]:
    return {"name": name, "mountPath": path, **({"readOnly": True} if read_only else {})}


def port(name: str, number: int, target: str = "", *, protocol: str = "TCP") -> dict[str, Node]:
    """A port of a Service."""
    return {"name": name, "port": number, "protocol": protocol, "targetPort": target or name}


def container_port(name: str, number: int, *, protocol: str = "TCP") -> dict[str, Node]:
    return {"name": name, "containerPort": number, "protocol": protocol}


def image_fields() -> dict[str, Node]:
    """Which image a container of ours runs."""
    image: Text = IMAGE
    return {"image": image, "imagePullPolicy": Value("image.pullPolicy")}


def pull_secrets() -> When:
    return When(Given("image.pullSecrets"), Value("image.pullSecrets"))
