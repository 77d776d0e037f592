"""Upstreams that a gateway asks for when a call first needs them: the parts of a listener that do so.

On the stream that it has, and which has no wildcard subscription of clusters: beside one, Envoy isn't told of misses
(envoy #44765).
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.xds import protos as pb
from gateway.xds.translate.messages import milliseconds
from gateway.xds.translate.tls import ads

_TIMEOUT_MS = 1000
"""As long as any connection may take. A name that was answered as unknown is not asked for again: later callers wait
this long. Should it come to exist, it is sent and served at once."""


def tcp_proxy(stat_prefix: str, cluster: str) -> pb.Message:
    """A TCP proxy to an upstream that is asked for."""
    return pb.TcpProxy(
        stat_prefix=stat_prefix,
        cluster=cluster,
        on_demand=pb.TcpProxy.OnDemand(odcds_config=ads(), timeout=milliseconds(_TIMEOUT_MS)),
    )


def route_on_demand(manager: pb.Message, name: str, routes: Sequence[pb.Message]) -> None:
    """Have an HTTP connection manager take all calls by these routes, and ask for the upstreams that they name."""
    found = pb.OnDemand(odcds=pb.OnDemandCds(source=ads(), timeout=milliseconds(_TIMEOUT_MS)))
    manager.http_filters.insert(0, pb.HttpFilter(name="envoy.filters.http.on_demand", typed_config=pb.pack(found)))
    hosts = [pb.VirtualHost(name=name, domains=["*"], routes=routes)]
    manager.route_config.CopyFrom(pb.RouteConfiguration(name=name, virtual_hosts=hosts))
    # Envoy would refuse routes to what it hasn't asked for yet.
    manager.route_config.validate_clusters.value = False
