"""The merge of several clusters' exports of one service, case by case: import and Conflict condition."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from msgspec import field

from federation.model.merge import conflict_condition, merge_service
from federation.model.names import ClusterId
from federation.model.records import EndpointAddress, ImportType
from support.builders import CREATED, ECHO, endpoints_record, export_record, port
from support.golden import StrictInput, cases, check_golden, name, read_input, to_yaml

ROOT = Path(__file__).parent / "merge"


class Port(StrictInput, kw_only=True):
    name: str = ""
    protocol: str = "TCP"
    port: int
    app_protocol: str | None = None


class Address(StrictInput):
    addresses: tuple[str, ...]
    hostname: str = ""


class Export(StrictInput):
    """One cluster's export; what is left out is as in the sample service."""

    created: datetime = CREATED
    type: ImportType = ImportType.CLUSTER_SET_IP
    ports: tuple[Port, ...] = (Port(name="http", port=80),)
    session_affinity: str = "None"
    session_affinity_timeout_seconds: int | None = None
    internal_traffic_policy: str | None = None
    traffic_distribution: str | None = None
    ip_families: tuple[str, ...] = ("IPv4",)
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    identities: tuple[str, ...] = ()
    zones: dict[str, int] = field(default_factory=lambda: {"": 1})
    addresses: tuple[Address, ...] = ()
    endpoints_known: bool = True
    """False where the endpoints record has not arrived yet."""


class Input(StrictInput):
    clusters: dict[str, Export]


@pytest.mark.parametrize("case", cases(ROOT), ids=name)
def test_merge(case: Path, update_golden: bool) -> None:
    """The exports of the case merge into its import, and every export gets its Conflict condition."""
    given = read_input(case, Input)
    merged = merge_service(
        ECHO,
        {
            ClusterId(cluster): (
                export_record(
                    created=export.created,
                    type=export.type,
                    ports=[port(p.port, p.name, p.protocol, p.app_protocol) for p in export.ports],
                    session_affinity=export.session_affinity,
                    session_affinity_timeout_seconds=export.session_affinity_timeout_seconds,
                    internal_traffic_policy=export.internal_traffic_policy,
                    traffic_distribution=export.traffic_distribution,
                    ip_families=export.ip_families,
                    labels=export.labels,
                    annotations=export.annotations,
                    identities=export.identities,
                ),
                endpoints_record(
                    zones=export.zones,
                    addresses=[EndpointAddress(a.addresses, a.hostname) for a in export.addresses],
                )
                if export.endpoints_known
                else None,
            )
            for cluster, export in given.clusters.items()
        },
    )
    outputs = {}
    if merged is not None:
        outputs = {"import.yaml": to_yaml(merged), "condition.yaml": to_yaml(conflict_condition(merged))}
    check_golden(case, outputs, update=update_golden)
