"""The sidecar of a pod: containers, volumes and what they are told. Pure; ``without_sidecar`` takes all of it away.

Three containers, each with no more rights than its step needs: ``federation-bootstrap`` writes Envoy's bootstrap,
``federation-init`` redirects the pod's connections (root, NET_ADMIN and NET_RAW), ``federation-proxy`` is Envoy alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from controllers.injection.annotations import Tuning
from controllers.injection.policy import (
    BOOTSTRAP_CONTAINER,
    HEALTH_PORT,
    INBOUND_PORT,
    INIT_CONTAINER,
    METRICS_PORT,
    OWN_CONTAINERS,
    PROXY_CONTAINER,
    containers,
)
from controllers.injection.redirect_rules import PROXY_UID, REDIRECT_PORT, Network
from controllers.mcs.objects import Document, mapping, section, sequence, text
from controllers.sources.pod_accounts import INJECTED_LABEL

TRUST_CONFIG_MAP: Final = "federation-trust-bundle"
TRUST_KEY: Final = "bundle.pem"
TRUST_DIRECTORY: Final = "/var/run/federation/trust"
TOKEN_DIRECTORY: Final = "/var/run/secrets/federation"  # noqa: S105 - where a token is, not one
TOKEN_SECONDS: Final = 3600
PROXY_DIRECTORY: Final = "/etc/federation-proxy"
ENVOY: Final = "/usr/local/bin/envoy"

_PROXY_VOLUME: Final = "federation-proxy"
_TOKEN_VOLUME: Final = "federation-token"  # noqa: S105 - its name
_TRUST_VOLUME: Final = "federation-trust"
_OWN_VOLUMES: Final = frozenset({_PROXY_VOLUME, _TOKEN_VOLUME, _TRUST_VOLUME})

# Connections of a trust domain that was removed end after this long: half of the ten seconds that they may last.
_DRAIN_SECONDS: Final = "5"

_PROXY_RESOURCES: Final[Mapping[str, Mapping[str, str]]] = {
    "requests": {"cpu": "50m", "memory": "96Mi"},
    "limits": {"memory": "512Mi"},
}
_STEP_RESOURCES: Final[Mapping[str, Mapping[str, str]]] = {
    "requests": {"cpu": "10m", "memory": "64Mi"},
    "limits": {"memory": "256Mi"},
}


@dataclass(frozen=True, slots=True)
class Injection:
    """What all sidecars of a cluster have in common."""

    image: str
    """Ours: with Envoy, the command line and iptables."""
    clusterset: str
    cluster: str = ""
    """For people who look; empty: the trust domain."""
    region: str = ""
    trust_domain: str = ""
    """Of the controllers; empty: that of the trust bundle."""
    xds: str = "federation-controller.federation-system.svc:15012"
    """HOST:PORT of the controllers."""
    system_namespace: str = "federation-system"
    native: bool = True
    """Whether the API server has sidecar containers (1.29)."""
    include: tuple[Network, ...] = ()
    """Destinations that are redirected, all of them if none is named; the range of the cluster's Services is enough."""
    issues: bool = True
    """Whether sidecars get a certificate: of a CA elsewhere they get none."""


def with_sidecar(pod: Document, injection: Injection, tuning: Tuning) -> Document:
    """The pod with its sidecar; ``pod`` may be a pod or the template of one, which has none yet."""
    spec = section(pod, "spec")
    steps = [_bootstrap_container(injection, tuning)]
    if tuning.redirect:
        steps.append(_init_container(injection, tuning))
    begin, main = list(sequence(spec.get("initContainers"))), list(sequence(spec.get("containers")))
    proxy = _proxy_container(injection, tuning)
    if injection.native:
        # First, so that the pod's own init containers reach the clusterset too.
        begin = [*steps, proxy, *begin]
    else:
        # Last: what would they reach, redirected to a proxy that does not run yet?
        begin, main = [*begin, *steps], [*main, proxy]
    volumes = [*sequence(spec.get("volumes")), *_volumes(injection)]
    metadata = section(pod, "metadata")
    labels = {**section(metadata, "labels"), INJECTED_LABEL: "true"}
    return {
        **pod,
        "metadata": {**metadata, "labels": labels},
        "spec": {**spec, "initContainers": begin, "containers": main, "volumes": volumes},
    }


