"""The resources of one service port, of the route table, and of one node."""

from __future__ import annotations

from collections.abc import Sequence

from federation.model.names import ClusterId, ServiceKey, sni
from gateway.ir.model import AppProtocol, ExportedPort, ImportedPort, InboundPort, Upstream
from gateway.nodes import GatewayNode, Listen, LocalPort, ProbeSpec, SidecarNode
from gateway.telemetry import Telemetry
from gateway.xds import protos as pb
from gateway.xds.references import Reference
from gateway.xds.resources import Resource, make_resource, message_of
from gateway.xds.translate.routes import OUTBOUND_ROUTES, virtual_host
from gateway.xds.translate.services import (
    bundles_resource,
    export_resources,
    gateway_node_resources,
    import_resources,
    placed,
    route_entries,
    route_table,
    sidecar_node_resources,
    svid_resource,
    vip_resource,
)
from support.builders import ECHO, key

HERE = Listen("127.0.0.1", 8001)
TELEMETRY = Telemetry(ClusterId("east"))
NAME = sni(ECHO, 80)


def imported(port: int = 80, protocol: str = "http", of: ServiceKey = ECHO) -> ImportedPort:
    return ImportedPort(of, port, AppProtocol(protocol), ("spiffe://west.test/ns/demo/sa/echo",), ())


def keys(resources: Sequence[Resource]) -> list[tuple[str, str]]:
    return [(resource.type_url.rpartition(".")[2], resource.name) for resource in resources]


def test_a_port_is_a_cluster_and_its_endpoints() -> None:
    """Both have the name of the port, and the cluster refers to the endpoints."""
    for resources in (import_resources(imported()), export_resources(ExportedPort(ECHO, 80, ()))):
        assert keys(resources) == [("Cluster", NAME), ("ClusterLoadAssignment", NAME)]
        assert resources[0].references == (Reference(pb.ENDPOINT, NAME),)


def test_endpoints_change_alone() -> None:
    """Other endpoints are another assignment and the same cluster, for caller and gateway."""
    one, other = (export_resources(ExportedPort(ECHO, 80, (Upstream(ip, 1),))) for ip in ("10.0.0.1", "10.0.0.2"))
    assert one[0] == other[0]
    assert one[1].version != other[1].version


def test_the_route_table_has_a_host_per_http_port() -> None:
    """TCP ports are not routed; the table refers to the cluster of each host."""
    ports = [imported(80), imported(90, "tcp"), imported(80, "http2", key("demo/web"))]
    table = route_table(route_entries(ports))
    expected = [NAME, sni(key("demo/web"), 80)]
    assert [host.name for host in message_of(table).virtual_hosts] == expected
    assert list(table.references) == [Reference(pb.CLUSTER, name) for name in expected]


def test_a_joined_table_is_the_table() -> None:
    """Joined from bytes, the resource is the one that the message itself would make, references and version too."""
    ports = [imported(80), imported(8080)]
    message = pb.RouteConfiguration(name=OUTBOUND_ROUTES, virtual_hosts=[virtual_host(port) for port in ports])
    assert route_table(route_entries(ports)) == make_resource(pb.ROUTE, OUTBOUND_ROUTES, message)
    assert route_table([]) == make_resource(pb.ROUTE, OUTBOUND_ROUTES, pb.RouteConfiguration(name=OUTBOUND_ROUTES))


def test_the_bytes_of_routes_are_kept_once() -> None:
    """Placed entries are equal to what they were made as, lie in the table, and the next table is joined from them."""
    made = [*route_entries([imported(80)]), *route_entries([imported(8080)])]
    table = route_table(made)
    entries = [*placed(made, table)]

    assert entries == made
    assert all(isinstance(entry.content, memoryview) and entry.content.obj is table.chunk for entry in entries)
    assert route_table(entries) == table
    new = route_entries([imported(443)])
    assert route_table([*entries[1:], *new]) == route_table([made[1], *new])
    assert [*placed([], route_table([]))] == []


