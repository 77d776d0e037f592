"""The sample of a clusterset on kind: echo, exported by some clusters and called from others. Pure.

What runs is the sample application of the demo, which is in our image: nothing else has to be downloaded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Final

from federation.app.kind.commands import Command, Kit
from federation.app.kind.topology import KindCluster, Topology
from federation.model.names import CLUSTERSET_DOMAIN

SAMPLE_NAMESPACE: Final = "demo"
URL: Final = f"http://echo.{SAMPLE_NAMESPACE}.svc.{CLUSTERSET_DOMAIN}:8080/"
PROGRAM_DIRECTORY: Final = "/opt/federation/program"
"""Where our image has the packages; its Python is on PATH."""
_UID: Final = 65532
_CALL: Final = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"

Document = Mapping[str, object]


def sample_manifests(topology: Topology, cluster: KindCluster, image: str) -> str:
    """What `kubectl apply -f -` takes: the namespace, and the parts of the sample that are this cluster's."""
    items = list(_items(topology, cluster, image))
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=2)


def deployments(topology: Topology, cluster: KindCluster) -> tuple[str, ...]:
    """Names of the sample's Deployments in a cluster."""
    roles = {"echo": topology.servers, "caller": topology.callers}
    return tuple(name for name, clusters in roles.items() if cluster.name in clusters)


def call(kit: Kit, cluster: KindCluster) -> Command:
    """One call from the caller's pod, through its sidecar; prints the answer, JSON with the cluster that gave it."""
    words = ("exec", "--namespace", SAMPLE_NAMESPACE, "deployment/caller", "--container", "caller", "--")
    return kit.kubectl(cluster, *words, "python3", "-c", _CALL, URL)


def _items(topology: Topology, cluster: KindCluster, image: str) -> Iterator[Document]:
    labels = {"federation-gateway.dev/injection": "enabled"}
    yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SAMPLE_NAMESPACE, "labels": labels}}
    for name in deployments(topology, cluster):
        yield {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata(name)}
        yield _deployment(name, cluster, image)
    if cluster.name in topology.servers:
        port = {"name": "http", "port": 8080, "targetPort": 8080, "protocol": "TCP", "appProtocol": "http"}
        yield {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": _metadata("echo"),
            "spec": {"selector": {"app": "echo"}, "ports": [port]},
        }
        yield {"apiVersion": "multicluster.x-k8s.io/v1beta1", "kind": "ServiceExport", "metadata": _metadata("echo")}


def _metadata(name: str) -> Document:
    return {"name": name, "namespace": SAMPLE_NAMESPACE, "labels": {"app": name}}


def _deployment(name: str, cluster: KindCluster, image: str) -> Document:
    who = {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    serve = ("--cluster", cluster.name, "--pod", "$(POD_NAME)", "--http", "echo=0.0.0.0:8080")
    command = ["python3", "-P", "-m", "federation.demo.workloads", *serve] if name == "echo" else ["sleep", "infinity"]
    container = {
        "name": name,
        "image": image,
        "command": command,
        "env": [who, {"name": "PYTHONPATH", "value": PROGRAM_DIRECTORY}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
    }
    if name == "echo":
        container["ports"] = [{"name": "http", "containerPort": 8080}]
        container["readinessProbe"] = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 2}
    pod = {
        "serviceAccountName": name,
        "terminationGracePeriodSeconds": 5,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _UID,
            "runAsGroup": _UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    spec = {
        "replicas": 2 if name == "echo" else 1,
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": _metadata(name), "spec": spec}
