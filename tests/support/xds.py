"""Small xDS resources for tests: what Envoy needs to accept them, and one knob each to make another version."""

from __future__ import annotations

from gateway.xds import protos as pb
from gateway.xds.resources import Resource, make_resource
from gateway.xds.translate.messages import milliseconds, socket_address


def ads() -> pb.Message:
    return pb.ConfigSource(ads=pb.AggregatedConfigSource(), resource_api_version=pb.ApiVersion.V3)


def envoy_cluster(name: str, *, timeout_ms: int = 1000, endpoints_name: str = "") -> Resource:
    """A cluster whose endpoints come by EDS."""
    source = pb.Cluster.EdsClusterConfig(eds_config=ads(), service_name=endpoints_name)
    message = pb.Cluster(
        name=name, type=pb.Cluster.EDS, eds_cluster_config=source, connect_timeout=milliseconds(timeout_ms)
    )
    return make_resource(pb.CLUSTER, name, message)


def endpoints(name: str, *ports: int) -> Resource:
    """Endpoints on 127.0.0.1; port 80 where none is named."""
    hosts = [pb.LbEndpoint(endpoint=pb.Endpoint(address=socket_address("127.0.0.1", port))) for port in ports or (80,)]
    message = pb.ClusterLoadAssignment(cluster_name=name, endpoints=[pb.LocalityLbEndpoints(lb_endpoints=hosts)])
    return make_resource(pb.ENDPOINT, name, message)


def route_table(name: str, *envoy_clusters: str) -> Resource:
    """One virtual host per cluster; the first answers for any host."""
    hosts = [
        pb.VirtualHost(
            name=cluster,
            domains=["*"] if number == 0 else [cluster],
            routes=[pb.Route(match=pb.RouteMatch(prefix="/"), route=pb.RouteAction(cluster=cluster))],
        )
        for number, cluster in enumerate(envoy_clusters)
    ]
    return make_resource(pb.ROUTE, name, pb.RouteConfiguration(name=name, virtual_hosts=hosts))


def http_listener(name: str, port: int, *, table: str) -> Resource:
    """An HTTP listener on 127.0.0.1 whose routes come by RDS."""
    manager = pb.HttpConnectionManager(
        stat_prefix=name,
        rds=pb.Rds(route_config_name=table, config_source=ads()),
        http_filters=[pb.HttpFilter(name="envoy.filters.http.router", typed_config=pb.pack(pb.Router()))],
    )
    return _listener(name, port, "envoy.filters.network.http_connection_manager", manager)


def tcp_listener(name: str, port: int, *, envoy_cluster: str) -> Resource:
    """A TCP listener on 127.0.0.1 that passes bytes to one cluster."""
    proxy = pb.TcpProxy(stat_prefix=name, cluster=envoy_cluster)
    return _listener(name, port, "envoy.filters.network.tcp_proxy", proxy)


def _listener(name: str, port: int, kind: str, config: pb.Message) -> Resource:
    chain = pb.FilterChain(filters=[pb.Filter(name=kind, typed_config=pb.pack(config))])
    message = pb.Listener(name=name, address=socket_address("127.0.0.1", port), filter_chains=[chain])
    return make_resource(pb.LISTENER, name, message)


def secret(name: str, key: bytes = b"key") -> Resource:
    certificate = pb.TlsCertificate(private_key=pb.DataSource(inline_bytes=key))
    return make_resource(pb.SECRET, name, pb.Secret(name=name, tls_certificate=certificate))
