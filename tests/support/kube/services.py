"""What the API server does to Services: addresses, families and node ports, and the rules that no schema says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address, ip_network

from support.kube.names import is_label, is_qualified
from support.kube.objects import Json
from support.kube.refusals import Cause, invalid

CLUSTER_IPS = ("10.96.0.0/16", "fd00:10:96::/112")
"""The ranges that addresses of Services come from, the first one of the family that is preferred."""
NODE_PORTS = 30000


class ServiceAddresses:
    """Hands out cluster IPs and node ports, each once; an instance is a cluster's."""

    def __init__(self, ranges: tuple[str, ...] = CLUSTER_IPS[:1]) -> None:
        self._networks = [ip_network(one) for one in ranges]
        self._handed_out = 10
        self._ports = NODE_PORTS
        self.stored: Callable[[], Iterable[Json]] = tuple
        """All Services there are: an address is free again once its Service is gone."""

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
            if not spec.get("ports"):
                spec.pop("ports", None)
            return {**body, "spec": spec}
        if spec.get("clusterIP") != before.get("clusterIP") and spec.get("clusterIPs") == before.get("clusterIPs"):
            spec.pop("clusterIPs", None)
        for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if name in before and not spec.get(name) and spec.get("clusterIP") in {None, "", before.get("clusterIP")}:
                spec[name] = before[name]
        spec.setdefault("internalTrafficPolicy", "Cluster")
        if spec.get("sessionAffinity") == "ClientIP":
            spec.setdefault("sessionAffinityConfig", {"clientIP": {"timeoutSeconds": 10800}})
        else:
            spec.pop("sessionAffinityConfig", None)
        if spec["type"] in {"LoadBalancer", "NodePort"}:
            spec.setdefault("externalTrafficPolicy", "Cluster")
        if spec["type"] == "LoadBalancer":
            spec.setdefault("allocateLoadBalancerNodePorts", True)
        spec["ports"] = [self._port(port, spec["type"]) for port in spec.get("ports") or ()]
        if not spec["ports"]:
            del spec["ports"]
        if spec.get("clusterIP") == "None" and not spec.get("selector"):
            # Nobody knows where its endpoints will be.
            spec = {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"], **spec}
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        if spec["ipFamilyPolicy"] == "SingleStack":
            for name in ("clusterIPs", "ipFamilies"):
                # Whoever takes the second family away need not say what goes with it.
                if name in before and spec.get(name) == before[name]:
                    spec[name] = before[name][:1]
        if causes := [*self._family_faults(spec), *self._address_faults(spec, before)]:
            raise invalid("", "Service", body["metadata"].get("name", ""), causes)
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

    def _family_faults(self, spec: Json) -> Iterator[Cause]:
        headless = spec.get("clusterIP") == "None" and not spec.get("selector")
        if headless:
            return
        if spec["ipFamilyPolicy"] == "RequireDualStack" and len(self._networks) < 2:
            told = 'Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services'
            yield Cause("FieldValueInvalid", "spec.ipFamilyPolicy", told)
        families = spec.get("ipFamilies") or []
        if spec["ipFamilyPolicy"] == "SingleStack" and len(families) > 1:
            rule = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"
            yield Cause("FieldValueInvalid", "spec.ipFamilyPolicy", f'Invalid value: "SingleStack": {rule}')
        for at, family in enumerate(families):
            if family in families[:at]:
                yield Cause("FieldValueDuplicate", f"spec.ipFamilies[{at}]", f"Duplicate value: {json.dumps(family)}")
            elif family not in self.families:
                told = f"Invalid value: {json.dumps(family)}: not configured on this cluster"
                yield Cause("FieldValueInvalid", f"spec.ipFamilies[{at}]", told)

    def _address_faults(self, spec: Json, before: Json) -> Iterator[Cause]:
        """Those of the addresses that are asked for."""
        first, asked = spec.get("clusterIP") or "", spec.get("clusterIPs") or []
        told = f"Invalid value: {json.dumps(asked)}"
        kept = before.get("clusterIPs") or []
        if asked and not first:
            yield Cause(
                "FieldValueInvalid", "spec.clusterIPs", f"{told}: must be empty when `clusterIP` is not specified"
            )
        elif asked and asked[0] != first:
            yield Cause("FieldValueInvalid", "spec.clusterIPs", f"{told}: first value must match `clusterIP`")
        elif kept and first and first != kept[0]:
            changed = f"Invalid value: {json.dumps([first])}: may not change once set"
            yield Cause("FieldValueInvalid", "spec.clusterIPs[0]", changed)
        else:
            families = spec.get("ipFamilies") or []
            wanted = [one for one in asked or [first] if one and one != "None"]
            for at, address in enumerate(wanted):
                if not _family(address):
                    rule = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
                    told = f"Invalid value: {json.dumps(address)}: {rule}"
                    yield Cause("FieldValueInvalid", f"spec.clusterIPs[{at}]", told)
                elif at < len(families) and _family(address) != [families[at]]:
                    rule = f"expected an {families[at]} value as indicated by `ipFamilies[{at}]`"
                    told = f"Invalid value: {json.dumps(address)}: {rule}"
                    yield Cause("FieldValueInvalid", f"spec.clusterIPs[{at}]", told)
                elif address not in kept and (why := self._unavailable(address)):
                    told = f"Invalid value: {json.dumps(wanted)}: failed to allocate IP {address}: {why}"
                    yield Cause("FieldValueInvalid", "spec.clusterIPs", told)

    def _unavailable(self, address: str) -> str:
        if not any(ip_address(address) in network for network in self._networks):
            return "the provided network does not match the current range"
        return "provided IP is already allocated" if address in self._in_use() else ""

    def _in_use(self) -> set[str]:
        return {address for body in self.stored() for address in body["spec"].get("clusterIPs") or ()}

    def _fresh(self, families: list[str]) -> list[str]:
        found: list[str] = []
        networks = {f"IPv{network.version}": network for network in self._networks}
        in_use = self._in_use() if families else set()
        for family in families:
            if family in networks:
                self._handed_out += 1
                while (address := str(networks[family][self._handed_out])) in in_use:
                    self._handed_out += 1
                found.append(address)
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


def service_faults(body: Json) -> Iterator[Cause]:
    """What the API server refuses in a Service beside what its schema says, and what is wrong with its addresses."""
    spec = body.get("spec") or {}
    ports = spec.get("ports") or []
    if spec.get("type") == "ExternalName":
        if not spec.get("externalName"):
            yield Cause("FieldValueRequired", "spec.externalName", "Required value")
    elif not ports and spec.get("clusterIP") != "None":
        yield Cause("FieldValueRequired", "spec.ports", "Required value")
    names = [port.get("name", "") for port in ports]
    for at, name in enumerate(names):
        path, told = f"spec.ports[{at}].name", json.dumps(name)
        if len(ports) > 1 and not name:
            yield Cause("FieldValueRequired", path, "Required value")
        elif name and name in names[:at]:
            yield Cause("FieldValueDuplicate", path, f"Duplicate value: {told}")
        elif name and not is_label(name):
            yield Cause("FieldValueInvalid", path, f"Invalid value: {told}: a lowercase RFC 1123 label must be")
    for at, port in enumerate(ports):
        protocol = port.get("appProtocol")
        if protocol and not is_qualified(protocol):
            told = f"Invalid value: {json.dumps(protocol)}: name part must consist of alphanumeric characters"
            yield Cause("FieldValueInvalid", f"spec.ports[{at}].appProtocol", told)
    balanced = ((body.get("status") or {}).get("loadBalancer") or {}).get("ingress")
    if balanced and spec.get("type") != "LoadBalancer":
        told = "Forbidden: may only be used when `spec.type` is 'LoadBalancer'"
        yield Cause("FieldValueForbidden", "status.loadBalancer.ingress", told)
