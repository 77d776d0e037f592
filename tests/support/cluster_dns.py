"""A cluster's DNS on a stand-in API server: CoreDNS as kubeadm installs it, and the federation's Service."""

from __future__ import annotations

from typing import Any

from support.corefiles import KUBEADM
from support.kube.housekeeping import NAMESPACES
from support.kube.objects import GroupResource, Key
from support.kube.server import StandIn

CONFIG_MAPS: GroupResource = ("", "configmaps")
DEPLOYMENTS: GroupResource = ("apps", "deployments")
SERVICES: GroupResource = ("", "services")
COREDNS = Key("kube-system", "coredns")
CUSTOM = Key("kube-system", "coredns-custom")


def put_coredns(server: StandIn, corefile: str = KUBEADM, *, image: str = "coredns/coredns:v1.12.2") -> None:
    """Its ConfigMap with a key of somebody else, and its Deployment."""
    metadata = {"name": "coredns", "namespace": "kube-system", "labels": {"keep": "me"}}
    server.put(CONFIG_MAPS, {"metadata": metadata, "data": {"Corefile": corefile, "NodeHosts": "10.0.0.1 node\n"}})
    pod = {"serviceAccountName": "coredns", "containers": [{"name": "coredns", "image": image}]}
    spec = {"selector": {"matchLabels": {"k8s-app": "kube-dns"}}, "template": {"spec": pod}}
    server.put(DEPLOYMENTS, {"metadata": {"name": "coredns", "namespace": "kube-system"}, "spec": spec})


def put_service(server: StandIn, address: str = "10.96.0.20") -> None:
    """Service federation-dns with that cluster IP."""
    server.put(NAMESPACES, {"metadata": {"name": "federation-system"}})
    spec = {"clusterIP": address, "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]}
    metadata = {"name": "federation-dns", "namespace": "federation-system"}
    server.put(SERVICES, {"metadata": metadata, "spec": spec})


def data(server: StandIn, key: Key = COREDNS) -> dict[str, Any] | None:
    """What a ConfigMap holds; None where there is none."""
    found = server.objects(CONFIG_MAPS).get(key)
    return None if found is None else found.get("data", {})


def writes(server: StandIn) -> list[tuple[str, int]]:
    """Verb and answer of each request that changes a ConfigMap."""
    asked = [(one.asked.verb, one.asked.plural, one.code) for one in server.audit]
    return [(verb, code) for verb, plural, code in asked if plural == "configmaps" and verb != "get"]
