"""The east-west gateway: Envoys in a Deployment or a DaemonSet, and how other clusters reach them. Pure.

Without the name of the clusterset there is none: its token must be for that clusterset. Its pods wait for the settings
and the trust bundle, which come with the membership.
"""

from __future__ import annotations

from typing import Final

from federation.install.template import Either, Every, Given, Is, Node, Not, Value, When, text
from federation.install.vocabulary import (
    GATEWAY,
    GATEWAY_PORT,
    METRICS_PORT,
    SETTINGS,
    SETTINGS_DIRECTORY,
    SETTINGS_FILE,
    STATE_DIRECTORY,
    TOKEN_DIRECTORY,
    TRUST_BUNDLE,
    TRUST_DIRECTORY,
    UID,
    container_security,
    disruption_budget,
    empty_volume,
    environment,
    image_fields,
    metadata,
    mount,
    placement,
    pod_head,
    pod_security,
    pull_secrets,
    selector,
    service_account,
)

COMPONENT: Final = "gateway"
ARGUMENTS: Final = ("gateway", "--dir", STATE_DIRECTORY, "--base", f"{SETTINGS_DIRECTORY}/{SETTINGS_FILE}")
"""Of the program in a gateway's container."""

TOKEN_SECONDS: Final = 3600
"""Life of the token by which it proves itself to the controllers; the kubelet renews it at four fifths."""

INSTALLED: Final = Given("clusterset")
_IS_DEPLOYMENT: Final = Is("gateway.kind", "Deployment")
_ON_HOST: Final = Is("gateway.service.type", "HostPort")
_PORT_NAME: Final = "mtls"
_HOST_PORT_ANNOTATION: Final = "federation-gateway.dev/host-port"
"""By it the controllers know which port of the nodes other clusters are to call."""
_NODE_PORT: Final = "gateway.service.nodePort"


def gateway_objects() -> tuple[Node, ...]:
    always = (service_account(GATEWAY, COMPONENT), _service(), disruption_budget(GATEWAY, COMPONENT))
    return (
        *(When(INSTALLED, one) for one in always),
        When(Every((INSTALLED, _IS_DEPLOYMENT)), _deployment()),
        When(Every((INSTALLED, Not(_IS_DEPLOYMENT))), _daemon_set()),
    )


def _service() -> Node:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {**metadata(GATEWAY, COMPONENT), "annotations": _service_annotations()},
        "spec": {
            "type": Either(_ON_HOST, "ClusterIP", Value("gateway.service.type")),
            "externalTrafficPolicy": When(Not(_ON_HOST), Value("gateway.service.externalTrafficPolicy")),
            "loadBalancerClass": _if_balanced("gateway.service.loadBalancerClass"),
            "loadBalancerSourceRanges": _if_balanced("gateway.service.loadBalancerSourceRanges"),
            "selector": selector(COMPONENT),
            "ports": (
                {
                    "name": _PORT_NAME,
                    "port": Value("gateway.service.port"),
                    "protocol": "TCP",
                    "targetPort": _PORT_NAME,
                    "nodePort": When(Every((Not(_ON_HOST), Given(_NODE_PORT))), Value(_NODE_PORT)),
                },
            ),
        },
    }


def _service_annotations() -> When:
    given = "gateway.service.annotations"
    told: Node = {_HOST_PORT_ANNOTATION: text("{}", "gateway.service.hostPort")}
    # For a load balancer, which host ports have none of.
    return When(Not(Every((Not(_ON_HOST), Not(Given(given))))), Either(_ON_HOST, told, Value(given)))


def _if_balanced(path: str) -> When:
    """What other types of Services are refused with."""
    return When(Every((Is("gateway.service.type", "LoadBalancer"), Given(path))), Value(path))


def _deployment() -> Node:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(GATEWAY, COMPONENT),
        "spec": {
            "replicas": Value("gateway.replicas"),
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": selector(COMPONENT)},
            "strategy": {
                "type": "RollingUpdate",
                # Of host ports no second one can be had on the same node.
                "rollingUpdate": {
                    "maxSurge": Either(_ON_HOST, 0, 1),
                    "maxUnavailable": Either(_ON_HOST, 1, 0),
                },
            },
            "template": _template(),
        },
    }


def _daemon_set() -> Node:
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": metadata(GATEWAY, COMPONENT),
        "spec": {
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": selector(COMPONENT)},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": _template(),
        },
    }


def _template() -> Node:
    return {"metadata": pod_head(COMPONENT, "gateway"), "spec": _pod()}


def _pod() -> Node:
    token: Node = {
        "serviceAccountToken": {
            "audience": text("federation.{}", "clusterset"),
            "expirationSeconds": TOKEN_SECONDS,
            "path": "token",
        }
    }
    return {
        "serviceAccountName": GATEWAY,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "imagePullSecrets": pull_secrets(),
        "securityContext": pod_security(UID),
        **placement(COMPONENT, "gateway"),
        "terminationGracePeriodSeconds": Value("gateway.terminationGracePeriodSeconds"),
        "containers": (
            {
                "name": COMPONENT,
                **image_fields(),
                "args": ARGUMENTS,
                "env": environment(),
                "ports": (
                    {
                        "name": _PORT_NAME,
                        "containerPort": GATEWAY_PORT,
                        "protocol": "TCP",
                        "hostPort": When(_ON_HOST, Value("gateway.service.hostPort")),
                    },
                    {"name": "http-metrics", "containerPort": METRICS_PORT, "protocol": "TCP"},
                ),
                # It listens from when the controllers told it what to, and whatever connects is let go again.
                "readinessProbe": {
                    "tcpSocket": {"port": _PORT_NAME},
                    "periodSeconds": 5,
                    "failureThreshold": 2,
                    "timeoutSeconds": 3,
                },
                # Its endpoint is withdrawn meanwhile, here and at load balancers.
                "lifecycle": {"preStop": {"exec": {"command": ("sleep", text("{}", "gateway.drainSeconds"))}}},
                "resources": Value("gateway.resources"),
                "securityContext": container_security(),
                "volumeMounts": (
                    mount("state", STATE_DIRECTORY),
                    mount("tmp", "/tmp"),  # noqa: S108 - the pod's own
                    mount("settings", SETTINGS_DIRECTORY, read_only=True),
                    mount("trust", TRUST_DIRECTORY, read_only=True),
                    mount("token", TOKEN_DIRECTORY, read_only=True),
                ),
            },
        ),
        "volumes": (
            empty_volume("state", size="256Mi"),
            empty_volume("tmp", size="64Mi"),
            {"name": "settings", "configMap": {"name": SETTINGS}},
            {"name": "trust", "configMap": {"name": TRUST_BUNDLE}},
            {"name": "token", "projected": {"defaultMode": 0o440, "sources": (token,)}},
        ),
    }
