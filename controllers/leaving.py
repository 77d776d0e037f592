"""Sidecars that said that they are about to end: to everybody else their workload is not ready any more. Pure.

Where a cluster is backed by Kubernetes it is the EndpointSlices that say so; here the process itself does, since
manifests are written by people.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from federation.model.names import ServiceKey
from federation.model.state import ClusterState, EndpointSlice, ServiceState

Workload = tuple[str, int]
"""Address and inbound port of a sidecar."""


def served_by(state: ClusterState, workloads: Collection[Workload], sidecar_port: int) -> set[ServiceKey]:
    """The services that any of these workloads backs."""
    return {
        key
        for key, service in state.services.items()
        if any(_is_among(workloads, piece, sidecar_port) for piece in service.slices)
    }


def without(state: ClusterState, workloads: Collection[Workload], sidecar_port: int) -> ClusterState:
    """The state in which these workloads are not ready."""
    if not workloads:
        return state
    changed = {
        key: _unready(state.services[key], workloads, sidecar_port) for key in served_by(state, workloads, sidecar_port)
    }
    return replace(state, services={**state.services, **changed})


def _unready(service: ServiceState, workloads: Collection[Workload], sidecar_port: int) -> ServiceState:
    return replace(
        service,
        slices=tuple(
            replace(
                piece,
                endpoints=tuple(
                    replace(endpoint, ready=False)
                    if any((address, _port(piece, sidecar_port)) in workloads for address in endpoint.addresses)
                    else endpoint
                    for endpoint in piece.endpoints
                ),
            )
            for piece in service.slices
        ),
    )


def _is_among(workloads: Collection[Workload], piece: EndpointSlice, sidecar_port: int) -> bool:
    port = _port(piece, sidecar_port)
    return any((address, port) in workloads for endpoint in piece.endpoints for address in endpoint.addresses)


def _port(piece: EndpointSlice, sidecar_port: int) -> int:
    return piece.inbound_port or sidecar_port
