"""The zone and its answers, case by case: exports of several clusters in, every name and the answers to questions out.

Answers are packed by the code under test and read by dnspython.
"""

from __future__ import annotations

from datetime import datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from msgspec import field

from controllers.dns.answers import answer
from controllers.dns.zone import Labels, Node, Zone
from controllers.projection import ServiceResult
from federation.model.export import Exported
from federation.model.locality import Site, rank_clusters
from federation.model.merge import merge_service
from federation.model.names import ClusterId, ServiceKey, parse_service_key
from federation.model.records import EndpointAddress, ImportType
from support.builders import CREATED, endpoint_port, endpoints_record, export_record, port
from support.golden import StrictInput, cases, check_golden, name, read_input, to_yaml

ROOT = Path(__file__).parent / "dns"


class Port(StrictInput, kw_only=True):
    name: str = ""
    protocol: str = "TCP"
    port: int


class Endpoint(StrictInput):
    addresses: tuple[str, ...]
    hostname: str = ""
    ports: tuple[Port, ...] = ()
    """Where it listens itself; what is left out is as the service says."""


class Export(StrictInput):
    """One cluster's export; what is left out is as in the sample service."""

    type: ImportType = ImportType.CLUSTER_SET_IP
    created: datetime = CREATED
    ports: tuple[Port, ...] = (Port(name="http", port=80),)
    endpoints: tuple[Endpoint, ...] = ()


class Service(StrictInput):
    clusters: dict[str, Export]
    vip: str | None = None


class Input(StrictInput):
    questions: tuple[str, ...]
    """``name type``, the name with its last dot."""
    services: dict[str, Service] = field(default_factory=dict)
    regions: dict[str, str] = field(default_factory=lambda: {"east": "eu", "west": "us"})
    """Of the clusters that are called; the first is the own one."""
    demoted: tuple[str, ...] = ()
    known: bool = True
    """False before the first whole pass."""
    udp: bool = True
    payload: int | None = None
    """Octets that the client takes by EDNS; None: it speaks none."""
    turn: int = 0


def result_of(key: ServiceKey, service: Service, given: Input) -> ServiceResult:
    exports = {
        ClusterId(cluster): (
            export_record(
                key,
                type=export.type,
                created=export.created,
                ports=[port(each.port, each.name, each.protocol) for each in export.ports],
            ),
            endpoints_record(
                key,
                addresses=[
                    EndpointAddress(
                        each.addresses,
                        each.hostname,
                        tuple(endpoint_port(one.port, one.name, one.protocol) for one in each.ports),
                    )
                    for each in export.endpoints
                ],
            ),
        )
        for cluster, export in service.clusters.items()
    }
    merged = merge_service(key, exports)
    assert merged is not None
    own, *others = [Site(ClusterId(cluster), region, cluster) for cluster, region in given.regions.items()]
    demoted = [ClusterId(cluster) for cluster in given.demoted]
    nearest = rank_clusters(merged, own=own, sites={site.cluster: site for site in others}, demoted=demoted)
    return ServiceResult(Exported(), merged, (), (), nearest)


def shown(names: dict[Labels, Node]) -> dict[str, Any]:
    """Each name as it is written, with what it holds."""
    return {".".join(labels) or "@": described(node) for labels, node in names.items()}


def described(node: Node) -> dict[str, Any]:
    held = {
        "a": [[str(each) for each in group] for group in node.ipv4],
        "aaaa": [[str(each) for each in group] for group in node.ipv6],
        "srv": [[f"{each.port} {'.'.join(each.name) or '@'}" for each in group] for group in node.targets],
    }
    return {kind: groups for kind, groups in held.items() if groups}


def asked(question: str, zone: Zone, given: Input) -> dict[str, Any]:
    """What the question is answered, as text."""
    owner, kind, *rdclass = question.split()
    edns = -1 if given.payload is None else 0
    query = dns.message.make_query(owner, kind, *rdclass, use_edns=edns, payload=given.payload or 0)
    reply = answer(query.to_wire(), zone.view, 5, turn=given.turn, udp=given.udp)
    assert reply is not None
    response = dns.message.from_wire(reply.wire, one_rr_per_rrset=True)
    assert query.is_response(response)
    sections = {
        "answer": response.answer,
        "authority": response.authority,
        "additional": response.additional,
    }
    return {
        "rcode": dns.rcode.to_text(response.rcode()),
        "flags": dns.flags.to_text(response.flags),
        **{section: [rrset.to_text() for rrset in rrsets] for section, rrsets in sections.items() if rrsets},
    }


@pytest.mark.parametrize("case", cases(ROOT), ids=name)
def test_dns(case: Path, update_golden: bool) -> None:
    """The case's services have the names of the zone, and its questions are answered so."""
    given = read_input(case, Input)
    zone = Zone()
    services = {parse_service_key(text): service for text, service in given.services.items()}
    if given.known:
        zone.update(
            services,
            {key: result_of(key, service, given) for key, service in services.items()},
            {key: IPv4Address(service.vip) for key, service in services.items() if service.vip},
            1_700_000_000,
        )
    outputs = {"answers.yaml": to_yaml({question: asked(question, zone, given) for question in given.questions})}
    if zone.view is not None and zone.view.services:
        names = {key.host: shown(dict(found)) for key, found in zone.view.services.items()}
        outputs["zone.yaml"] = to_yaml(names)
    check_golden(case, outputs, update=update_golden)
