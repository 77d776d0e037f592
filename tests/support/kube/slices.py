"""What the API server does to EndpointSlices, and refuses of them, beside what their schema says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_address

from support.kube.names import is_label
from support.kube.objects import Json
from support.kube.refusals import Cause

MAX_ENDPOINTS, MAX_PORTS = 1000, 100


def slice_completed(body: Json) -> Json:
    """The slice as stored: lists that are empty or missing are null, and every endpoint has conditions."""
    endpoints = [{"conditions": {}, **endpoint} for endpoint in body.get("endpoints") or ()]
    return {**body, "endpoints": endpoints or None, "ports": body.get("ports") or None}


def slice_faults(body: Json) -> Iterator[Cause]:
    """Addresses of another family or that only one host can reach, and ports that share a name."""
    endpoints, ports = body.get("endpoints") or [], body.get("ports") or []
    for field, found, limit in (("endpoints", endpoints, MAX_ENDPOINTS), ("ports", ports, MAX_PORTS)):
        if len(found) > limit:
            message = f"Too many: {len(found)}: must have at most {limit} items"
            yield Cause("FieldValueTooMany", field, message)
    for at, endpoint in enumerate(endpoints):
        for index, address in enumerate(endpoint["addresses"]):
            yield from _address_faults(address, body["addressType"], f"endpoints[{at}].addresses", index)
        if (hostname := endpoint.get("hostname")) is not None and not is_label(hostname):
            yield _invalid(f"endpoints[{at}].hostname", hostname, "a lowercase RFC 1123 label must be")
    names: set[str] = set()
    for at, port in enumerate(ports):
        name = port.get("name") or ""
        if name in names:
            yield Cause("FieldValueDuplicate", f"ports[{at}].name", f"Duplicate value: {json.dumps(name)}")
        elif name and not is_label(name):
            yield _invalid(f"ports[{at}].name", name, "a lowercase RFC 1123 label must be")
        names.add(name)


def _address_faults(address: str, family: str, path: str, index: int) -> Iterator[Cause]:
    if family == "FQDN":
        return
    where = f"{path}[{index}]"
    try:
        ip = ip_address(address)
    except ValueError:
        yield _invalid(where, address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
        return
    if f"IPv{ip.version}" != family:
        yield _invalid(path, address, f"must be an {family} address")
    elif ip.is_loopback or ip.is_unspecified or ip.is_link_local or ip.is_multicast:
        kinds = {"loopback": ip.is_loopback, "unspecified": ip.is_unspecified, "link-local": ip.is_link_local}
        told = next((name for name, holds in kinds.items() if holds), "multicast")
        yield _invalid(where, address, f"may not be in the {told} range")


def _invalid(field: str, value: str, rule: str) -> Cause:
    return Cause("FieldValueInvalid", field, f"Invalid value: {json.dumps(value)}: {rule}")
