"""Where Prometheus asks a proxy."""

from __future__ import annotations

import json
import re

import pytest

from gateway.nodes import Listen
from gateway.xds.metrics_listener import ENVOY_STATS, metrics_cluster, metrics_listener

HERE = Listen("127.0.0.1", 15020)


def test_one_path_leads_to_the_metrics_and_nothing_else_anywhere() -> None:
    """One route, for the path without a query, to one page of the admin port."""
    listener = json.dumps(metrics_listener(HERE))
    assert listener.count('"route":') == 1
    assert '"prefix_rewrite": "/stats/prometheus?usedonly&filter=^(' in listener
    assert '"name": ":path", "string_match": {"exact": "/metrics"}' in listener
    assert '"name": ":method", "string_match": {"exact": "GET"}' in listener


def test_it_asks_envoys_own_admin_port() -> None:
    """Whatever address that is."""
    assert '{"address": "127.0.0.2", "port_value": 15001}' in json.dumps(metrics_cluster(Listen("127.0.0.2", 15001)))


@pytest.mark.parametrize(
    ("name", "served"),
    [
        ("listener.inbound.ssl.fail_verify_error", True),
        ("listener.gateway.downstream_cx_active", True),
        ("cluster.outbound_.80_._.echo.demo.svc.clusterset.local.ssl.fail_verify_san", True),
        ("control_plane.connected_state", True),
        ("server.stats_overflow.counter", True),
        ("cluster.outbound_.80_._.echo.demo.svc.clusterset.local.upstream_rq_total", False),
        ("http.outbound.downstream_rq_total", False),
    ],
)
def test_of_envoys_own_those_are_served_that_say_why_calls_fail(name: str, served: bool) -> None:
    """What the sidecars count of calls by service is ours, and not served twice."""
    assert bool(re.match("|".join(ENVOY_STATS), name)) is served


def test_the_filter_is_one_parameter() -> None:
    """No character in it means anything in a query string."""
    assert not re.search(r"[&#+%\s]", "".join(ENVOY_STATS))
