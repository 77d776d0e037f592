"""Envoy clusters: the defaults that keep calls alive, and what differs between ports."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from federation.model.names import sni
from gateway.ir.model import AppProtocol, ExportedPort, ImportedPort, InboundPort, Upstream, UpstreamLocality
from gateway.nodes import ProbeSpec
from gateway.xds import protos as pb
from gateway.xds.translate.clusters import (
    app_cluster,
    app_cluster_name,
    export_assignment,
    export_cluster,
    import_assignment,
    import_cluster,
)
from support.builders import ECHO, WEST

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
NAME = sni(ECHO, 80)
PROBE = ProbeSpec(8081, "/healthz", 500, 250)


def imported(protocol: str = "http", *localities: UpstreamLocality) -> ImportedPort:
    return ImportedPort(ECHO, 80, AppProtocol(protocol), ("spiffe://west.test/ns/demo/sa/echo",), localities)


def inbound(protocol: str = "http") -> InboundPort:
    return InboundPort(ECHO, 80, AppProtocol(protocol), "10.0.0.1", 8080)


def exported(port: int) -> ExportedPort:
    return ExportedPort(ECHO, port, ())


CLUSTERS: dict[str, Callable[[], pb.Message]] = {
    "import http": lambda: import_cluster(imported("http")),
    "import http2": lambda: import_cluster(imported("http2")),
    "import tcp": lambda: import_cluster(imported("tcp")),
    "export": lambda: export_cluster(exported(80)),
    "app": lambda: app_cluster(inbound(), None),
}
REMOTE = [name for name in CLUSTERS if name != "app"]


@pytest.mark.parametrize("name", CLUSTERS)
def test_no_cluster_limits_connections_or_requests(name: str) -> None:
    """Envoy's default limits of 1024 are lifted; retries have a budget, never the default of three at a time."""
    (limits,) = CLUSTERS[name]().circuit_breakers.thresholds
    assert {limits.max_connections.value, limits.max_pending_requests.value, limits.max_requests.value} == {1_000_000}
    assert (limits.retry_budget.budget_percent.value, limits.retry_budget.min_retry_concurrency.value) == (20, 200)
    assert not limits.HasField("max_retries")


@pytest.mark.parametrize("name", REMOTE)
def test_dead_hosts_are_left_at_once(name: str) -> None:
    """All may be ejected, ejections are not held back, and panic comes only where nobody is left."""
    cluster = CLUSTERS[name]()
    detection = cluster.outlier_detection
    assert (detection.max_ejection_percent.value, detection.enforcing_consecutive_gateway_failure.value) == (100, 100)
    assert detection.enforcing_success_rate.value == 0
    assert cluster.common_lb_config.healthy_panic_threshold.value == 1
    assert cluster.common_lb_config.HasField("update_merge_window")
    assert cluster.common_lb_config.update_merge_window.ToTimedelta().total_seconds() == 0


@pytest.mark.parametrize(
    ("name", "failures"), [("import http", 3), ("import http2", 3), ("import tcp", 1), ("export", 1)]
)
def test_failures_before_an_ejection(name: str, failures: int) -> None:
    """HTTP retries, so three failures are borne; a refused TCP connection is lost to its caller, so one is enough."""
    assert CLUSTERS[name]().outlier_detection.consecutive_gateway_failure.value == failures


@pytest.mark.parametrize("name", REMOTE)
def test_endpoints_come_by_eds_on_the_same_stream(name: str) -> None:
    """The name of the cluster is that of its endpoints."""
    cluster = CLUSTERS[name]()
    assert (cluster.type, cluster.name, cluster.eds_cluster_config.service_name) == (pb.Cluster.EDS, NAME, "")
    assert cluster.eds_cluster_config.eds_config.HasField("ads")


def test_a_gateways_cluster_holds_nothing_but_names() -> None:
    """It is taken on demand once, so nothing that changes may be in it; and the gateway never ends TLS."""
    one, other = export_cluster(exported(1)), export_cluster(exported(2))
    assert dict(one.metadata.filter_metadata["federation"]) == {"namespace": "demo", "name": "echo", "port": "1"}
    other.name = one.name
    other.metadata.CopyFrom(one.metadata)
    assert one == other
    assert not one.HasField("transport_socket")


