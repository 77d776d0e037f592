"""Outbound HTTP routes: under which hosts, and what may be repeated."""

from __future__ import annotations

import re

import pytest

from federation.model.names import sni
from gateway.ir.model import AppProtocol, ImportedPort
from gateway.xds import protos as pb
from gateway.xds.translate.routes import (
    CALLER_OVERRIDES,
    HEADER_MUTATION,
    OUTBOUND_ROUTES,
    outbound_routes,
    route_configuration,
    virtual_host,
)
from support.builders import ECHO

UPGRADE, HEDGED, REST = range(3)


@pytest.mark.parametrize(
    ("number", "domains"),
    [
        (80, ["echo.demo.svc.clusterset.local:80", "echo.demo.svc.clusterset.local"]),
        (8080, ["echo.demo.svc.clusterset.local:8080"]),
        (443, ["echo.demo.svc.clusterset.local:443"]),
    ],
)
def test_a_port_is_routed_by_its_host(number: int, domains: list[str]) -> None:
    """Host and port name a service port; the bare host means port 80, as in HTTP."""
    host = virtual_host(ImportedPort(ECHO, number, AppProtocol.HTTP, (), ()))
    assert (host.name, list(host.domains)) == (sni(ECHO, number), domains)


def test_upgrades_come_before_everything_else() -> None:
    """A WebSocket begins with a GET, and must be neither hedged nor repeated."""
    first = outbound_routes("c")[UPGRADE]
    assert [header.name for header in first.match.headers] == ["upgrade"]
    assert not first.route.HasField("hedge_policy")


@pytest.mark.parametrize(
    ("method", "repeated"),
    [
        ("GET", True),
        ("HEAD", True),
        ("OPTIONS", True),
        ("POST", False),
        ("PUT", False),
        ("DELETE", False),
        ("GETX", False),
    ],
)
def test_only_what_is_safe_is_hedged(method: str, repeated: bool) -> None:
    """GET, HEAD and OPTIONS may reach two servers; no other method ever does on our account."""
    hedged = outbound_routes("c")[HEDGED]
    (header,) = hedged.match.headers
    assert bool(re.fullmatch(header.string_match.safe_regex.regex, method)) is repeated


def test_only_hedged_routes_hedge() -> None:
    """The others have no per-try timeout, no hedge, and are repeated only where nothing reached a server."""
    routes = outbound_routes("c")
    assert [route.route.hedge_policy.hedge_on_per_try_timeout for route in routes] == [False, True, False]
    assert [route.route.retry_policy.HasField("per_try_timeout") for route in routes] == [False, True, False]
    for number in (UPGRADE, REST):
        words = set(routes[number].route.retry_policy.retry_on.split(","))
        assert words == {"connect-failure", "refused-stream", "reset-before-request"}


def test_no_route_cuts_a_call() -> None:
    """A route timeout of zero is none: calls last as long as caller and server agree."""
    for route in outbound_routes("c"):
        assert route.route.HasField("timeout")
        assert route.route.timeout.ToTimedelta().total_seconds() == 0
        assert route.route.cluster == "c"


def test_a_hedges_timeout_is_not_held_against_the_server() -> None:
    """The header that makes it count as 204 is set by hedged routes alone, and a caller can't set it."""
    name = "x-envoy-upstream-rq-timeout-alt-response"
    routes = outbound_routes("c")
    assert [HEADER_MUTATION in route.typed_per_filter_config for route in routes] == [False, True, False]
    packed = routes[HEDGED].typed_per_filter_config[HEADER_MUTATION]
    (change,) = pb.unpack(packed, pb.HeaderMutationPerRoute).mutations.request_mutations
    assert (change.append.header.key, change.append.append_action) == (
        name,
        pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    assert name in CALLER_OVERRIDES


def test_a_table_is_the_concatenation_of_its_parts() -> None:
    """The bytes of name and hosts, joined, are the bytes of the whole: services can be kept as bytes."""
    hosts = [virtual_host(ImportedPort(ECHO, number, AppProtocol.HTTP, (), ())) for number in (80, 81)]
    parts = [route_configuration([host], name="") for host in hosts]
    whole = route_configuration(hosts, name=OUTBOUND_ROUTES)
    assert whole == b"".join((route_configuration([], name=OUTBOUND_ROUTES), *parts))
    assert [host.name for host in pb.RouteConfiguration.FromString(whole).virtual_hosts] == [
        host.name for host in hosts
    ]
