"""Export: what one cluster states of one of its services to the clusterset (MCS API, KEP-1645).

Reads the cluster's own state, returns the records that travel and the conditions of the ServiceExport. It
publishes nothing and compares with nobody: whether other clusters agree is the merge's question.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from federation.model.conditions import Condition, ConditionStatus
from federation.model.names import GATEWAY_PATH, ServiceKey
from federation.model.problems import Problem
from federation.model.records import EndpointAddress, EndpointsRecord, ExportRecord, ImportType, ZoneCount
from federation.model.state import Endpoint, EndpointPort, EndpointSlice, Service, ServiceState, ServiceType
from federation.model.traffic_policy import Capacity

DEFAULT_SERVICE_ACCOUNT = "default"

# A Kubernetes name (RFC 1123 subdomain). Anything else could add path segments to the SPIFFE ID.
_SERVICE_ACCOUNT = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


@dataclass(frozen=True, slots=True)
class Exported:
    """Outcome of one service's export; all parts are empty where the service has no ServiceExport."""

    export: ExportRecord | None = None
    endpoints: EndpointsRecord | None = None
    """Present whenever ``export`` is, also without a ready endpoint."""
    conditions: tuple[Condition, ...] = ()
    """``Valid`` of the ServiceExport; ``Ready`` is known to the publisher, ``Conflict`` to the merge."""
    problems: tuple[Problem, ...] = ()


def export_service(
    key: ServiceKey, state: ServiceState, *, trust_domain: str, first_seen: datetime, capacity: Capacity | None = None
) -> Exported:
    """Apply the MCS API's export rules to one service.

    ``first_seen`` (aware) stands in for the creation time where the source has none. NodePort and
    LoadBalancer are exported as ClusterIP; a missing or ExternalName Service makes the export invalid and
    sends nothing. ``capacity`` is what a policy states of each endpoint.
    """
    if state.export is None:
        return Exported()
    service = state.service
    if service is None:
        return _invalid(key, "NoService", f"service {key} does not exist")
    if service.type is ServiceType.EXTERNAL_NAME:
        return _invalid(key, "InvalidServiceType", f"service {key} is of type ExternalName")
    slices, family_problems = _usable_slices(service, state.slices)
    identities, identity_problems = _identities(key, slices, trust_domain)
    if state.export.terminate:
        identities, identity_problems = (f"spiffe://{trust_domain}{GATEWAY_PATH}",), ()
    record = ExportRecord(
        key=key,
        created=(state.export.created or first_seen).astimezone(UTC).replace(microsecond=0),
        type=ImportType.HEADLESS if service.headless else ImportType.CLUSTER_SET_IP,
        ports=service.ports,
        session_affinity=service.session_affinity,
        session_affinity_timeout_seconds=service.session_affinity_timeout_seconds,
        internal_traffic_policy=service.internal_traffic_policy,
        traffic_distribution=service.traffic_distribution,
        ip_families=service.ip_families,
        labels=tuple(sorted(state.export.exported_labels)),
        annotations=tuple(sorted(state.export.exported_annotations)),
        identities=identities,
    )
    return Exported(
        export=record,
        endpoints=EndpointsRecord(
            key=key,
            zones=_zone_counts(service, slices),
            addresses=_addresses(service, slices) if service.headless else (),
            capacity=capacity.others_per_endpoint if capacity else 0,
        ),
        conditions=(Condition("Valid", ConditionStatus.TRUE, "Valid", f"service {key} can be exported"),),
        problems=(*family_problems, *identity_problems),
    )


def _invalid(key: ServiceKey, reason: str, message: str) -> Exported:
    return Exported(
        conditions=(Condition("Valid", ConditionStatus.FALSE, reason, message),),
        problems=(Problem(f"ServiceExport {key}", reason, message),),
    )