def without_sidecar(pod: Document) -> Document:
    """The pod as it was before; unchanged where it has no sidecar of ours."""
    metadata, spec = section(pod, "metadata"), section(pod, "spec")
    if not any(text(one.get("name")) in OWN_CONTAINERS for one in containers(pod)):
        return pod
    labels = {key: value for key, value in section(metadata, "labels").items() if key != INJECTED_LABEL}
    metadata = {**metadata, "labels": labels}
    if not labels:
        del metadata["labels"]
    kept: dict[str, object] = {**spec}
    for part, own in (("initContainers", OWN_CONTAINERS), ("containers", OWN_CONTAINERS), ("volumes", _OWN_VOLUMES)):
        rest = [one for one in sequence(spec.get(part)) if text(mapping(one).get("name")) not in own]
        kept[part] = rest
        if not rest:
            del kept[part]
    found: dict[str, object] = {**pod, "metadata": metadata, "spec": kept}
    if not metadata:
        del found["metadata"]
    return found


def bootstrap_arguments(injection: Injection, tuning: Tuning) -> list[str]:
    """What ``federation`` is told in the container that writes Envoy's bootstrap; the rest is in its environment."""
    probe = tuning.probe
    return [
        *("proxy-config", "sidecar"),
        *_given("--clusterset", injection.clusterset),
        *_given("--cluster-id", injection.cluster),
        *_given("--region", injection.region),
        *_given("--trust-domain", injection.trust_domain),
        *("--xds", injection.xds),
        *("--token-file", f"{TOKEN_DIRECTORY}/token"),
        *("--trust-bundle", f"{TRUST_DIRECTORY}/{TRUST_KEY}"),
        *("--inbound-port", str(INBOUND_PORT)),
        *(("--redirect-port", str(REDIRECT_PORT)) if tuning.redirect else ()),
        *(("--probe-port", str(probe.port), "--probe-path", probe.path) if probe is not None else ()),
        *("--out", f"{PROXY_DIRECTORY}/envoy.json"),
    ]


def redirect_arguments(injection: Injection, tuning: Tuning) -> list[str]:
    """What ``federation`` is told in the container that redirects the pod's connections."""
    include = injection.include if tuning.include is None else tuning.include
    return [
        "redirect",
        *("--uid", str(PROXY_UID)),
        *("--port", str(REDIRECT_PORT)),
        *_repeated("--include", include),
        *_repeated("--exclude", tuning.exclude),
        *_repeated("--exclude-port", tuning.exclude_ports),
    ]


def _given(option: str, value: str) -> tuple[str, ...]:
    return (option, value) if value else ()


def _repeated(option: str, values: Iterable[object]) -> list[str]:
    return [word for value in values for word in (option, str(value))]


def _bootstrap_container(injection: Injection, tuning: Tuning) -> Document:
    return {
        "name": BOOTSTRAP_CONTAINER,
        "image": injection.image,
        "args": bootstrap_arguments(injection, tuning),
        "env": _environment(),
        "resources": _STEP_RESOURCES,
        "securityContext": _restricted(),
        "volumeMounts": _mounts(),
    }


def _init_container(injection: Injection, tuning: Tuning) -> Document:
    return {
        "name": INIT_CONTAINER,
        "image": injection.image,
        "args": redirect_arguments(injection, tuning),
        # The lock of iptables, which else is where nothing can be written.
        "env": [{"name": "XTABLES_LOCKFILE", "value": f"{PROXY_DIRECTORY}/xtables.lock"}],
        "resources": _STEP_RESOURCES,
        "securityContext": {
            **_restricted(),
            "runAsNonRoot": False,
            "runAsUser": 0,
            "runAsGroup": 0,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]},
        },
        "volumeMounts": [{"name": _PROXY_VOLUME, "mountPath": PROXY_DIRECTORY}],
    }