def test_a_name_is_kept_once() -> None:
    """Whatever resource is called by it or refers to it."""
    cluster, assignment = import_resources(imported())
    ((_, referred),) = cluster.references

    assert cluster.name is assignment.name is referred
    assert route_entries([imported()])[0].cluster is cluster.name
    assert all(resource.name is cluster.name for resource in export_resources(ExportedPort(ECHO, 80, ())))


def test_a_gateway_has_one_listener() -> None:
    """Nothing else is a gateway's own; no secret among it."""
    assert keys(gateway_node_resources(GatewayNode(HERE), TELEMETRY)) == [("Listener", "gateway")]


def test_a_sidecar_without_anything_has_nothing() -> None:
    """A workload that serves nothing and calls nothing has no listener of its own."""
    assert sidecar_node_resources(SidecarNode("10.0.0.1", 15006), [], {}, TELEMETRY) == ()


def test_a_sidecar_has_what_it_was_configured_with() -> None:
    """Inbound with its application, proxy port, redirect with its way out, and local ports of known services."""
    node = SidecarNode(
        address="10.0.0.1",
        inbound_port=15006,
        http_proxy=Listen("127.0.0.1", 3128),
        redirect_port=15001,
        outbound=(LocalPort("demo", "echo", 80, HERE), LocalPort("demo", "echo", 81, HERE)),
    )
    port = InboundPort(ECHO, 80, AppProtocol.HTTP, "10.0.0.1", 8080)
    found = sidecar_node_resources(node, [port], {(ECHO, 80): imported()}, TELEMETRY)
    assert keys(found) == [
        ("Cluster", "app|10.0.0.1|8080|http"),
        ("Cluster", "passthrough"),
        ("Listener", "inbound"),
        ("Listener", "http-proxy"),
        ("Listener", "redirect"),
        ("Listener", "local|127.0.0.1|8001"),
    ]


def test_services_that_share_an_application_port_share_its_cluster() -> None:
    """Two chains lead to one cluster: a name must not appear twice."""
    ports = [InboundPort(of, 80, AppProtocol.HTTP, "10.0.0.1", 8080) for of in (ECHO, key("demo/web"))]
    node = SidecarNode("10.0.0.1", 15006, probe=ProbeSpec(8081, "/", 500, 500))
    found = sidecar_node_resources(node, ports, {}, TELEMETRY)
    assert keys(found) == [("Cluster", "app|10.0.0.1|8080|http"), ("Listener", "inbound")]
    assert len(message_of(found[1]).filter_chains) == 2


def test_a_clusterset_ip_is_a_listener_named_by_the_port() -> None:
    """The name holds through a change of the address, so the listener is updated and not doubled."""
    one, other = (vip_resource(ip, imported(), TELEMETRY) for ip in ("240.96.0.1", "240.96.0.2"))
    assert one.key == other.key == Reference(pb.LISTENER, f"vip|{NAME}")
    assert one.version != other.version


def test_secrets_are_two_and_no_repr_shows_them() -> None:
    """Own certificate and bundles; a private key never shows in a log or a traceback."""
    found = (svid_resource(b"chain", b"the private key"), bundles_resource([("east.test", "PEM")]))
    assert keys(found) == [("Secret", "default"), ("Secret", "ALL")]
    assert "the private key" not in repr(found)


def test_services_that_share_an_application_share_the_least_that_is_stated() -> None:
    """A limit of one of them is the application's; a service without one has its calls unlimited."""
    ports = [
        InboundPort(
            ServiceKey("demo", name), 80, AppProtocol.HTTP, "10.0.0.1", 8080, limit, "east.test" if limit else ""
        )
        for name, limit in (("a", 5), ("b", 3), ("c", 0))
    ]
    found = sidecar_node_resources(SidecarNode("10.0.0.1", 15006), ports, {}, TELEMETRY)

    (cluster,) = (message_of(one) for one in found if one.type_url == pb.CLUSTER)
    assert [limit.max_requests.value for limit in cluster.circuit_breakers.thresholds] == [1_000_000, 3]
