"""The gateways' addresses, as their Service and the nodes come and go on the stand-in API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from controllers.kube.client import KubeAccess, open_client
from controllers.kube.cluster_watch import ClusterWatch
from controllers.kube.gateway_address_watch import GatewayAddressWatch
from controllers.kube.gateway_addresses import HOST_PORT_ANNOTATION
from federation.model.addresses import HostPort
from support.exchange import until
from support.kubernetes_site import QUICK, KubernetesSite, kubernetes_site

NAME = "federation-gateway"
NAMESPACE = "federation-system"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[KubernetesSite]:
    async with kubernetes_site(tmp_path) as opened:
        yield opened


class Observed:
    """A watch that runs, and what it told."""

    def __init__(self, site: KubernetesSite, shared: ClusterWatch | None = None) -> None:
        self.told: list[list[str]] = []
        opened = partial(open_client, KubeAccess(site.kubeconfig))
        self.watch = GatewayAddressWatch(opened, NAMESPACE, NAME, self._take, watch=shared, patience=QUICK)
        self._task = asyncio.get_running_loop().create_task(self.watch.run())

    @property
    def reasons(self) -> list[str]:
        return [one.reason for one in self.watch.problems]

    def _take(self, addresses: tuple[HostPort, ...]) -> None:
        self.told.append([str(one) for one in addresses])

    async def stop(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


@pytest.fixture
async def observed(site: KubernetesSite) -> AsyncIterator[Observed]:
    found = Observed(site)
    yield found
    await found.stop()


def put(site: KubernetesSite, handle: str, document: dict[str, Any]) -> None:
    site.put(handle, yaml.safe_dump(document))


def service(type_: str, ip: str = "", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "namespace": NAMESPACE, **metadata},
        "spec": {"type": type_, "externalIPs": [ip] if ip else [], "ports": [{"name": "mtls", "port": 15443}]},
    }


def node(name: str, ip: str, ready: str = "True") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "status": {
            "addresses": [{"type": "InternalIP", "address": ip}],
            "conditions": [{"type": "Ready", "status": ready}],
        },
    }


def pods(*nodes: str, of: str = NAME) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{of}-1", "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": of}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.1.0.1"], "nodeName": name} for name in nodes],
    }


async def test_addresses_follow_the_service(site: KubernetesSite, observed: Observed) -> None:
    """They are told when they are others; one that is gone, or has none, leaves what was told."""
    await until(lambda: observed.reasons == ["NotFound"])
    put(site, "service", service("LoadBalancer", "203.0.113.1"))
    await until(lambda: observed.told == [["203.0.113.1:15443"]])
    put(site, "service", service("LoadBalancer", "203.0.113.1", labels={"any": "label"}))
    put(
        site, "other", {**service("LoadBalancer", "203.0.113.7"), "metadata": {"name": "other", "namespace": NAMESPACE}}
    )
    put(site, "service", service("LoadBalancer", "203.0.113.2"))
    await until(lambda: len(observed.told) == 2)
    put(site, "service", service("LoadBalancer"))
    await until(lambda: observed.reasons == ["NoAddress"])
    site.remove("service")
    await until(lambda: observed.reasons == ["NotFound"])

    assert observed.told == [["203.0.113.1:15443"], ["203.0.113.2:15443"]]
    assert [str(one) for one in observed.watch.addresses] == ["203.0.113.2:15443"]
    assert site.lists("nodes") == 0


async def test_nodes_are_read_while_the_service_needs_them(site: KubernetesSite, observed: Observed) -> None:
    """Of their addresses nothing is told before all are known; with a host port those with a gateway count."""
    put(site, "a", node("a", "10.0.0.1"))
    put(site, "b", node("b", "10.0.0.2"))
    put(site, "c", node("c", "10.0.0.3", ready="False"))
    put(site, "elsewhere", pods("a", of="elsewhere"))
    put(site, "service", service("NodePort"))
    await until(lambda: bool(observed.told))
    port = observed.told[0][0].partition(":")[2]
    assert observed.told == [[f"10.0.0.1:{port}", f"10.0.0.2:{port}"]]

    put(site, "pods", pods("b"))
    put(site, "service", service("NodePort", annotations={HOST_PORT_ANNOTATION: "8443"}))
    await until(lambda: observed.told[-1] == ["10.0.0.2:8443"])
    put(site, "c", node("c", "10.0.0.3"))
    put(site, "pods", pods("b", "c"))
    await until(lambda: observed.told[-1] == ["10.0.0.2:8443", "10.0.0.3:8443"])
    site.remove("b")
    await until(lambda: observed.told[-1] == ["10.0.0.3:8443"])
    site.remove("pods")
    await until(lambda: observed.reasons == ["NoAddress"])

    put(site, "service", service("LoadBalancer", "203.0.113.1", annotations={HOST_PORT_ANNOTATION: None}))
    await until(lambda: observed.told[-1] == ["203.0.113.1:15443"] and site.server.watches.count == 2)


async def test_an_api_server_that_vanishes_changes_nothing(site: KubernetesSite, observed: Observed) -> None:
    """What can't be read is told, and what changed meanwhile is known once the server is back."""
    put(site, "a", node("a", "10.0.0.1"))
    put(site, "service", service("NodePort", annotations={HOST_PORT_ANNOTATION: "8443"}))
    put(site, "pods", pods("a"))
    await until(lambda: observed.told == [["10.0.0.1:8443"]])
    await site.server.vanish()
    await until(lambda: observed.reasons == ["Unreadable"] * 3)
    put(site, "a", node("a", "10.0.0.9"))
    assert len(observed.told) == 1
    await site.server.come_back()
    await until(lambda: observed.told[1:] == [["10.0.0.9:8443"]] and not observed.reasons)


async def test_a_shared_watch_is_run_by_others(site: KubernetesSite) -> None:
    """It reads no Service of its own."""
    put(site, "service", service("LoadBalancer", "203.0.113.1"))
    shared = ClusterWatch(partial(open_client, KubeAccess(site.kubeconfig)), QUICK)
    observed = Observed(site, shared)
    running = asyncio.get_running_loop().create_task(shared.run())
    await until(lambda: observed.told == [["203.0.113.1:15443"]])
    await observed.stop()
    await until(lambda: site.server.watches.count == 0)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
