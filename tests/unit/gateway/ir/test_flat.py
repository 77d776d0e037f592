"""Flat networks: who is told of sidecars one by one, and who calls them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from federation.model.locality import WEIGHT_PER_ENDPOINT, Site
from federation.model.records import MAX_DIRECT, DirectEndpoint
from gateway.ir.flat import direct_endpoints, direct_upstreams, shares_network
from gateway.ir.model import Upstream
from support.builders import EAST, WEST, backend, merged_port, merged_service

OWN, PEER = Site(EAST, "eu", "shared"), Site(WEST, "us", "shared")
DIRECT = DirectEndpoint("10.0.0.1", 15006, "a", ("http",))


@pytest.mark.parametrize(
    ("own", "other", "shared"), [("a", "a", True), ("a", "b", False), ("", "", False), ("a", None, False)]
)
def test_a_network_is_shared_by_name(own: str, other: str | None, shared: bool) -> None:
    """An unknown network is nobody's."""
    there = None if other is None else Site(WEST, "", other)
    assert shares_network(Site(EAST, "", own), there) is shared


def test_a_sidecar_is_told_of_once_with_all_its_ports() -> None:
    """By address, port and zone, sorted."""
    here = (Upstream("10.0.0.1", 15006),)
    told = direct_endpoints({"tcp": {"a": here}, "http": {"a": here, "": [Upstream("10.0.0.2", 15006)]}})
    assert told == (
        DirectEndpoint("10.0.0.1", 15006, "a", ("http", "tcp")),
        DirectEndpoint("10.0.0.2", 15006, "", ("http",)),
    )


def test_too_many_are_called_by_the_gateways() -> None:
    """All or none: half of them would get all calls."""
    many = [Upstream(f"10.0.{number // 250}.{number % 250}", 15006) for number in range(MAX_DIRECT + 1)]
    assert len(direct_endpoints({"http": {"": many[:-1]}})) == MAX_DIRECT
    assert direct_endpoints({"http": {"": many}}) == ()


def test_sidecars_of_the_same_network_are_called_as_often_as_endpoints_behind_gateways() -> None:
    """Each has the weight that an endpoint has elsewhere."""
    service = merged_service(backends=[replace(backend(WEST), direct=(DIRECT,))])
    found = direct_upstreams(service, merged_port(), OWN, PEER)
    assert found == {"a": (Upstream("10.0.0.1", 15006, WEIGHT_PER_ENDPOINT),)}


def test_who_is_of_another_network_does_not_look_at_them() -> None:
    """Nor at ports that are not behind them."""
    service = merged_service(backends=[replace(backend(WEST), direct=(DIRECT,))])
    assert direct_upstreams(service, merged_port(), replace(OWN, network="other"), PEER) == {}
    assert direct_upstreams(service, replace(merged_port(), name="tcp"), OWN, PEER) == {}
