"""The bodies of Service and ServiceExport: their fields to values, by the API server's rules of validation.

Pure; called with the object's names by ``manifests``, which discards the value where a problem was noted. Defaults are
applied only where leaving a field out means a value to everyone (``protocol``, ``type``); where the merge of several
clusters must see that nothing was said, the value says nothing.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from controllers.sources.fields import Fields
from federation.model.names import ServiceKey, is_dns_label
from federation.model.state import Protocol, Service, ServiceExport, ServicePort, ServiceType

MAX_PORT: Final = 65535
MODE_ANNOTATION: Final = "federation-gateway.dev/mode"
"""Of a ServiceExport: who ends the clusterset's TLS, the sidecars of the workloads or the cluster's gateways."""

_PASSTHROUGH: Final = "passthrough"
_TERMINATE: Final = "terminate"

# Kubernetes' IsQualifiedName: an IANA service name, or a name with a DNS subdomain before it (`kubernetes.io/h2c`).
_APP_PROTOCOL = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_TRAFFIC_DISTRIBUTIONS: Final = frozenset({"PreferClose", "PreferSameZone", "PreferSameNode"})


def read_service(namespace: str, name: str, root: Fields) -> Service:
    """A Service of ``v1``; targetPort, selectors and the like are the cluster's own affair and not looked at."""
    spec = root.section("spec")
    kind = ServiceType(spec.choice("type", {item.value for item in ServiceType}, ServiceType.CLUSTER_IP))
    headless = kind is ServiceType.CLUSTER_IP and spec.text("clusterIP") == "None"
    if not headless and kind is not ServiceType.EXTERNAL_NAME:
        spec.require_items("ports")
    affinity, timeout = _read_affinity(spec)
    return Service(
        key=ServiceKey(namespace, name),
        type=kind,
        headless=headless,
        ports=_read_ports(spec),
        session_affinity=affinity,
        session_affinity_timeout_seconds=timeout,
        internal_traffic_policy=_read_word(spec, "internalTrafficPolicy", frozenset({"Cluster", "Local"})),
        traffic_distribution=_read_word(spec, "trafficDistribution", _TRAFFIC_DISTRIBUTIONS),
        ip_families=_read_families(spec),
    )


def read_service_export(namespace: str, name: str, root: Fields) -> ServiceExport:
    """A ServiceExport of the MCS API; its age decides conflicts between clusters."""
    spec, metadata = root.section("spec"), root.section("metadata")
    mode = metadata.section("annotations").choice(MODE_ANNOTATION, {_PASSTHROUGH, _TERMINATE}, _PASSTHROUGH)
    return ServiceExport(
        key=ServiceKey(namespace, name),
        created=read_created(metadata),
        exported_labels=tuple(sorted(spec.text_map("exportedLabels").items())),
        exported_annotations=tuple(sorted(spec.text_map("exportedAnnotations").items())),
        terminate=mode == _TERMINATE,
    )


def read_port_name(port: Fields, taken: set[str]) -> str:
    """The ``name`` of a port of a Service or EndpointSlice: empty or a DNS label, and none of those taken."""
    name = port.word("name")
    if name and not is_dns_label(name):
        port.note("name", "InvalidName", f"{name!r} is not a DNS label")
    if name in taken:
        port.note("name", "Duplicate", f"{name!r} is the name of another port")
    taken.add(name)
    return name


def read_protocol(port: Fields) -> Protocol:
    return Protocol(port.choice("protocol", {item.value for item in Protocol}, Protocol.TCP))


def _read_ports(spec: Fields) -> tuple[ServicePort, ...]:
    sections = tuple(spec.sections("ports"))
    names: set[str] = set()
    numbers: set[tuple[Protocol, int]] = set()
    ports: list[ServicePort] = []
    for section in sections:
        if len(sections) > 1 and section.blank("name"):
            section.note("name", "Required", "is required where there are several ports")
            name = ""
        else:
            name = read_port_name(section, names)
        protocol = read_protocol(section)
        has_port = section.has("port")
        number = section.required_integer("port", 1, MAX_PORT)
        if has_port and (protocol, number) in numbers:
            section.note("port", "Duplicate", f"{protocol} {number} is another port of this service")
        numbers.add((protocol, number))
        app_protocol = section.optional_text("appProtocol")
        if app_protocol is not None and _APP_PROTOCOL.fullmatch(app_protocol) is None:
            section.note("appProtocol", "InvalidValue", f"{app_protocol!r} is not a qualified name")
        ports.append(ServicePort(name, protocol, number, app_protocol))
    return tuple(ports)


def _read_affinity(spec: Fields) -> tuple[str, int | None]:
    affinity = spec.choice("sessionAffinity", {"None", "ClientIP"}, "None")
    config = spec.section("sessionAffinityConfig")
    timeout = config.section("clientIP").integer("timeoutSeconds", 1, 86400)
    if affinity == "None" and spec.has("sessionAffinityConfig"):
        spec.note("sessionAffinityConfig", "InvalidValue", "must not be set where sessionAffinity is None")
    return affinity, timeout


def _read_families(spec: Fields) -> tuple[str, ...]:
    families = spec.texts("ipFamilies")
    if unknown := sorted(set(families) - {"IPv4", "IPv6"}):
        spec.note("ipFamilies", "InvalidValue", f"{unknown[0]!r} is none of IPv4, IPv6")
    if len(set(families)) < len(families):
        spec.note("ipFamilies", "Duplicate", "lists a family twice")
    return families or ("IPv4",)


def _read_word(spec: Fields, key: str, allowed: frozenset[str]) -> str | None:
    return spec.choice(key, allowed, "") or None


def read_created(metadata: Fields) -> datetime | None:
    """``metadata.creationTimestamp`` in UTC and whole seconds; None where there is none."""
    text = metadata.optional_text("creationTimestamp")
    if text is None:
        return None
    try:
        created = datetime.fromisoformat(text)
    except ValueError:
        created = None
    if created is None or created.tzinfo is None:
        metadata.note("creationTimestamp", "InvalidValue", f"{text!r} is not a time such as 2026-01-02T03:04:05Z")
        return None
    return created.astimezone(UTC).replace(microsecond=0)
