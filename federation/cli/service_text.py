"""The services of the clusterset as a table. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from controllers.status import ServiceStatus


def service_rows(services: Sequence[ServiceStatus], *, wide: bool) -> tuple[list[str], list[list[str]]]:
    """Headers and rows, one for each service."""
    headers = ["namespace", "name", "type", "ports", "backends (ready)"]
    rows = [[one.namespace, one.name, one.type, ", ".join(one.ports), _backends(one)] for one in services]
    if not wide:
        return [*headers, "conflict"], [
            [*row, "yes" if one.conflict else "no"] for one, row in zip(services, rows, strict=True)
        ]
    return [*headers, "host", "vip", "policies", "conflict"], [
        [*row, one.host, one.vip, ", ".join(one.policies) or "none", one.conflict or "no"]
        for one, row in zip(services, rows, strict=True)
    ]


def _backends(service: ServiceStatus) -> str:
    """``us-east(2) > us-west(2) > eu-west(1)``; clusters that get no calls come last, in brackets."""
    called: dict[int, list[str]] = {}
    for backend in service.backends:
        if backend.priority is not None:
            called.setdefault(backend.priority, []).append(f"{backend.cluster}({backend.ready})")
    order = " > ".join(", ".join(names) for _, names in sorted(called.items()))
    idle = [f"{backend.cluster}({backend.ready})" for backend in service.backends if backend.priority is None]
    return " ".join(part for part in (order, f"[{', '.join(idle)}]" if idle else "") if part) or "none"
