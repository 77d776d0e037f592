"""The body of EndpointSlice: where a service's workloads are, which of them are ready, and who they are.

Pure; called with the object's names by ``manifests``, which discards the value where a problem was noted. One rule of
the API server is left out on purpose: loopback addresses are taken, because a file-backed site may be one host.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from sys import intern
from typing import Final

from controllers.sources.fields import Fields
from controllers.sources.service_bodies import MAX_PORT, read_port_name, read_protocol
from federation.model.names import ServiceKey, is_dns_label
from federation.model.state import Endpoint, EndpointPort, EndpointSlice

SERVICE_LABEL: Final = "kubernetes.io/service-name"
SERVICE_ACCOUNT_ANNOTATION: Final = "federation-gateway.dev/service-account"
INBOUND_PORT_ANNOTATION: Final = "federation-gateway.dev/inbound-port"

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_ADDRESS_TYPES: Final[dict[str, type[IPv4Address] | type[IPv6Address]]] = {"IPv4": IPv4Address, "IPv6": IPv6Address}


def read_endpoint_slice(namespace: str, name: str, root: Fields) -> EndpointSlice:
    """An EndpointSlice of ``discovery.k8s.io/v1``; the label ``kubernetes.io/service-name`` names its service."""
    metadata = root.section("metadata")
    annotations = metadata.section("annotations")
    address_type = root.required_text("addressType")
    if address_type and address_type not in _ADDRESS_TYPES:
        # FQDN is deprecated in Kubernetes, and whom a name leads to is nothing that a certificate proves.
        root.note("addressType", "InvalidValue", f"{address_type!r} is none of IPv4, IPv6")
    return EndpointSlice(
        namespace=namespace,
        name=name,
        service=ServiceKey(namespace, _read_service_name(metadata.section("labels"))),
        address_type=address_type,
        ports=_read_ports(root),
        endpoints=tuple(sorted(_read_endpoint(section, address_type) for section in root.sections("endpoints"))),
        service_account=_read_account(annotations),
        inbound_port=_read_inbound_port(annotations),
    )


def _read_service_name(labels: Fields) -> str:
    name = labels.required_text(SERVICE_LABEL)
    if name and not is_dns_label(name):
        labels.note(SERVICE_LABEL, "InvalidName", f"{name!r} is not a DNS label")
    return intern(name)


def _read_account(annotations: Fields) -> str:
    account = annotations.text(SERVICE_ACCOUNT_ANNOTATION, "default")
    if len(account) > 253 or _SUBDOMAIN.fullmatch(account) is None:
        annotations.note(SERVICE_ACCOUNT_ANNOTATION, "InvalidName", f"{account!r} is not a DNS subdomain name")
    return account


def _read_inbound_port(annotations: Fields) -> int | None:
    text = annotations.optional_text(INBOUND_PORT_ANNOTATION)
    if text is None:
        return None
    if not (re.fullmatch(r"[0-9]{1,5}", text) and 1 <= int(text) <= MAX_PORT):
        annotations.note(INBOUND_PORT_ANNOTATION, "InvalidValue", f"{text!r} is no port from 1 to {MAX_PORT}")
        return None
    return int(text)


def _read_ports(root: Fields) -> tuple[EndpointPort, ...]:
    names: set[str] = set()
    return tuple(
        EndpointPort(
            name=read_port_name(section, names),
            protocol=read_protocol(section),
            # A slice without a port means every port, which no Envoy endpoint can express.
            port=section.required_integer("port", 1, MAX_PORT),
        )
        for section in root.sections("ports")
    )


def _read_endpoint(section: Fields, address_type: str) -> Endpoint:
    section.require_items("addresses")
    addresses = section.texts("addresses")
    hostname = section.text("hostname")
    if hostname and not is_dns_label(hostname):
        section.note("hostname", "InvalidName", f"{hostname!r} is not a DNS label")
    target = section.section("targetRef")
    return Endpoint(
        addresses=tuple(
            _read_address(section, f"addresses[{index}]", text, address_type) for index, text in enumerate(addresses)
        ),
        ready=section.section("conditions").boolean("ready", default=True),
        zone=section.word("zone"),
        hostname=hostname,
        # A pod can't be behind a slice of another namespace.
        pod=target.text("name") if target.text("kind") == "Pod" else "",
    )


def _read_address(section: Fields, key: str, text: str, address_type: str) -> str:
    """One address in canonical spelling; of another family than the slice's, or of no single host, it is wrong."""
    if (family := _ADDRESS_TYPES.get(address_type)) is None:
        return text
    try:
        address = family(text)
    except ValueError:
        section.note(key, "InvalidValue", f"{text!r} is not an {address_type} address")
        return text
    if address.is_unspecified or address.is_multicast or "%" in text:
        section.note(key, "InvalidValue", f"{text!r} is not the address of one workload")
    return str(address)
