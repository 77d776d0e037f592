"""The clusters of the demo as values: which services, pods and addresses, and the text of every file that says so.

Pure: writes nothing and binds nothing (``loopback`` finds addresses that are free, ``stage`` writes the files). What is
written here is what a user of file-backed clusters would write by hand, so that ``--keep`` leaves a worked example.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import yaml

from federation.model.addresses import HostPort
from federation.model.names import ServiceKey

US_EAST, US_WEST, EU_WEST = "us-east", "us-west", "eu-west"

CLUSTERSET = "demo"
NAMESPACE = "demo"
BACKEND_ACCOUNT = "backend"
CLIENT_ACCOUNT = "client"

SLOW_SECONDS = 2.0
"""How long every answer of ``slow`` takes: far longer than a frozen server is waited for."""


@dataclass(frozen=True, slots=True)
class DemoService:
    """A service of the demo, the same in every cluster that exports it."""

    name: str
    port: int
    """The service's port; the pods listen on ``app_port``."""
    app_port: int
    port_name: str = "http"
    delay_seconds: float = 0.0

    @property
    def key(self) -> ServiceKey:
        return ServiceKey(NAMESPACE, self.name)

    @property
    def is_http(self) -> bool:
        return self.port_name == "http"


ECHO = DemoService("echo", 80, 8080)
SLOW = DemoService("slow", 80, 8081, delay_seconds=SLOW_SECONDS)
BILLING = DemoService("billing", 80, 8082)
LEDGER = DemoService("ledger", 9000, 9000, "tcp-ledger")
SERVICES = (ECHO, SLOW, BILLING, LEDGER)


@dataclass(frozen=True, slots=True)
class PodPlan:
    """A workload and its sidecar: one address, one process group to kill or freeze."""

    cluster: str
    name: str
    inbound: HostPort
    """Where the sidecar takes mutual TLS; its host is the workload's address."""
    admin: HostPort
    apps: Mapping[DemoService, HostPort]
    """Where the application itself listens, per service that it answers for."""

    @property
    def full_name(self) -> str:
        return f"{self.cluster}-{self.name}"


@dataclass(frozen=True, slots=True)
class ClientPlan:
    """The calling workload: a sidecar with a local port per service and an HTTP proxy port; it serves nothing."""

    cluster: str
    name: str
    inbound: HostPort
    admin: HostPort
    http_proxy: HostPort
    outbound: Mapping[DemoService, HostPort]

    @property
    def full_name(self) -> str:
        return f"{self.cluster}-{self.name}"


@dataclass(frozen=True, slots=True)
class SitePlan:
    """One cluster."""

    cluster: str
    region: str
    gateway: HostPort
    gateway_admin: HostPort
    http: HostPort
    """Health and metrics of the controller."""
    pods: tuple[PodPlan, ...]
    later_pods: tuple[tuple[PodPlan, ...], ...] = ()
    """Those that take the place of ``pods`` when they are replaced, and so on."""
    client: ClientPlan | None = None

    @property
    def trust_domain(self) -> str:
        return f"{self.cluster}.{CLUSTERSET}"

    @property
    def services(self) -> tuple[DemoService, ...]:
        return tuple(service for service in SERVICES if any(service in pod.apps for pod in self.pods))

    @property
    def listeners(self) -> tuple[HostPort, ...]:
        """Every address that the cluster's processes bind, now or later."""
        found = [self.gateway, self.gateway_admin, self.http]
        for pod in chain(self.pods, *self.later_pods):
            found += [pod.inbound, pod.admin, *pod.apps.values()]
        if self.client is not None:
            found += [self.client.admin, self.client.http_proxy, *self.client.outbound.values()]
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Layout:
    """How the clusters are told apart: by an address range each, or by ports where only 127.0.0.1 can be bound.

    ``variant`` (from 0) moves all of it, so that a second demo finds room beside the first.
    """

    ranges: bool = True
    variant: int = 0


# Cluster, region, and per pod the services that it answers for.
_CLUSTERS: tuple[tuple[str, str, tuple[tuple[DemoService, ...], ...]], ...] = (
    (US_EAST, "us", ((ECHO, SLOW), (ECHO, SLOW))),
    (US_WEST, "us", ((ECHO, SLOW, LEDGER), (ECHO, SLOW, LEDGER))),
    (EU_WEST, "eu", ((ECHO, SLOW, BILLING, LEDGER),)),
)

# Local ports of the client, chosen so that a person can tell them apart in a curl command.
_CLIENT_PORTS = {ECHO: 8001, SLOW: 8002, BILLING: 8003, LEDGER: 9001}
_CLIENT_PROXY = 3128

GENERATIONS = 3
"""How often the pods of a cluster can be there anew, the first time among them."""

_PODS_PER_GENERATION = 10

_PORTS_PER_CLUSTER = 100
_PORTS_PER_VARIANT = 400
_FIRST_PORT = 21000


class _Addresses:
    """Hands out the addresses of one cluster: the usual ports in its own range, or the next port of its share."""

    def __init__(self, layout: Layout, index: int) -> None:
        self._layout = layout
        self._range = f"127.{10 * (index + 1) + layout.variant}"
        self._next_port = _FIRST_PORT + layout.variant * _PORTS_PER_VARIANT + index * _PORTS_PER_CLUSTER

    def take(self, host: str, port: int) -> HostPort:
        """The address for ``port`` of the host that ends in ``host`` (two numbers)."""
        if self._layout.ranges:
            return HostPort(f"{self._range}.{host}", port)
        self._next_port += 1
        return HostPort("127.0.0.1", self._next_port)


