"""The controllers: a Deployment of equals of which one leads, and the Services by which they are reached. Pure."""

from __future__ import annotations

from typing import Final

from federation.install.template import Given, Node, Value, When, if_given
from federation.install.vocabulary import (
    CA_DIRECTORY,
    CA_FILE,
    CONTROLLER,
    DNS,
    DNS_PORT,
    HTTP_PORT,
    OWN_CA,
    SETTINGS,
    SETTINGS_DIRECTORY,
    SETTINGS_FILE,
    STATE_DIRECTORY,
    UID,
    WEBHOOK_PORT,
    XDS_PORT,
    container_port,
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
    port,
    probe,
    pull_secrets,
    selector,
    service_account,
    settings,
)

COMPONENT: Final = "controller"
ARGUMENTS: Final = ("controller", "--dir", STATE_DIRECTORY, "--base", f"{SETTINGS_DIRECTORY}/{SETTINGS_FILE}")
"""Of the program in a controller's container."""


def controller_objects() -> tuple[Node, ...]:
    return (
        service_account(CONTROLLER, COMPONENT),
        _settings(),
        _service(),
        _dns_service(),
        disruption_budget(CONTROLLER, COMPONENT),
        _deployment(),
    )


def _settings() -> Node:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(SETTINGS, COMPONENT),
        "data": {SETTINGS_FILE: settings()},
    }


def _service() -> Node:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(CONTROLLER, COMPONENT),
        "spec": {
            "selector": selector(COMPONENT),
            "ports": (port("xds", XDS_PORT), port("webhook", 443), port("http-metrics", HTTP_PORT)),
        },
    }


def _dns_service() -> Node:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(DNS, COMPONENT),
        "spec": {
            "selector": selector(COMPONENT),
            "clusterIP": if_given("dns.clusterIP"),
            "ports": (port("dns", 53, protocol="UDP"), port("dns-tcp", 53)),
        },
    }


def _deployment() -> Node:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(CONTROLLER, COMPONENT),
        "spec": {
            "replicas": Value("controller.replicas"),
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": selector(COMPONENT)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {"metadata": pod_head(COMPONENT, "controller"), "spec": _pod()},
        },
    }


def _pod() -> Node:
    return {
        "serviceAccountName": CONTROLLER,
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "imagePullSecrets": pull_secrets(),
        "securityContext": pod_security(UID),
        **placement(COMPONENT, "controller"),
        # A leader that ends gives its Lease up first.
        "terminationGracePeriodSeconds": 30,
        "containers": (
            {
                "name": COMPONENT,
                **image_fields(),
                "args": ARGUMENTS,
                "env": environment(),
                "ports": (
                    container_port("xds", XDS_PORT),
                    container_port("http-metrics", HTTP_PORT),
                    container_port("webhook", WEBHOOK_PORT),
                    container_port("dns", DNS_PORT, protocol="UDP"),
                    container_port("dns-tcp", DNS_PORT),
                ),
                "livenessProbe": probe("/healthz", period_seconds=10, failures=6),
                "readinessProbe": probe("/readyz", period_seconds=5, failures=2),
                "resources": Value("controller.resources"),
                "securityContext": container_security(),
                "volumeMounts": (
                    mount("state", STATE_DIRECTORY),
                    mount("tmp", "/tmp"),  # noqa: S108 - the pod's own
                    mount("settings", SETTINGS_DIRECTORY, read_only=True),
                    When(OWN_CA, mount("ca", CA_DIRECTORY, read_only=True)),
                ),
            },
        ),
        "volumes": (
            empty_volume("state", size="1Gi"),
            empty_volume("tmp", size="64Mi"),
            {"name": "settings", "configMap": {"name": SETTINGS}},
            *_own_ca(),
        ),
    }


def _own_ca() -> tuple[Node, ...]:
    """The volume with the bundle of the CA that a cluster brings: its key alone, since a private key may lie beside."""
    items: Node = ({"key": Value("ca.key"), "path": CA_FILE},)
    secret: Node = {"secretName": Value("ca.secret"), "items": items}
    return (
        When(Given("ca.configMap"), {"name": "ca", "configMap": {"name": Value("ca.configMap"), "items": items}}),
        When(Given("ca.secret"), {"name": "ca", "secret": secret}),
    )
