"""Directories of manifests for tests: texts of objects, and awaiting what a source says of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from controllers.sources.base import SourceUpdate
from federation.model.configuration import ClusterSettings
from federation.model.settings import parse_cluster_settings

DEADLINE_SECONDS = 20


def settings_of(directory: Path) -> ClusterSettings:
    """Settings with nothing but what is required."""
    return parse_cluster_settings(
        "{clusterset: test, cluster: a, region: r, trustDomain: a.test, memberKeyFile: k, exchange: {url: 'redis://h'},"
        " xds: {listen: '127.0.0.1:15012'}}",
        directory=directory,
    )


def service(name: str = "echo", port: int | str = 8080, namespace: str = "demo") -> str:
    return (
        f"apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: {namespace}\n"
        f"spec:\n  ports:\n  - port: {port}\n"
    )


def export(name: str = "echo", namespace: str = "demo") -> str:
    return (
        f"apiVersion: multicluster.x-k8s.io/v1beta1\nkind: ServiceExport\n"
        f"metadata:\n  name: {name}\n  namespace: {namespace}\n"
    )


def endpoint_slice(name: str = "echo-1", service_name: str = "echo", address: str = "127.10.0.1") -> str:
    return (
        f"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}\n  namespace: demo\n"
        f"  labels: {{kubernetes.io/service-name: {service_name}}}\n"
        f"addressType: IPv4\nports:\n- port: 80\nendpoints:\n- addresses: [{address}]\n"
    )


def stream(*documents: str) -> str:
    return "---\n".join(f"{document.rstrip()}\n" for document in documents)


async def next_update(updates: AsyncGenerator[SourceUpdate, None]) -> SourceUpdate:
    async with asyncio.timeout(DEADLINE_SECONDS):
        return await anext(updates)


async def update_where(
    updates: AsyncGenerator[SourceUpdate, None], holds: Callable[[SourceUpdate], bool]
) -> SourceUpdate:
    """The first update for which ``holds``; earlier ones show a change half done, which is allowed."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        async for update in updates:
            if holds(update):
                return update
    raise AssertionError("the stream ended")
