"""The table of services."""

from __future__ import annotations

import msgspec.structs
import pytest

from controllers.status import BackendStatus, ServiceStatus
from federation.cli.service_text import service_rows

ECHO = ServiceStatus(
    namespace="demo",
    name="echo",
    host="echo.demo.svc.clusterset.local",
    type="ClusterSetIP",
    vip="240.96.0.1",
    ports=("80/TCP (http)", "9000/TCP"),
    backends=(BackendStatus("us-east", 2, 0), BackendStatus("us-west", 1, 1), BackendStatus("eu-west", 1, 1)),
    conflict="",
)


def test_a_row_says_where_calls_go() -> None:
    """Clusters in the order of failover, those of one rank together."""
    headers, (row,) = service_rows([ECHO], wide=False)
    assert dict(zip(headers, row, strict=True)) == {
        "namespace": "demo",
        "name": "echo",
        "type": "ClusterSetIP",
        "ports": "80/TCP (http), 9000/TCP",
        "backends (ready)": "us-east(2) > us-west(1), eu-west(1)",
        "conflict": "no",
    }


def test_wide_adds_host_address_and_the_conflict_in_words() -> None:
    """And the policies that count; what is yes or no elsewhere is told in wide."""
    conflicting = msgspec.structs.replace(ECHO, conflict="ports differ", policies=("own", "all"))
    headers, rows = service_rows([ECHO, conflicting], wide=True)
    assert (headers[-4:], [row[-4:] for row in rows]) == (
        ["host", "vip", "policies", "conflict"],
        [
            ["echo.demo.svc.clusterset.local", "240.96.0.1", "none", "no"],
            ["echo.demo.svc.clusterset.local", "240.96.0.1", "own, all", "ports differ"],
        ],
    )


@pytest.mark.parametrize(
    ("backends", "text"),
    [
        ((), "none"),
        ((BackendStatus("eu", 0, None),), "[eu(0)]"),
        ((BackendStatus("us", 1, 0), BackendStatus("eu", 0, None)), "us(1) [eu(0)]"),
    ],
)
def test_clusters_that_get_no_calls_are_in_brackets(backends: tuple[BackendStatus, ...], text: str) -> None:
    """Not trusted, without a gateway or with nothing ready: named, but apart."""
    service = ServiceStatus("demo", "echo", "", "", "", (), backends, "")
    _, (row,) = service_rows([service], wide=False)
    assert row[4] == text
