"""Export rules that compare two exports; single ones are golden cases."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

from federation.model.export import Exported, export_service
from federation.model.state import ServiceState
from federation.model.traffic_policy import Capacity
from support.builders import CREATED, ECHO, endpoint, endpoint_slice, exported_state, service


def export(state: ServiceState) -> Exported:
    return export_service(ECHO, state, trust_domain="east.test", first_seen=CREATED)


def test_pod_churn_with_equal_counts_gives_equal_records() -> None:
    """Replaced pods, of the same number in the same zones, change nothing that travels."""
    before = exported_state(endpoint_slice(endpoint("10.0.0.1", zone="a"), endpoint("10.0.0.2", zone="b")))
    after = exported_state(
        endpoint_slice(endpoint("10.0.0.9", zone="b"), name="echo-7"),
        endpoint_slice(endpoint("10.0.0.8", zone="a"), endpoint("10.0.0.7", zone="a", ready=False)),
    )
    assert export(before) == export(after)


def test_the_order_of_slices_gives_equal_records() -> None:
    """The order in which a source happens to list slices and endpoints doesn't show."""
    slices = [
        endpoint_slice(endpoint("10.0.0.1", zone="a"), endpoint("10.0.0.2", zone="b"), name="s1", service_account="x"),
        endpoint_slice(endpoint("10.0.0.1", zone="c"), name="s2", service_account="y"),
        endpoint_slice(endpoint("fd00::1"), name="s3", address_type="IPv6"),
        endpoint_slice(endpoint("fd00::1"), name="s4", address_type="IPv6", service_account="No"),
    ]
    outcomes = {
        export(replace(exported_state(*order), service=service(headless=headless, ip_families=families)))
        for headless, families in [(False, ("IPv4",)), (True, ("IPv4", "IPv6"))]
        for order in permutations(slices)
    }
    assert len(outcomes) == 2


def test_labels_of_an_export_in_any_order_give_equal_records() -> None:
    """The order of labels in the manifest doesn't show."""
    state = exported_state()
    assert state.export is not None
    pairs = (("b", "2"), ("a", "1"))
    one, other = (
        replace(state, export=replace(state.export, exported_labels=order, exported_annotations=order))
        for order in (pairs, pairs[::-1])
    )
    assert export(one) == export(other)


def test_what_others_may_use_is_told_of_an_endpoint() -> None:
    """So that pods which come and go change nothing in it. 0 where no policy states it."""
    state = exported_state(
        endpoint_slice(endpoint("10.0.0.1", zone="a"), endpoint("10.0.0.2"), endpoint("10.0.0.3", ready=False))
    )

    stated = export_service(
        ECHO, state, trust_domain="east.test", first_seen=CREATED, capacity=Capacity(10, others_percent=45)
    )

    assert stated.endpoints is not None
    assert stated.endpoints.capacity == 4
    assert stated == replace(export(state), endpoints=stated.endpoints)


def test_the_gateway_is_who_answers_where_it_ends_tls() -> None:
    """Whoever the workloads are: consumers expect the gateway of the exporter."""
    state = exported_state(endpoint_slice(endpoint(), service_account="echo"))
    assert state.export is not None
    found = export(replace(state, export=replace(state.export, terminate=True))).export
    assert found is not None
    assert found.identities == ("spiffe://east.test/federation/gateway",)
