"""What a message needs besides itself."""

from __future__ import annotations

from gateway.xds import protos as pb
from gateway.xds.references import Reference, references_of
from gateway.xds.resources import Resource
from support.xds import ads, endpoints, envoy_cluster, http_listener, route_table, tcp_listener


def names(resource: Resource) -> list[tuple[str, str]]:
    return [(ref.type_url.rpartition(".")[2], ref.name) for ref in resource.references]


def filters(*configs: pb.Message) -> pb.Message:
    chain = pb.FilterChain(filters=[pb.Filter(name="any", typed_config=pb.pack(config)) for config in configs])
    return pb.Listener(name="any", filter_chains=[chain])


def test_a_cluster_needs_its_endpoints() -> None:
    """By its own name or by the service name, if they come on this stream."""
    assert names(envoy_cluster("a")) == [("ClusterLoadAssignment", "a")]
    assert names(envoy_cluster("a", endpoints_name="shared")) == [("ClusterLoadAssignment", "shared")]
    assert references_of(pb.CLUSTER, pb.Cluster(name="a", type=pb.Cluster.STATIC)) == ()
    assert references_of(pb.CLUSTER, pb.Cluster(name="a", type=pb.Cluster.EDS)) == ()


def test_a_route_table_needs_its_clusters_each_once() -> None:
    """Plain, weighted and mirrored; a cluster chosen by a header is not known here."""
    assert names(route_table("table", "a", "b", "a")) == [("Cluster", "a"), ("Cluster", "b")]

    weighted = pb.RouteAction(
        weighted_clusters=pb.WeightedCluster(clusters=[pb.WeightedCluster.ClusterWeight(name="w")]),
        request_mirror_policies=[pb.RouteAction.RequestMirrorPolicy(cluster="m")],
    )
    by_header = pb.RouteAction(cluster_header="x-cluster")
    host = pb.VirtualHost(routes=[pb.Route(route=weighted), pb.Route(route=by_header)])
    table = pb.RouteConfiguration(virtual_hosts=[host])
    assert references_of(pb.ROUTE, table) == (Reference(pb.CLUSTER, "w"), Reference(pb.CLUSTER, "m"))


def test_an_http_listener_needs_its_table_or_the_clusters_of_its_own() -> None:
    """RDS by name, inline routes by what they name."""
    assert names(http_listener("http", 80, table="outbound")) == [("RouteConfiguration", "outbound")]

    table = pb.RouteConfiguration(
        virtual_hosts=[pb.VirtualHost(routes=[pb.Route(route=pb.RouteAction(cluster="inline"))])]
    )
    inline = filters(pb.HttpConnectionManager(route_config=table))
    assert references_of(pb.LISTENER, inline) == (Reference(pb.CLUSTER, "inline"),)


def test_a_tcp_listener_needs_its_cluster_unless_it_finds_it_later() -> None:
    """On demand and by SNI the named cluster is a placeholder."""
    assert names(tcp_listener("tcp", 80, envoy_cluster="a")) == [("Cluster", "a")]

    on_demand = pb.TcpProxy(cluster="none", on_demand=pb.TcpProxy.OnDemand(odcds_config=ads()))
    by_sni = filters(pb.SniCluster(), pb.TcpProxy(cluster="none"))
    assert references_of(pb.LISTENER, filters(on_demand)) == ()
    assert references_of(pb.LISTENER, by_sni) == ()


def test_endpoints_need_nothing() -> None:
    """Nor do secrets."""
    assert names(endpoints("a")) == []
    assert references_of(pb.SECRET, pb.Secret(name="a")) == ()