def _usable_slices(
    service: Service, slices: Iterable[EndpointSlice]
) -> tuple[tuple[EndpointSlice, ...], tuple[Problem, ...]]:
    """The slices by name, without those of a family that the Service doesn't have; these become problems."""
    usable: list[EndpointSlice] = []
    problems: list[Problem] = []
    for item in sorted(slices, key=lambda item: item.name):
        if item.address_type in service.ip_families:
            usable.append(item)
        else:
            problems.append(
                Problem(
                    f"EndpointSlice {item.namespace}/{item.name}",
                    "IPFamilyMismatch",
                    f"service {service.key} has no {item.address_type} among its ipFamilies",
                    "addressType",
                )
            )
    return tuple(usable), tuple(problems)


def _identities(
    key: ServiceKey, slices: Sequence[EndpointSlice], trust_domain: str
) -> tuple[tuple[str, ...], tuple[Problem, ...]]:
    """The SPIFFE IDs behind the slices; the default account's while there is no slice to tell."""
    accounts = {account for item in slices for account in _accounts(item)} or {DEFAULT_SERVICE_ACCOUNT}
    valid = sorted(account for account in accounts if _SERVICE_ACCOUNT.fullmatch(account))
    problems = tuple(
        Problem(
            f"EndpointSlice {item.namespace}/{item.name}",
            "InvalidServiceAccount",
            f"{account!r} is not the name of a service account, so it gives no identity",
        )
        for item in slices
        for account in sorted(_accounts(item))
        if account not in valid
    )
    return tuple(f"spiffe://{trust_domain}/ns/{key.namespace}/sa/{account}" for account in valid), problems


def _accounts(item: EndpointSlice) -> set[str]:
    """The service accounts of a slice's workloads, ready or not: they may be so before others hear of it."""
    return {endpoint.service_account or item.service_account for endpoint in item.endpoints} or {item.service_account}


def _ready(slices: Iterable[EndpointSlice], family: str) -> tuple[tuple[Endpoint, EndpointSlice], ...]:
    """The ready endpoints of one family with their slices, each once: while a pod moves between slices it is in both
    (Kubernetes).

    Ports tell endpoints of one address apart, as in a file-backed site where several workloads share it.
    """
    found = {
        (endpoint.addresses, item.ports, item.inbound_port): (endpoint, item)
        for item in slices
        if item.address_type == family
        for endpoint in item.endpoints
        if endpoint.ready
    }
    return tuple(found.values())


def _zone_counts(service: Service, slices: Sequence[EndpointSlice]) -> tuple[ZoneCount, ...]:
    """Ready endpoints per zone, of the first family with slices: dual stack has each pod once per family."""
    with_slices = {item.address_type for item in slices}
    family = next((family for family in service.ip_families if family in with_slices), "")
    counts: dict[str, int] = {}
    for endpoint, _ in _ready(slices, family):
        counts[endpoint.zone] = counts.get(endpoint.zone, 0) + 1
    return tuple(ZoneCount(zone, ready) for zone, ready in sorted(counts.items()))


def _addresses(service: Service, slices: Sequence[EndpointSlice]) -> tuple[EndpointAddress, ...]:
    """The ready endpoints of a headless service; a host name joins the addresses of its families, in their
    order. Ports travel where they are not the Service's."""
    declared = {EndpointPort(port.name, port.protocol, port.port) for port in service.ports}
    anonymous: set[EndpointAddress] = set()
    named: dict[tuple[str, tuple[EndpointPort, ...]], dict[str, None]] = {}
    for family in service.ip_families:
        for endpoint, item in _ready(slices, family):
            ports = () if set(item.ports) == declared else tuple(sorted(item.ports))
            if endpoint.hostname:
                named.setdefault((endpoint.hostname, ports), {}).update(dict.fromkeys(endpoint.addresses))
            else:
                anonymous.add(EndpointAddress(endpoint.addresses, "", ports))
    joined = {EndpointAddress(tuple(addresses), hostname, ports) for (hostname, ports), addresses in named.items()}
    return tuple(sorted(anonymous | joined))
