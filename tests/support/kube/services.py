"""What the API server does to Services: addresses, families and node ports, and the rules that no schema says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from support.kube.objects import Json
from support.kube.refusals import Cause

CLUSTER_IPS = ("10.96.0.0/16", "fd00:10:96::/112")
"""The ranges that addresses of Services come from, the first one of the family that is preferred."""
NODE_PORTS = 30000


class ServiceAddresses:
    """Hands out cluster IPs and node ports, each once; an instance is a cluster's."""

    def __init__(self, ranges: tuple[str, ...] = CLUSTER_IPS[:1]) -> None:
        self._networks = [ip_network(one) for one in ranges]
        self._handed_out = 10
        self._ports = NODE_PORTS

    @property
    def families(self) -> list[str]:
        return [f"IPv{network.version}" for network in self._networks]

    def completed(self, body: Json, live: Json | None) -> Json:
        """The Service as stored: with the addresses it has, or with new ones."""
        spec = dict(body.get("spec") or {})
        before = (live or {}).get("spec") or {}
        if spec.get("type") == "ExternalName":
            for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
                spec.pop(name, None)
            return {**body, "spec": spec}
        if spec.get("clusterIP") != before.get("clusterIP") and spec.get("clusterIPs") == before.get("clusterIPs"):
            spec.pop("clusterIPs", None)
        for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if name in before and not spec.get(name) and spec.get("clusterIP") in {None, "", before.get("clusterIP")}:
                spec[name] = before[name]
        spec.setdefault("internalTrafficPolicy", "Cluster")
        if spec.get("sessionAffinity") == "ClientIP":
            spec.setdefault("sessionAffinityConfig", {"clientIP": {"timeoutSeconds": 10800}})
        spec["ports"] = [self._port(port, spec["type"]) for port in spec.get("ports") or ()]
        if not spec["ports"]:
            del spec["ports"]
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        families = spec.get("ipFamilies") or self.families[: 1 if spec["ipFamilyPolicy"] == "SingleStack" else 2]
        if spec.get("clusterIP") == "None":
            addresses = ["None"]
        else:
            given = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
            if given and not spec.get("ipFamilies"):
                families = [*_family(given[0]), *(one for one in families if [one] != _family(given[0]))]
                families = families[: 1 if spec["ipFamilyPolicy"] == "SingleStack" else 2]
            addresses = [*given, *self._fresh(families[len(given) :])]
        return {**body, "spec": {**spec, "ipFamilies": families, "clusterIP": addresses[0], "clusterIPs": addresses}}

    def _fresh(self, families: list[str]) -> list[str]:
        found = []
        for family in families:
            network = next((one for one in self._networks if f"IPv{one.version}" == family), None)
            if network is not None:
                self._handed_out += 1
                found.append(str(network[self._handed_out]))
        return found

    def _port(self, port: Json, kind: str) -> Json:
        filled = {"targetPort": port.get("port"), **port}
        if kind in {"NodePort", "LoadBalancer"} and not port.get("nodePort"):
            self._ports += 1
            filled["nodePort"] = self._ports
        return filled


def _family(address: str) -> list[str]:
    try:
        return [f"IPv{ip_address(address).version}"]
    except ValueError:
        return []


def service_faults(body: Json, live: Json | None) -> Iterator[Cause]:
    """What the API server refuses in a Service beside what its schema says."""
    spec = body.get("spec") or {}
    ports = spec.get("ports") or []
    if spec.get("type") == "ExternalName":
        if not spec.get("externalName"):
            yield Cause("FieldValueRequired", "spec.externalName", "Required value")
    elif not ports and spec.get("clusterIP") != "None":
        yield Cause("FieldValueRequired", "spec.ports", "Required value")
    names = [port.get("name", "") for port in ports]
    for at, name in enumerate(names):
        if len(ports) > 1 and not name:
            yield Cause("FieldValueRequired", f"spec.ports[{at}].name", "Required value")
        elif name and name in names[:at]:
            yield Cause("FieldValueDuplicate", f"spec.ports[{at}].name", f"Duplicate value: {json.dumps(name)}")
    for address in spec.get("clusterIPs") or ():
        if address != "None" and not _family(address):
            yield Cause(
                "FieldValueInvalid", "spec.clusterIPs[0]", f"Invalid value: {json.dumps(address)}: must be an IP"
            )
    before = (live or {}).get("spec") or {}
    old, new = before.get("clusterIP"), spec.get("clusterIP")
    if old and new and old != new and spec.get("type") != "ExternalName":
        message = f"Invalid value: {json.dumps(new)}: field is immutable"
        yield Cause("FieldValueInvalid", "spec.clusterIP", message)