@pytest.mark.parametrize("protocol", ["http", "http2"])
def test_http_goes_over_http2_with_pings(protocol: str) -> None:
    """A vanished sidecar answers no ping and is given up; slow answers are not cut."""
    packed = import_cluster(imported(protocol)).typed_extension_protocol_options[HTTP_OPTIONS]
    http2 = pb.unpack(packed, pb.HttpProtocolOptions).explicit_http_config.http2_protocol_options
    keepalive = http2.connection_keepalive
    assert keepalive.interval.ToMilliseconds() + keepalive.timeout.ToMilliseconds() == 1500
    assert http2.allow_connect is True


def test_tcp_is_kept_alive_by_the_kernel() -> None:
    """Opaque connections have no pings of their own; HTTP ones need no probes beside theirs."""
    keepalive = import_cluster(imported("tcp")).upstream_connection_options.tcp_keepalive
    assert (keepalive.keepalive_time.value, keepalive.keepalive_interval.value, keepalive.keepalive_probes.value) == (
        10,
        5,
        3,
    )
    assert not import_cluster(imported("http")).HasField("upstream_connection_options")


def test_an_import_without_identities_has_no_cluster() -> None:
    """Where nothing would be verified, nothing is built."""
    with pytest.raises(ValueError, match="no identity to expect"):
        import_cluster(ImportedPort(ECHO, 80, AppProtocol.HTTP, (), ()))


def test_endpoints_keep_locality_priority_and_weight() -> None:
    """The sub-zone is the cluster; a weight of one is Envoy's default and is left out."""
    hosts = (Upstream("192.0.2.1", 15443, 120), Upstream("192.0.2.2", 15443))
    (found,) = import_assignment(imported("http", UpstreamLocality(2, WEST, "us", "a", hosts))).endpoints
    assert (found.priority, found.locality.region, found.locality.zone, found.locality.sub_zone) == (
        2,
        "us",
        "a",
        "west",
    )
    assert [host.load_balancing_weight.value for host in found.lb_endpoints] == [120, 0]


def test_an_exported_port_with_nothing_ready_has_an_empty_assignment() -> None:
    """An empty locality would be a difference without a meaning."""
    assert list(export_assignment(ExportedPort(ECHO, 80, ())).endpoints) == []
    assert len(export_assignment(ExportedPort(ECHO, 80, (Upstream("10.0.0.1", 15006),))).endpoints) == 1


# The application


def test_the_application_is_reached_in_the_clear_on_its_own_address() -> None:
    """One host, the workload itself, without TLS."""
    cluster = app_cluster(inbound(), None)
    (locality,) = cluster.load_assignment.endpoints
    (host,) = locality.lb_endpoints
    assert (host.endpoint.address.socket_address.address, host.endpoint.address.socket_address.port_value) == (
        "10.0.0.1",
        8080,
    )
    assert not cluster.HasField("transport_socket")


@pytest.mark.parametrize(("protocol", "http2"), [("http", False), ("http2", True), ("tcp", False)])
def test_the_application_is_spoken_to_in_its_own_protocol(protocol: str, http2: bool) -> None:
    """HTTP/2 only where the port says so."""
    assert (HTTP_OPTIONS in app_cluster(inbound(protocol), None).typed_extension_protocol_options) is http2


def test_two_protocols_on_one_port_are_two_clusters() -> None:
    """Services may name one application port differently; their clusters must not share a name."""
    assert len({app_cluster_name(inbound(protocol)) for protocol in ("http", "http2", "tcp")}) == 3


@pytest.mark.parametrize(("protocol", "checks"), [("http", 1), ("http2", 1), ("tcp", 0)])
def test_a_probe_checks_http_ports(protocol: str, checks: int) -> None:
    """The health port is asked, whatever the traffic port; opaque ports are not checked."""
    cluster = app_cluster(inbound(protocol), PROBE)
    assert len(cluster.health_checks) == checks
    assert len(app_cluster(inbound(protocol), None).health_checks) == 0
    if checks:
        host = cluster.load_assignment.endpoints[0].lb_endpoints[0].endpoint
        assert host.health_check_config.port_value == PROBE.port


def test_an_application_that_failed_its_probe_is_not_called() -> None:
    """With one host, any panic threshold above zero would go on calling it."""
    config = app_cluster(inbound(), PROBE).common_lb_config
    assert config.HasField("healthy_panic_threshold")
    assert config.healthy_panic_threshold.value == 0


def test_any_answer_below_500_is_healthy() -> None:
    """A 404 on the health path says that the application lives."""
    (check,) = app_cluster(inbound(), PROBE).health_checks
    (statuses,) = check.http_health_check.expected_statuses
    assert (statuses.start, statuses.end) == (100, 500)
    assert (check.interval.ToMilliseconds(), check.timeout.ToMilliseconds()) == (500, 250)
