"""A Redis in the cluster, with TLS and users, for those who have none. Pure.

It keeps nothing but its users: what members wrote they publish again. The Secret holds its certificate and the
administrator; members' users are made over the administrator's connection and saved in the volume.
"""

from __future__ import annotations

from typing import Final

from federation.install.template import Every, Given, Is, Node, Not, Value, When, if_given
from federation.install.vocabulary import (
    EXCHANGE,
    EXCHANGE_PORT,
    EXCHANGE_UID,
    container_port,
    container_security,
    empty_volume,
    metadata,
    mount,
    pod_security,
    pull_secrets,
    selector,
    service_account,
)

COMPONENT: Final = "exchange"
INSTALLED: Final = Given("exchange.inCluster")

CERTIFICATE_DIRECTORY: Final = "/etc/exchange"
DATA_DIRECTORY: Final = "/data"

CA_KEY: Final = "ca.pem"
CERTIFICATE_KEY: Final = "server.pem"
PRIVATE_KEY_KEY: Final = "server.key"
USERS_KEY: Final = "users.acl"
"""The administrator, and that nobody else is let in: two lines of Redis' ACL file."""

USERS_SCRIPT: Final = f"""\
set -eu
umask 077
cd {DATA_DIRECTORY}
touch users.acl
grep -v -e '^user admin ' -e '^user default ' users.acl > members.acl || true
cat {CERTIFICATE_DIRECTORY}/{USERS_KEY} members.acl > users.new
mv users.new users.acl
rm members.acl
"""
"""Puts the administrator of the Secret before the users that were saved."""

ARGUMENTS: Final = (
    "--port",
    "0",
    "--tls-port",
    str(EXCHANGE_PORT),
    "--tls-cert-file",
    f"{CERTIFICATE_DIRECTORY}/{CERTIFICATE_KEY}",
    "--tls-key-file",
    f"{CERTIFICATE_DIRECTORY}/{PRIVATE_KEY_KEY}",
    "--tls-ca-cert-file",
    f"{CERTIFICATE_DIRECTORY}/{CA_KEY}",
    "--tls-auth-clients",
    "no",
    "--tls-protocols",
    "TLSv1.2 TLSv1.3",
    "--aclfile",
    f"{DATA_DIRECTORY}/users.acl",
    "--dir",
    DATA_DIRECTORY,
    "--save",
    "",
    "--appendonly",
    "no",
    "--maxmemory-policy",
    "noeviction",
)
"""As ``federation.exchange.secure_server`` starts one, in the words of a command line."""

_IS_KEPT: Final = Given("exchange.storage")


def exchange_objects() -> tuple[Node, ...]:
    return tuple(When(INSTALLED, one) for one in (service_account(EXCHANGE, COMPONENT), _service(), _stateful_set()))


def _service() -> Node:
    on_node = Not(Is("exchange.service.type", "ClusterIP"))
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(EXCHANGE, COMPONENT, annotations="exchange.service.annotations"),
        "spec": {
            "type": Value("exchange.service.type"),
            "selector": selector(COMPONENT),
            "ports": (
                {
                    "name": "redis",
                    "port": EXCHANGE_PORT,
                    "protocol": "TCP",
                    "targetPort": "redis",
                    "nodePort": When(
                        Every((on_node, Given("exchange.service.nodePort"))), Value("exchange.service.nodePort")
                    ),
                },
            ),
        },
    }


def _stateful_set() -> Node:
    claim: Node = {
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ("ReadWriteOnce",),
            "storageClassName": if_given("exchange.storageClassName"),
            "resources": {"requests": {"storage": Value("exchange.storage")}},
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(EXCHANGE, COMPONENT),
        "spec": {
            "replicas": 1,
            "serviceName": EXCHANGE,
            "selector": {"matchLabels": selector(COMPONENT)},
            "template": {"metadata": {"labels": selector(COMPONENT)}, "spec": _pod()},
            "volumeClaimTemplates": When(_IS_KEPT, (claim,)),
            # Users of an exchange that is gone are of no use to anybody.
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"},
        },
    }


def _pod() -> Node:
    certificate: Node = {
        "name": "certificate",
        "secret": {
            "secretName": Value("exchange.tlsSecret"),
            "defaultMode": 0o440,
            # Not the administrator's password, which only its hash is needed of.
            "items": tuple({"key": key, "path": key} for key in (CA_KEY, CERTIFICATE_KEY, PRIVATE_KEY_KEY, USERS_KEY)),
        },
    }
    mounts: Node = (mount("certificate", CERTIFICATE_DIRECTORY, read_only=True), mount("data", DATA_DIRECTORY))
    return {
        "serviceAccountName": EXCHANGE,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "imagePullSecrets": pull_secrets(),
        "securityContext": pod_security(EXCHANGE_UID),
        "terminationGracePeriodSeconds": 10,
        "initContainers": (
            {
                "name": "users",
                "image": Value("exchange.image"),
                "command": ("sh", "-c", USERS_SCRIPT),
                "resources": Value("exchange.resources"),
                "securityContext": container_security(),
                "volumeMounts": mounts,
            },
        ),
        "containers": (
            {
                "name": COMPONENT,
                "image": Value("exchange.image"),
                # Both images have it by this name.
                "command": ("redis-server",),
                "args": ARGUMENTS,
                "ports": (container_port("redis", EXCHANGE_PORT),),
                "readinessProbe": {"tcpSocket": {"port": "redis"}, "periodSeconds": 5, "timeoutSeconds": 3},
                "livenessProbe": {
                    "tcpSocket": {"port": "redis"},
                    "periodSeconds": 10,
                    "failureThreshold": 6,
                    "timeoutSeconds": 3,
                },
                "resources": Value("exchange.resources"),
                "securityContext": container_security(),
                "volumeMounts": mounts,
            },
        ),
        "volumes": (certificate, When(Not(_IS_KEPT), empty_volume("data", size="64Mi"))),
    }
