"""Merge: the exports of one service in many clusters become one MergedService (rules of KEP-1645).

Sits between the exchange (verified records) and everything that serves the clusterset. Where exports
disagree, the oldest wins: by creation time of the ServiceExport, and by cluster id where two are equally
old, which the KEP leaves open. Every member computes the same from the same records, in whatever order they
came. One function per merged property, each returning the value and the conflict, if any. A cluster whose
type lost takes no further part: it backs nothing, and its other properties are not compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from federation.model.conditions import Condition, ConditionStatus
from federation.model.names import ClusterId, ServiceKey
from federation.model.records import EndpointsRecord, ExportRecord, ImportType
from federation.model.state import Protocol, ServicePort
from federation.model.view import Backend, Conflict, MergedPort, MergedService

T = TypeVar("T")

DEFAULT_AFFINITY_TIMEOUT_SECONDS = 10_800
"""What Kubernetes writes into a Service with ClientIP affinity and no timeout."""

# Kubernetes 1.34 renamed PreferClose; clusters of either age mean the same.
_TRAFFIC_DISTRIBUTION_ALIASES = {"PreferClose": "PreferSameZone"}


@dataclass(frozen=True, slots=True)
class _Claim:
    """What one cluster says of the service."""

    cluster: ClusterId
    export: ExportRecord
    endpoints: EndpointsRecord | None


def merge_service(
    key: ServiceKey, exports: Mapping[ClusterId, tuple[ExportRecord, EndpointsRecord | None]]
) -> MergedService | None:
    """The ServiceImport of ``key`` and its backends; None where nobody exports it."""
    every = sorted(
        (_Claim(cluster, export, endpoints) for cluster, (export, endpoints) in exports.items()),
        key=lambda claim: (claim.export.created, claim.cluster),
    )
    if not every:
        return None
    import_type, type_conflict = _merge_type(every)
    claims = [claim for claim in every if claim.export.type is import_type]
    ports, port_conflict = _merge_ports(claims)
    affinity, affinity_conflict = _merge_session_affinity(claims)
    timeout, timeout_conflict = _merge_session_affinity_timeout(claims)
    internal, internal_conflict = _merge_internal_traffic_policy(claims)
    distribution, distribution_conflict = _merge_traffic_distribution(claims)
    families, family_conflict = _merge_ip_families(claims)
    labels, label_conflict = _merge_labels(claims)
    annotations, annotation_conflict = _merge_annotations(claims)
    found = (
        type_conflict,
        port_conflict,
        affinity_conflict,
        timeout_conflict,
        internal_conflict,
        distribution_conflict,
        family_conflict,
        label_conflict,
        annotation_conflict,
    )
    return MergedService(
        key=key,
        type=import_type,
        ports=ports,
        session_affinity=affinity,
        session_affinity_timeout_seconds=timeout,
        internal_traffic_policy=internal,
        traffic_distribution=distribution,
        ip_families=families,
        labels=labels,
        annotations=annotations,
        backends=tuple(_backend(claim) for claim in claims),
        conflicts=tuple(sorted((conflict for conflict in found if conflict), key=lambda conflict: conflict.reason)),
    )


def merge_all(
    exports_by_cluster: Mapping[ClusterId, Mapping[ServiceKey, tuple[ExportRecord, EndpointsRecord | None]]],
) -> dict[ServiceKey, MergedService]:
    """Every exported service of the clusterset, by key; equal to ``merge_service`` for each key alone."""
    by_key: dict[ServiceKey, dict[ClusterId, tuple[ExportRecord, EndpointsRecord | None]]] = {}
    for cluster, exports in exports_by_cluster.items():
        for key, export in exports.items():
            by_key.setdefault(key, {})[cluster] = export
    merged = ((key, merge_service(key, by_key[key])) for key in sorted(by_key))
    return {key: service for key, service in merged if service is not None}


def conflict_condition(service: MergedService) -> Condition:
    """The ``Conflict`` condition that every ServiceExport of the service carries (MCS API)."""
    if not service.conflicts:
        return Condition("Conflict", ConditionStatus.FALSE, "NoConflicts", "all exports agree")
    return Condition(
        "Conflict",
        ConditionStatus.TRUE,
        ",".join(conflict.reason for conflict in service.conflicts),
        "; ".join(conflict.message for conflict in service.conflicts),
    )


def _merge_type(claims: Sequence[_Claim]) -> tuple[ImportType, Conflict | None]:
    return _oldest_wins(claims, "TypeConflict", "type", lambda export: export.type)


def _merge_ports(claims: Sequence[_Claim]) -> tuple[tuple[MergedPort, ...], Conflict | None]:
    """The union, by age: a port is left out where an older one has its name or its number.

    As in a Service, names are unique (the empty one too), and so are protocol and number. A port of the
    same name, protocol and number but another application protocol is the same port; the oldest says which
    protocol it speaks.
    """
    by_name: dict[str, ServicePort] = {}
    numbers: set[tuple[Protocol, int]] = set()
    for claim in claims:
        for port in claim.export.ports:
            number = (port.protocol, port.port)
            if port.name not in by_name and number not in numbers:
                by_name[port.name] = port
                numbers.add(number)
    union = tuple(
        MergedPort(
            name=port.name,
            protocol=port.protocol,
            port=port.port,
            app_protocol=port.app_protocol,
            clusters=tuple(sorted(claim.cluster for claim in claims if _declares(claim.export, port))),
        )
        for port in by_name.values()
    )
    oldest = set(claims[0].export.ports)
    differing = [claim for claim in claims if set(claim.export.ports) != oldest]
    return union, _conflict("PortConflict", "ports", claims, differing)


def _declares(export: ExportRecord, port: ServicePort) -> bool:
    return any((own.name, own.protocol, own.port) == (port.name, port.protocol, port.port) for own in export.ports)


def _merge_session_affinity(claims: Sequence[_Claim]) -> tuple[str, Conflict | None]:
    """Ignored for a headless service, which has no load balancing to stick to (MCS API)."""
    if claims[0].export.type is ImportType.HEADLESS:
        return "None", None
    return _oldest_wins(claims, "SessionAffinityConflict", "sessionAffinity", lambda export: export.session_affinity)


def _merge_session_affinity_timeout(claims: Sequence[_Claim]) -> tuple[int | None, Conflict | None]:
    """Compared only where the affinity itself agrees, so that one difference is not reported twice."""
    oldest = claims[0].export
    if oldest.type is ImportType.HEADLESS or oldest.session_affinity != "ClientIP":
        return None, None
    return _oldest_wins(
        [claim for claim in claims if claim.export.session_affinity == oldest.session_affinity],
        "SessionAffinityConfigConflict",
        "sessionAffinityConfig",
        lambda export: export.session_affinity_timeout_seconds or DEFAULT_AFFINITY_TIMEOUT_SECONDS,
    )


def _merge_internal_traffic_policy(claims: Sequence[_Claim]) -> tuple[str, Conflict | None]:
    """None means Kubernetes' default, ``Cluster``; the import must state it (MCS conformance)."""
    return _oldest_wins(
        claims,
        "InternalTrafficPolicyConflict",
        "internalTrafficPolicy",
        lambda export: export.internal_traffic_policy or "Cluster",
    )


