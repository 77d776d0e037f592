"""The export of one service, case by case: records, conditions and problems."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from msgspec import field

from federation.model.export import export_service
from federation.model.state import Endpoint, Service, ServiceState, ServiceType
from support.builders import (
    CREATED,
    ECHO,
    after,
    endpoint,
    endpoint_port,
    endpoint_slice,
    port,
    service,
    service_export,
)
from support.golden import StrictInput, cases, check_golden, name, read_input, to_yaml

ROOT = Path(__file__).parent / "export"
FIRST_SEEN = after(3600)


class Port(StrictInput, kw_only=True):
    name: str = ""
    protocol: str = "TCP"
    port: int
    app_protocol: str | None = None


class GivenService(StrictInput):
    type: ServiceType = ServiceType.CLUSTER_IP
    headless: bool = False
    ports: tuple[Port, ...] = (Port(name="http", port=80),)
    session_affinity: str = "None"
    session_affinity_timeout_seconds: int | None = None
    internal_traffic_policy: str | None = None
    traffic_distribution: str | None = None
    ip_families: tuple[str, ...] = ("IPv4",)


class GivenExport(StrictInput):
    created: datetime | None = CREATED
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)


class GivenEndpoint(StrictInput):
    addresses: tuple[str, ...]
    ready: bool = True
    zone: str = ""
    hostname: str = ""
    service_account: str = ""


class GivenSlice(StrictInput):
    name: str = "echo-1"
    address_type: str = "IPv4"
    ports: tuple[Port, ...] = (Port(name="http", port=8080),)
    endpoints: tuple[GivenEndpoint, ...] = ()
    service_account: str = "default"


class Input(StrictInput):
    service: GivenService | None = GivenService()
    export: GivenExport | None = GivenExport()
    slices: tuple[GivenSlice, ...] = ()


@pytest.mark.parametrize("case", cases(ROOT), ids=name)
def test_export(case: Path, update_golden: bool) -> None:
    """The service of the case is exported as its records, conditions and problems say."""
    given = read_input(case, Input)
    state = ServiceState(
        service=_service(given.service) if given.service else None,
        export=service_export(
            created=given.export.created, labels=given.export.labels, annotations=given.export.annotations
        )
        if given.export
        else None,
        slices=tuple(
            endpoint_slice(
                *(_endpoint(e) for e in s.endpoints),
                name=s.name,
                address_type=s.address_type,
                ports=[endpoint_port(p.port, p.name, p.protocol) for p in s.ports],
                service_account=s.service_account,
            )
            for s in given.slices
        ),
    )
    exported = export_service(ECHO, state, trust_domain="east.test", first_seen=FIRST_SEEN)
    parts = {
        "export.yaml": exported.export,
        "endpoints.yaml": exported.endpoints,
        "conditions.yaml": exported.conditions,
        "problems.yaml": exported.problems,
    }
    check_golden(case, {file: to_yaml(part) for file, part in parts.items() if part}, update=update_golden)


def _service(given: GivenService) -> Service:
    return service(
        type=given.type,
        headless=given.headless,
        ports=[port(p.port, p.name, p.protocol, p.app_protocol) for p in given.ports],
        session_affinity=given.session_affinity,
        session_affinity_timeout_seconds=given.session_affinity_timeout_seconds,
        internal_traffic_policy=given.internal_traffic_policy,
        traffic_distribution=given.traffic_distribution,
        ip_families=given.ip_families,
    )


def _endpoint(given: GivenEndpoint) -> Endpoint:
    made = endpoint(*given.addresses, ready=given.ready, zone=given.zone, hostname=given.hostname)
    return replace(made, service_account=given.service_account)
