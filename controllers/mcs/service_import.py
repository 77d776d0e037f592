"""The ServiceImport of one merged service in this cluster, with its status. Pure.

What the clusterset agreed on is the merge's; this cluster adds its own addresses. Labels and annotations are those that
were exported, never those of a Service, and what an API server would refuse is left out: one name that is no label must
not keep the whole import out of every cluster.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from controllers.mcs.derived_service import Allocation
from controllers.mcs.objects import (
    MANAGED_BY,
    MANAGER,
    Apply,
    Document,
    import_id,
    mapping,
    section,
    sequence,
    text,
    uid_of,
)
from controllers.mcs.stamped_conditions import stamp_conditions
from federation.model.conditions import Condition, ConditionStatus
from federation.model.merge import DEFAULT_AFFINITY_TIMEOUT_SECONDS
from federation.model.names import ClusterId, ServiceKey
from federation.model.problems import Problem
from federation.model.records import ImportType
from federation.model.state import ServicePort
from federation.model.view import MergedService

_QUALIFIED_NAME = re.compile(
    r"(?:(?=[^/]{1,253}/)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
    r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_MAX_ANNOTATIONS_BYTES: Final = 256 * 1024
"""Of all names and values together (Kubernetes, ValidateAnnotationsSize)."""


@dataclass(frozen=True, slots=True)
class ServiceImport:
    """What the import says in this cluster."""

    key: ServiceKey
    type: ImportType
    ports: tuple[ServicePort, ...]
    ips: tuple[str, ...]
    """Clusterset IPs of this cluster, one for each of ``ip_families`` and in their order once there are any."""
    ip_families: tuple[str, ...]
    session_affinity: str
    session_affinity_timeout_seconds: int | None
    internal_traffic_policy: str | None
    traffic_distribution: str | None
    labels: tuple[tuple[str, str], ...]
    annotations: tuple[tuple[str, str], ...]
    clusters: tuple[ClusterId, ...]
    """Who backs it, sorted."""
    ready: Condition


def build_import(merged: MergedService, allocated: Allocation) -> tuple[ServiceImport, tuple[Problem, ...]]:
    """The import of a merged service, and what was exported with it that no API server takes."""
    labels, label_problems = _accepted(merged.key, "exportedLabels", merged.labels, _is_label)
    annotations, annotation_problems = _accepted(merged.key, "exportedAnnotations", merged.annotations, _is_annotation)
    if sum(len(name.encode()) + len(value.encode()) for name, value in annotations) > _MAX_ANNOTATIONS_BYTES:
        annotations = ()
        annotation_problems = (_refused(merged.key, "exportedAnnotations", "they are larger than 256 KiB together"),)
    headless = merged.type is ImportType.HEADLESS
    ips = () if headless else allocated.ips
    families = tuple(family for family, _ in ips) or (allocated.families if not headless else ()) or merged.ip_families
    built = ServiceImport(
        key=merged.key,
        type=merged.type,
        ports=tuple(ServicePort(port.name, port.protocol, port.port, port.app_protocol) for port in merged.ports),
        ips=tuple(ip for _, ip in ips),
        ip_families=families,
        session_affinity=merged.session_affinity,
        session_affinity_timeout_seconds=merged.session_affinity_timeout_seconds,
        internal_traffic_policy=merged.internal_traffic_policy,
        traffic_distribution=merged.traffic_distribution,
        labels=labels,
        annotations=annotations,
        clusters=tuple(sorted(backend.cluster for backend in merged.backends)),
        ready=_ready(merged, allocated),
    )
    return built, (*label_problems, *annotation_problems)


def import_spec(built: ServiceImport, *, api_version: str) -> Apply:
    """The write of the import itself."""
    spec: dict[str, object] = {
        "type": built.type.value,
        "ports": [_port(port) for port in built.ports],
        "ipFamilies": list(built.ip_families),
        "sessionAffinity": built.session_affinity,
    }
    if built.ips:
        spec["ips"] = list(built.ips)
    if built.session_affinity == "ClientIP":
        timeout = built.session_affinity_timeout_seconds or DEFAULT_AFFINITY_TIMEOUT_SECONDS
        spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": timeout}}
    if built.internal_traffic_policy is not None:
        spec["internalTrafficPolicy"] = built.internal_traffic_policy
    if built.traffic_distribution is not None:
        spec["trafficDistribution"] = built.traffic_distribution
    metadata: dict[str, object] = {
        "namespace": built.key.namespace,
        "name": built.key.name,
        # Ours comes last: whoever exports it must not make the import somebody else's.
        "labels": {**dict(built.labels), MANAGED_BY["ServiceImport"]: MANAGER},
    }
    if built.annotations:
        metadata["annotations"] = dict(built.annotations)
    document = {"apiVersion": api_version, "kind": "ServiceImport", "metadata": metadata, "spec": spec}
    return Apply(import_id(built.key), "", document)


def import_status(
    built: ServiceImport,
    observed: Document | None,
    *,
    slices: bool,
    unknown: Collection[ClusterId] = (),
    api_version: str,
    now: datetime,
) -> Apply:
    """The write of the import's status; ``slices`` says whether there are EndpointSlices of it in this cluster, and
    ``unknown`` who backed it and may do so still."""
    status = {
        "clusters": [{"cluster": cluster} for cluster in sorted({*built.clusters, *unknown})],
        "conditions": stamp_conditions(
            [built.ready],
            section(observed, "status").get("conditions"),
            # Nobody but us states what is wanted of an import: there is nothing to say which version of it was seen.
            generation=None,
            now=now,
        ),
        "endpointSliceObjects": "Present" if slices else "Absent",
    }
    return _status(built.key, status, api_version)


def unknown_status(key: ServiceKey, observed: Document, *, api_version: str) -> Apply:
    """The write of the status of an import of which it is not known what backs it now: as it was, without slices."""
    before = section(observed, "status")
    status = {
        "clusters": [{"cluster": cluster} for cluster in recorded_clusters(observed)],
        "conditions": [one for one in sequence(before.get("conditions")) if mapping(one).get("type") == "Ready"],
        "endpointSliceObjects": "Absent",
    }
    return _status(key, status, api_version)


def recorded_clusters(observed: Document | None) -> tuple[ClusterId, ...]:
    """Who backed an import when that was last known, sorted."""
    told = (text(mapping(one).get("cluster")) for one in sequence(section(observed, "status").get("clusters")))
    return tuple(sorted({ClusterId(cluster) for cluster in told if cluster}))


def import_reference(key: ServiceKey, observed: Document, *, api_version: str) -> Document:
    """The owner reference by which what belongs to an import goes with it (KEP-1645)."""
    return {"apiVersion": api_version, "kind": "ServiceImport", "name": key.name, "uid": uid_of(observed)}


def _status(key: ServiceKey, status: Document, api_version: str) -> Apply:
    document = {
        "apiVersion": api_version,
        "kind": "ServiceImport",
        "metadata": {"namespace": key.namespace, "name": key.name},
        "status": status,
    }
    return Apply(import_id(key), "status", document)


def _ready(merged: MergedService, allocated: Allocation) -> Condition:
    if merged.type is ImportType.HEADLESS:
        return Condition("Ready", ConditionStatus.TRUE, "Ready", f"{merged.key} is imported")
    if not allocated.supported:
        families = ", ".join(merged.ip_families)
        message = f"{merged.key} is served over {families} only, which this cluster does not have"
        return Condition("Ready", ConditionStatus.FALSE, "IPFamilyNotSupported", message)
    if not merged.ports:
        return Condition("Ready", ConditionStatus.FALSE, "Pending", f"{merged.key} has no ports")
    if not allocated.ips:
        message = f"{merged.key} waits for its clusterset IP"
        return Condition("Ready", ConditionStatus.FALSE, "Pending", message)
    return Condition("Ready", ConditionStatus.TRUE, "Ready", f"{merged.key} is imported")


def _port(port: ServicePort) -> Document:
    item: dict[str, object] = {"name": port.name} if port.name else {}
    item |= {"protocol": port.protocol.value, "port": port.port}
    if port.app_protocol is not None:
        item["appProtocol"] = port.app_protocol
    return item


def _is_label(name: str, value: str) -> bool:
    return _QUALIFIED_NAME.fullmatch(name) is not None and _LABEL_VALUE.fullmatch(value) is not None


def _is_annotation(name: str, _value: str) -> bool:
    # Kubernetes looks at an annotation's name in lower case.
    return _QUALIFIED_NAME.fullmatch(name.lower()) is not None


def _accepted(
    key: ServiceKey, field: str, pairs: Sequence[tuple[str, str]], sound: Callable[[str, str], bool]
) -> tuple[tuple[tuple[str, str], ...], tuple[Problem, ...]]:
    taken = tuple((name, value) for name, value in pairs if sound(name, value))
    problems = tuple(
        _refused(key, field, f"{name[:80]!r} is not written as Kubernetes asks")
        for name, value in pairs
        if not sound(name, value)
    )
    return taken, problems


def _refused(key: ServiceKey, field: str, cause: str) -> Problem:
    return Problem(f"ServiceImport {key}", "InvalidExport", f"left out, since {cause}", field)
