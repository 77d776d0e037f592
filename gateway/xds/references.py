"""Which other resources a message names, read off the message itself.

The consistency gate refuses a change that leaves a name dangling, and a stream sends a resource
after what it names. Counted are names that must exist for the resource to work: endpoints of a
cluster, clusters of a route, the route table of a listener. Not counted are secrets (a shared
cluster names the SVID that each node has under one name) and the placeholder cluster of a proxy
that finds its cluster on demand or by SNI. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from sys import intern
from typing import NamedTuple

from gateway.xds import protos


class Reference(NamedTuple):
    """The key of a resource."""

    type_url: str
    name: str


def references_of(type_url: str, message: protos.Message) -> tuple[Reference, ...]:
    """What a resource of that type needs, each once, in the order of the message."""
    match type_url:
        case protos.CLUSTER:
            found = _of_cluster(message)
        case protos.ROUTE:
            found = _of_routes(message)
        case protos.LISTENER:
            found = _of_listener(message)
        case _:
            return ()
    # The very strings that the resources are named by: a message gives others each time.
    return tuple(dict.fromkeys(Reference(type_url, intern(name)) for type_url, name in found))


def _of_cluster(cluster: protos.Message) -> Iterator[Reference]:
    # Endpoints from a source other than this stream are not ours to promise.
    if cluster.type == protos.Cluster.EDS and cluster.eds_cluster_config.eds_config.HasField("ads"):
        yield Reference(protos.ENDPOINT, cluster.eds_cluster_config.service_name or cluster.name)


def _of_routes(table: protos.Message) -> Iterator[Reference]:
    for host in table.virtual_hosts:
        for route in host.routes:
            action = route.route
            if action.cluster:
                yield Reference(protos.CLUSTER, action.cluster)
            for weighted in action.weighted_clusters.clusters:
                if weighted.name:
                    yield Reference(protos.CLUSTER, weighted.name)
            for mirror in action.request_mirror_policies:
                if mirror.cluster:
                    yield Reference(protos.CLUSTER, mirror.cluster)


def _of_listener(listener: protos.Message) -> Iterator[Reference]:
    for chain in (*listener.filter_chains, listener.default_filter_chain):
        named_by_sni = any(item.typed_config.Is(protos.SniCluster.DESCRIPTOR) for item in chain.filters)
        for item in chain.filters:
            if item.typed_config.Is(protos.HttpConnectionManager.DESCRIPTOR):
                yield from _of_http(protos.unpack(item.typed_config, protos.HttpConnectionManager))
            elif not named_by_sni and item.typed_config.Is(protos.TcpProxy.DESCRIPTOR):
                yield from _of_tcp(protos.unpack(item.typed_config, protos.TcpProxy))


def _of_http(manager: protos.Message) -> Iterator[Reference]:
    if manager.HasField("rds"):
        if manager.rds.config_source.HasField("ads"):
            yield Reference(protos.ROUTE, manager.rds.route_config_name)
    else:
        yield from _of_routes(manager.route_config)


def _of_tcp(proxy: protos.Message) -> Iterator[Reference]:
    if proxy.HasField("on_demand"):
        return
    if proxy.cluster:
        yield Reference(protos.CLUSTER, proxy.cluster)
    for weighted in proxy.weighted_clusters.clusters:
        yield Reference(protos.CLUSTER, weighted.name)
