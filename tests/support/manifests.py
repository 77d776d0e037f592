"""Manifests as tests write them: plain documents, put into place whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

Document = Mapping[str, Any]


def exported_service(
    namespace: str,
    name: str,
    ports: Mapping[str, int],
    hosts: Sequence[str],
    *,
    account: str = "echo",
    targets: Mapping[str, int] | None = None,
    mode: str = "",
) -> tuple[Document, Document, Document]:
    """Service, ServiceExport and EndpointSlice. ``ports``: by name, which tells the protocol; ``targets``: the
    workload's ports where they differ; ``mode``: who ends TLS, where that is said."""
    metadata = {"name": name, "namespace": namespace}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"ports": [{"name": port, "port": number} for port, number in ports.items()]},
    }
    export = {"apiVersion": "multicluster.x-k8s.io/v1beta1", "kind": "ServiceExport", "metadata": metadata}
    if mode:
        export["metadata"] = {**metadata, "annotations": {"federation-gateway.dev/mode": mode}}
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-1",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": name},
            "annotations": {"federation-gateway.dev/service-account": account},
        },
        "addressType": "IPv4",
        "ports": [{"name": port, "port": (targets or {}).get(port, number)} for port, number in ports.items()],
        "endpoints": [{"addresses": [host], "conditions": {"ready": True}} for host in hosts],
    }
    return service, export, endpoints


def write_manifests(path: Path, documents: Sequence[Document]) -> None:
    """Write the documents aside and rename them into place; as one List where the file is JSON."""
    aside = path.with_name(f".{path.name}.new")
    if path.suffix == ".json":
        aside.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)}))
    else:
        aside.write_text(yaml.safe_dump_all(documents))
    aside.replace(path)