def plan_sites(layout: Layout) -> tuple[SitePlan, ...]:
    """The three clusters of the demo; the load comes from the first."""
    return tuple(
        _plan_site(_Addresses(layout, index), cluster, region, pods)
        for index, (cluster, region, pods) in enumerate(_CLUSTERS)
    )


def renewed(site: SitePlan) -> SitePlan:
    """The cluster with new pods in the place of the old: as in Kubernetes, what replaces a pod has another address."""
    return replace(site, pods=site.later_pods[0], later_pods=site.later_pods[1:])


def _plan_site(addresses: _Addresses, cluster: str, region: str, pods: Sequence[tuple[DemoService, ...]]) -> SitePlan:
    client = None
    if cluster == US_EAST:
        client = ClientPlan(
            cluster,
            "client",
            inbound=addresses.take("1.100", 15006),
            admin=addresses.take("1.100", 15000),
            http_proxy=addresses.take("1.100", _CLIENT_PROXY),
            outbound={service: addresses.take("1.100", port) for service, port in _CLIENT_PORTS.items()},
        )
    generations = tuple(
        tuple(
            _plan_pod(addresses, cluster, generation * _PODS_PER_GENERATION + number, services)
            for number, services in enumerate(pods, start=1)
        )
        for generation in range(GENERATIONS)
    )
    return SitePlan(
        cluster,
        region,
        gateway=addresses.take("0.1", 15443),
        gateway_admin=addresses.take("0.1", 15000),
        http=addresses.take("0.1", 15014),
        pods=generations[0],
        later_pods=generations[1:],
        client=client,
    )


def _plan_pod(addresses: _Addresses, cluster: str, number: int, services: Sequence[DemoService]) -> PodPlan:
    host = f"1.{number}"
    return PodPlan(
        cluster,
        f"backend-{number}",
        inbound=addresses.take(host, 15006),
        admin=addresses.take(host, 15000),
        apps={service: addresses.take(host, service.app_port) for service in services},
    )


def cluster_text(site: SitePlan, *, exchange_url: str) -> str:
    """The text of ``cluster.yaml``; ``federation init`` and ``join`` bring the files that it names."""
    pinned = {"caFile": "exchange-ca.pem"} if exchange_url.startswith("rediss") else {}
    return _dump(
        {
            "clusterset": CLUSTERSET,
            "cluster": site.cluster,
            "region": site.region,
            "trustDomain": site.trust_domain,
            "exchange": {"url": exchange_url, **pinned, "credentialsFile": "exchange.credentials"},
            "gateway": {"listen": str(site.gateway), "admin": str(site.gateway_admin)},
            "http": {"listen": str(site.http)},
            # The default of 10 s is for a real network; here a bundle reaches every peer in milliseconds.
            "ca": {"propagation": "2s"},
        }
    )


def sidecar_text(workload: PodPlan | ClientPlan) -> str:
    """The text of the workload's ``sidecar-*.yaml``, which lies in the cluster's directory."""
    text: dict[str, Any] = {
        "clusterDirectory": ".",
        "namespace": NAMESPACE,
        "serviceAccount": BACKEND_ACCOUNT if isinstance(workload, PodPlan) else CLIENT_ACCOUNT,
        "address": workload.inbound.host,
        "inboundPort": workload.inbound.port,
        "admin": str(workload.admin),
    }
    if isinstance(workload, PodPlan):
        probed = next(address for service, address in workload.apps.items() if service.is_http)
        text["probe"] = {"port": probed.port, "path": "/healthz"}
    else:
        text["httpProxy"] = str(workload.http_proxy)
        text["outbound"] = [
            {"service": str(service.key), "port": service.port, "listen": str(listen)}
            for service, listen in workload.outbound.items()
        ]
    return _dump(text)


def manifests(site: SitePlan, *, ready: bool = True) -> dict[str, str]:
    """The manifests of one cluster, by file name: its namespace, and one file per exported service.

    A pod's sidecar takes calls for what the slices say of it, ready or not; callers use it once it is ready.
    """
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    files = {"namespace.yaml": _dump(namespace)}
    for service in site.services:
        documents = [_service(service), _export(service)]
        documents += [_slice(service, pod, ready=ready) for pod in site.pods if service in pod.apps]
        files[f"{service.name}.yaml"] = _dump(*documents)
    return files


def _service(service: DemoService) -> dict[str, Any]:
    port = {"name": service.port_name, "protocol": "TCP", "port": service.port}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": service.name, "namespace": NAMESPACE},
        "spec": {"type": "ClusterIP", "ports": [port]},
    }


def _export(service: DemoService) -> dict[str, Any]:
    return {
        "apiVersion": "multicluster.x-k8s.io/v1beta1",
        "kind": "ServiceExport",
        "metadata": {"name": service.name, "namespace": NAMESPACE},
    }


def _slice(service: DemoService, pod: PodPlan, *, ready: bool) -> dict[str, Any]:
    """One slice per pod: the ports belong to the slice, and pods on one address differ in them."""
    listen = pod.apps[service]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{service.name}-{pod.name}",
            "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": service.name},
            "annotations": {
                "federation-gateway.dev/service-account": BACKEND_ACCOUNT,
                "federation-gateway.dev/inbound-port": str(pod.inbound.port),
            },
        },
        "addressType": "IPv4",
        "ports": [{"name": service.port_name, "protocol": "TCP", "port": listen.port}],
        "endpoints": [{"addresses": [listen.host], "conditions": {"ready": ready}}],
    }


def _dump(*documents: Mapping[str, Any]) -> str:
    text: str = yaml.safe_dump_all(documents, sort_keys=False)
    return text
