"""DestinationRules: the priorities that Istio makes of labels are ours."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from controllers.mesh.istio_destination_rule import destination_rule
from controllers.mesh.istio_service_entry import PRIORITIES, service_entries
from controllers.projection import ServiceResult, Surroundings
from federation.model.export import Exported
from federation.model.locality import Site
from federation.model.names import ClusterId
from federation.model.state import ServiceState
from gateway.ir.model import AppProtocol, ImportedPort, Upstream, UpstreamLocality
from support.builders import EAST, ECHO, merged_port, merged_service
from support.istio_sidecar import priorities as priorities_in_istio


@example(priorities=list(range(PRIORITIES)))
@given(priorities=st.lists(st.integers(0, PRIORITIES - 1), min_size=1, max_size=8))
def test_istio_gives_every_endpoint_our_priority(priorities: list[int]) -> None:
    """Wherever the caller is: the conditions compare endpoints with values, not with the caller."""
    used = sorted(set(priorities))
    localities = tuple(
        UpstreamLocality(
            used.index(priority), ClusterId(f"c{number}"), "eu", "", (Upstream(f"192.0.2.{number + 1}", 15443),)
        )
        for number, priority in enumerate(priorities)
    )
    result = result_of(ImportedPort(ECHO, 80, AppProtocol.HTTP, ("spiffe://c0.test/a",), tuple(sorted(localities))))
    around = Surroundings(Site(EAST, "us", ""), "east.test", 15006)
    (entry,) = service_entries(result, ServiceState(), ["10.96.0.1"], around, api_version="v").applied
    spec: Any = entry.document["spec"]
    rule = destination_rule(result, api_version="v")
    assert rule is not None
    document: Any = rule.document
    conditions = document["spec"]["trafficPolicy"]["loadBalancer"]["localityLbSetting"]["failoverPriority"]

    given_by_istio = priorities_in_istio([endpoint["labels"] for endpoint in spec["endpoints"]], conditions)

    by_address = {upstream.address: one.priority for one in localities for upstream in one.upstreams}
    assert given_by_istio == [by_address[endpoint["address"]] for endpoint in spec["endpoints"]]


def test_a_service_without_imports_has_no_rule() -> None:
    """Nobody whom we trust serves it."""
    assert destination_rule(result_of(), api_version="v") is None


def test_the_name_sent_to_gateways_is_left_to_istio() -> None:
    """One SNI for all ports would lead all to one; the policy of each port has its own identities."""
    result = result_of(
        ImportedPort(ECHO, 80, AppProtocol.HTTP, ("spiffe://a.test/a",), ()),
        ImportedPort(ECHO, 81, AppProtocol.HTTP, ("spiffe://b.test/b",), ()),
    )
    rule = destination_rule(result, api_version="v")
    assert rule is not None
    document: Any = rule.document
    policy = document["spec"]["trafficPolicy"]
    assert [one["tls"] for one in policy["portLevelSettings"]] == [
        {"mode": "ISTIO_MUTUAL", "subjectAltNames": ["spiffe://a.test/a"]},
        {"mode": "ISTIO_MUTUAL", "subjectAltNames": ["spiffe://b.test/b"]},
    ]


def result_of(*ports: ImportedPort) -> ServiceResult:
    merged = merged_service(ports=[merged_port(number=port.port, name=f"http-{port.port}") for port in ports])
    return ServiceResult(Exported(), merged, ports, ())
