"""The derived Service: it holds an import's clusterset IP, which the API server allocates. Pure.

It has no selector and no endpoints of its own: sidecars recognise the address and send calls through the federation.
The address is stable for the life of the import (KEP-1645): while the Service exists its address stays whatever else
changes, and where somebody deleted it the same address is asked for again. It has no owner, so that it outlives an
import that somebody deleted by hand, and the import that comes back has the address that it had.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import count
from types import MappingProxyType
from typing import Final

from controllers.mcs.objects import (
    MANAGED_BY,
    MANAGER,
    Apply,
    Document,
    derived_id,
    section,
    text,
    texts,
)
from controllers.mcs.owned_fields import owns
from federation.model.view import MergedPort, MergedService

_SERVICE_ANNOTATION: Final = "federation-gateway.dev/service"


@dataclass(frozen=True, slots=True)
class Allocation:
    """Which addresses an import has, and which families its derived Service is to have."""

    families: tuple[str, ...]
    """Of the derived Service; empty where there is to be none: this cluster lacks the families, or the Service that is
    there has another first family and must go before another can come (Kubernetes never changes the first one)."""
    ips: tuple[tuple[str, str], ...]
    """Family and address, in the order of the derived Service."""
    held: bool = False
    """Whether ``ips`` are those of before, asked for again."""
    supported: bool = True
    """Whether this cluster has any of the import's families."""


def allocation(
    families: Sequence[str],
    *,
    supported: Collection[str],
    derived: Document | None,
    service_import: Document | None,
    taken: Collection[str] = (),
) -> Allocation:
    """The addresses of an import of these families, from its derived Service and the import as they were observed.

    ``taken`` are addresses that the API server refused to give again.
    """
    wanted = tuple(family for family in families if family in supported)
    if not wanted:
        return Allocation((), (), supported=False)
    if derived is None:
        spec = section(service_import, "spec")
        found = _addresses(texts(spec.get("ipFamilies")), texts(spec.get("ips")), wanted)
        again = tuple((family, ip) for family, ip in found if ip not in taken)
        # A secondary address can't be had without its primary.
        if again != found:
            again = ()
        return Allocation(_leading(wanted, again), again, held=bool(again))
    spec = section(derived, "spec")
    has = texts(spec.get("ipFamilies"))
    ips = _addresses(has, texts(spec.get("clusterIPs")), wanted)
    if has and has[0] not in wanted:
        return Allocation((), ())
    return Allocation(_leading(wanted, ((has[0], ""),) if has else ()), ips)


def derived_service(
    merged: MergedService,
    allocated: Allocation,
    derived: Document | None,
    annotations: Mapping[str, str] | None = MappingProxyType({}),
) -> Apply:
    """The write of the derived Service; only called where ``allocated`` has families.

    ``annotations`` are those that it must carry for the local mesh; None: not known, what it has of ours stays.
    """
    if annotations is None:
        annotations = _own_annotations(derived)
    spec: dict[str, object] = {
        "type": "ClusterIP",
        "ipFamilies": list(allocated.families),
        "ipFamilyPolicy": "SingleStack" if len(allocated.families) == 1 else "PreferDualStack",
        "ports": _ports(merged.ports),
    }
    # Stated only where needed, and then for as long as it is ours: what the API server gave is its own.
    if allocated.held or (allocated.ips and owns(derived, "spec", "clusterIPs")):
        # Both, or the API server refuses the list.
        spec["clusterIP"] = allocated.ips[0][1]
        spec["clusterIPs"] = [ip for _, ip in allocated.ips]
    id_ = derived_id(merged.key)
    document = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "namespace": id_.namespace,
            "name": id_.name,
            "labels": {MANAGED_BY["Service"]: MANAGER},
            "annotations": {**annotations, _SERVICE_ANNOTATION: str(merged.key)},
        },
        "spec": spec,
    }
    return Apply(id_, "", document)


def _own_annotations(derived: Document | None) -> dict[str, str]:
    found = section(derived, "metadata", "annotations")
    return {key: text(value) for key, value in found.items() if owns(derived, "metadata", "annotations", key)}


def _addresses(families: Sequence[str], ips: Sequence[str], wanted: Collection[str]) -> tuple[tuple[str, str], ...]:
    """Pairs of family and address, as far as they are what they say; anybody may have edited them."""
    return tuple(
        (family, ip) for family, ip in zip(families, ips, strict=False) if family in wanted and _family(ip) == family
    )


def _family(ip: str) -> str:
    try:
        return f"IPv{ip_address(ip).version}"
    except ValueError:
        return ""


def _leading(wanted: tuple[str, ...], had: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """The wanted families, the one first that is there already."""
    if not had:
        return wanted
    first = had[0][0]
    return (first, *(family for family in wanted if family != first))


def _ports(ports: Sequence[MergedPort]) -> list[Document]:
    """Ports by number; a Service with several ports needs a name for each, which an import does not."""
    taken = {port.name for port in ports}
    named: list[Document] = []
    for port in sorted(ports, key=lambda one: (one.port, one.protocol)):
        name = port.name or ("" if len(ports) == 1 else _free_name(port, taken))
        item: dict[str, object] = {"name": name} if name else {}
        item |= {"protocol": port.protocol.value, "port": port.port}
        if port.app_protocol is not None:
            item["appProtocol"] = port.app_protocol
        named.append(item)
    return named


def _free_name(port: MergedPort, taken: Collection[str]) -> str:
    stem = f"{port.protocol.lower()}-{port.port}"
    return next(name for number in count() if (name := f"{stem}-{number}" if number else stem) not in taken)


def key_of(derived: Document) -> str:
    """The service, ``namespace/name``, that a derived Service says it belongs to; empty where it does not say."""
    return text(section(derived, "metadata", "annotations").get(_SERVICE_ANNOTATION))