def _proxy_container(injection: Injection, tuning: Tuning) -> Document:
    ready = {"httpGet": {"path": "/ready", "port": HEALTH_PORT}}
    container: dict[str, object] = {
        "name": PROXY_CONTAINER,
        "image": injection.image,
        "command": [ENVOY],
        "args": proxy_arguments(),
        "env": _environment(),
        "ports": [
            {"name": "federation-mtls", "containerPort": INBOUND_PORT, "protocol": "TCP"},
            {"name": "federation-live", "containerPort": HEALTH_PORT, "protocol": "TCP"},
            # Of at most 15 characters.
            {"name": "federation-prom", "containerPort": METRICS_PORT, "protocol": "TCP"},
        ],
        "readinessProbe": {**ready, "periodSeconds": 5, "failureThreshold": 3, "timeoutSeconds": 3},
        "resources": _resources(tuning),
        "securityContext": _restricted(),
        "volumeMounts": _mounts(),
    }
    if injection.native:
        container["restartPolicy"] = "Always"
        # What comes after waits for it: the application begins when its calls can leave.
        container["startupProbe"] = {**ready, "periodSeconds": 1, "failureThreshold": 600, "timeoutSeconds": 3}
    return container


def proxy_arguments() -> list[str]:
    """What Envoy is told, as by the supervisor of sites without Kubernetes."""
    return [
        *("--config-path", f"{PROXY_DIRECTORY}/envoy.json"),
        "--disable-hot-restart",
        *("--drain-strategy", "immediate"),
        *("--drain-time-s", _DRAIN_SECONDS),
        *("--concurrency", "1"),
        *("--log-level", "warning"),
    ]


def _resources(tuning: Tuning) -> Document:
    wanted = {kind: dict(quantities) for kind, quantities in _PROXY_RESOURCES.items()}
    for kind, resource, quantity in tuning.resources:
        wanted[kind][resource] = quantity
    return wanted


def _restricted() -> dict[str, object]:
    """As the restricted profile of pod security asks, with a root file system that nobody writes."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsGroup": PROXY_UID,
        "runAsNonRoot": True,
        "runAsUser": PROXY_UID,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _environment() -> list[Document]:
    """Who and where the pod is."""
    fields = {
        "POD_NAME": "metadata.name",
        "POD_NAMESPACE": "metadata.namespace",
        "POD_IP": "status.podIP",
        "SERVICE_ACCOUNT": "spec.serviceAccountName",
        "NODE_NAME": "spec.nodeName",
        # Which Kubernetes gives pods from 1.35 on; empty before.
        "ZONE": "metadata.labels['topology.kubernetes.io/zone']",
    }
    return [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()]


def _mounts() -> list[Document]:
    return [
        {"name": _PROXY_VOLUME, "mountPath": PROXY_DIRECTORY},
        {"name": _TOKEN_VOLUME, "mountPath": TOKEN_DIRECTORY, "readOnly": True},
        {"name": _TRUST_VOLUME, "mountPath": TRUST_DIRECTORY, "readOnly": True},
    ]


def _volumes(injection: Injection) -> list[Document]:
    token = {
        "audience": f"federation.{injection.clusterset}",
        "expirationSeconds": TOKEN_SECONDS,
        "path": "token",
    }
    trust = {"name": TRUST_CONFIG_MAP, "items": [{"key": TRUST_KEY, "path": TRUST_KEY}], "optional": False}
    return [
        # In memory: one on disk would keep cluster autoscalers from moving the pod.
        {"name": _PROXY_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
        {"name": _TOKEN_VOLUME, "projected": {"sources": [{"serviceAccountToken": token}]}},
        {"name": _TRUST_VOLUME, "configMap": trust},
    ]