def _merge_traffic_distribution(claims: Sequence[_Claim]) -> tuple[str | None, Conflict | None]:
    """The oldest's own spelling; spellings that mean the same agree."""

    def meaning(export: ExportRecord) -> str:
        stated = export.traffic_distribution or ""
        return _TRAFFIC_DISTRIBUTION_ALIASES.get(stated, stated)

    _, conflict = _oldest_wins(claims, "TrafficDistributionConflict", "trafficDistribution", meaning)
    return claims[0].export.traffic_distribution, conflict


def _merge_ip_families(claims: Sequence[_Claim]) -> tuple[tuple[str, ...], Conflict | None]:
    """The families that all have, in the oldest's order, so that every family reaches every backend.

    A cluster that shares none with those before it would leave the import without an address: it is passed
    over and reported. It still backs the service, as its gateway is reached over any family.
    """
    families = claims[0].export.ip_families
    passed_over: list[_Claim] = []
    for claim in claims[1:]:
        common = tuple(family for family in families if family in claim.export.ip_families)
        if common:
            families = common
        else:
            passed_over.append(claim)
    if not passed_over:
        return families, None
    return families, Conflict(
        "IPFamilyConflict",
        f"ipFamilies: no family in common for {len(passed_over)} of {len(claims)} clusters; the oldest export,"
        f" of cluster {claims[0].cluster}, takes precedence",
    )


def _merge_labels(claims: Sequence[_Claim]) -> tuple[tuple[tuple[str, str], ...], Conflict | None]:
    return _oldest_wins(claims, "LabelsConflict", "exportedLabels", lambda export: _pairs(export.labels))


def _merge_annotations(claims: Sequence[_Claim]) -> tuple[tuple[tuple[str, str], ...], Conflict | None]:
    return _oldest_wins(claims, "AnnotationsConflict", "exportedAnnotations", lambda export: _pairs(export.annotations))


def _pairs(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """One value per name, sorted: a peer's record may hold them in any order."""
    return tuple(sorted(dict(pairs).items()))


def _oldest_wins(
    claims: Sequence[_Claim], reason: str, field: str, value: Callable[[ExportRecord], T]
) -> tuple[T, Conflict | None]:
    winner = value(claims[0].export)
    return winner, _conflict(reason, field, claims, [claim for claim in claims if value(claim.export) != winner])


def _conflict(reason: str, field: str, claims: Sequence[_Claim], differing: Sequence[_Claim]) -> Conflict | None:
    if not differing:
        return None
    verb = "disagrees" if len(differing) == 1 else "disagree"
    return Conflict(
        reason,
        f"{field}: {len(differing)} of {len(claims)} clusters {verb} with the oldest export,"
        f" of cluster {claims[0].cluster}, which takes precedence",
    )


def _backend(claim: _Claim) -> Backend:
    return Backend(
        cluster=claim.cluster,
        created=claim.export.created,
        identities=claim.export.identities,
        zones=claim.endpoints.zones if claim.endpoints else (),
        addresses=claim.endpoints.addresses if claim.endpoints else (),
        capacity=claim.endpoints.capacity if claim.endpoints else 0,
        direct=claim.endpoints.direct if claim.endpoints else (),
    )
