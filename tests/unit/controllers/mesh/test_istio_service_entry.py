"""ServiceEntries beyond the golden cases: names, merging, and the limit of one object."""

from __future__ import annotations

from collections.abc import Sequence

from controllers.mesh.base import Rendered
from controllers.mesh.istio_service_entry import MAX_ENDPOINTS, service_entries
from controllers.projection import ServiceResult, Surroundings
from federation.model.export import Exported
from federation.model.locality import Site
from federation.model.names import ServiceKey
from federation.model.state import EndpointSlice, ServiceState
from federation.model.view import MergedPort, MergedService
from gateway.ir.build import build_imports
from support.builders import (
    EAST,
    WEST,
    backend,
    endpoint,
    endpoint_port,
    endpoint_slice,
    exported_state,
    gateway_record,
    merged_port,
    merged_service,
)


def entries(merged: MergedService, *slices: EndpointSlice, ips: Sequence[str] = ("10.96.0.1",)) -> Rendered:
    """Seen from EAST, which has these slices."""
    own = Site(EAST, "eu", "net-1")
    sites = {WEST: Site(WEST, "eu", "net-1")}
    gateways = {WEST: gateway_record("192.0.2.1").addresses}
    local = exported_state(*slices) if slices else ServiceState()
    imports = build_imports(merged, own=own, sites=sites, gateways=gateways, local=local, sidecar_port=15006)
    result = ServiceResult(Exported(), merged, imports, ())
    around = Surroundings(own, "east.test", 15006, sites, gateways)
    return service_entries(result, local, ips, around, api_version="networking.istio.io/v1")


def service_of(*ports: MergedPort, of: ServiceKey | None = None) -> MergedService:
    backends = [backend(EAST), backend(WEST)]
    return (
        merged_service(ports=ports, backends=backends)
        if of is None
        else merged_service(of, ports=ports, backends=backends)
    )


def test_entries_of_one_service_have_equal_labels() -> None:
    """Or Istio would take one of them and ignore the others."""
    rendered = entries(
        service_of(merged_port(WEST), merged_port(EAST, WEST, number=9000, name="tcp")),
        endpoint_slice(endpoint("10.0.0.1"), ports=[endpoint_port(), endpoint_port(9001, "tcp")]),
    )
    labels = [dict(apply.document["metadata"])["labels"] for apply in rendered.applied]  # type: ignore[call-overload]
    assert len(labels) == 2
    assert labels[0] == labels[1]


def test_names_never_meet_those_of_another_service() -> None:
    """The entry of a port is not called as the entry of a service whose name ends in a number."""
    several = entries(service_of(merged_port(WEST), merged_port(EAST, WEST, number=81, name="tcp")), slice_of_tcp())
    other = entries(service_of(merged_port(WEST), of=ServiceKey("demo", "echo-81")))
    assert not {apply.id for apply in several.applied} & {apply.id for apply in other.applied}


def slice_of_tcp() -> EndpointSlice:
    return endpoint_slice(endpoint("10.0.0.1"), ports=[endpoint_port(9001, "tcp")])


def test_endpoints_past_the_limit_are_left_out_and_told_of() -> None:
    """The object stays one that can be stored; own workloads are what is kept, since they come first."""
    pods = [endpoint(f"10.1.{number // 250}.{number % 250}") for number in range(MAX_ENDPOINTS + 1)]
    rendered = entries(service_of(merged_port(EAST, WEST)), endpoint_slice(*pods))
    (apply,) = rendered.applied
    assert len(dict(apply.document["spec"])["endpoints"]) == MAX_ENDPOINTS  # type: ignore[call-overload]
    assert [problem.reason for problem in rendered.problems] == ["TooManyEndpoints"]


def test_a_name_that_is_made_up_is_not_one_that_is_taken() -> None:
    """A port without a name beside one that is called as it would be."""
    rendered = entries(service_of(merged_port(WEST, name=""), merged_port(WEST, number=81, name="tcp-80")))
    (apply,) = rendered.applied
    ports = dict(apply.document["spec"])["ports"]  # type: ignore[call-overload]
    assert [port["name"] for port in ports] == ["tcp-80-1", "tcp-80"]
