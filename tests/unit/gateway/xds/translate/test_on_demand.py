"""Upstreams that are asked for."""

from __future__ import annotations

from gateway.xds import protos as pb
from gateway.xds.translate.on_demand import route_on_demand, tcp_proxy
from gateway.xds.translate.routes import never_reached_route


def test_a_tcp_proxy_asks_on_its_own_stream() -> None:
    """And gives up within the time of a connection."""
    proxy = tcp_proxy("stat", "name")
    assert (proxy.stat_prefix, proxy.cluster) == ("stat", "name")
    assert proxy.on_demand.odcds_config.HasField("ads")
    assert proxy.on_demand.timeout.seconds == 1


def test_http_asks_before_it_routes() -> None:
    """The filter stands before all others, and routes may name what isn't there."""
    manager = pb.HttpConnectionManager(http_filters=[pb.HttpFilter(name="router")])
    route_on_demand(manager, "name", [never_reached_route("upstream")])
    assert [each.name for each in manager.http_filters] == ["envoy.filters.http.on_demand", "router"]
    found = pb.unpack(manager.http_filters[0].typed_config, pb.OnDemand)
    assert (found.odcds.source.HasField("ads"), found.odcds.timeout.seconds) == (True, 1)
    assert manager.route_config.HasField("validate_clusters")
    assert not manager.route_config.validate_clusters.value
